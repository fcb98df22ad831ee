"""A registry in the hands of a test: folders that are allowed, a project, databases to register."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import databases, projects, workers
from app.fleet.counts import positions
from app.fleet.workers import periodic
from app.models import Database
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT
from tests.fleet.fleets import ME, created, drain
from tests.migrator.scripts import write_project


@dataclass
class Registry:
    """An app, and a project of three revisions."""

    app: Flask
    data: Path
    scripts: Path
    project_id: int

    def register(self, name: str, **values: Any) -> Database:
        """A SQLite file that need not be there, or what `values` say."""
        place = {} if values.keys() & {"url", "reference"} else {"url": f"{self.data}/{name}.db"}
        asked = {"project_id": self.project_id, "name": name, **place, **values}
        return databases.register_database(ROOT, asked)[0]

    def create(self, place: URL | Path, *, key: str | None = None, **values: Any) -> Database:
        """A database called `new` that a worker creates there. Raises why it was not."""
        creation = databases.create_database(ROOT, self.asked(place, **values), key=key)
        self.drain()
        return created(creation)

    def asked(self, place: URL | Path, **values: Any) -> dict[str, Any]:
        """What asks for a database called `new` there."""
        text = (
            str(place) if isinstance(place, Path) else place.render_as_string(hide_password=False)
        )
        return {"project_id": self.project_id, "name": "new", "url": text, **values}

    def drain(self) -> None:
        """Do all that a worker would do now."""
        db.session.remove()
        if not workers.beat(ME):
            workers.register(ME, "embedded")
        periodic.load_due()
        drain()

    def rows(self, count: int, **more: Any) -> Iterator[dict[str, Any]]:
        """So many files, to be registered at once."""
        for number in range(count):
            yield {"name": f"c{number}", "url": f"sqlite:///{self.data}/c{number}.db", **more}

    def is_counted_right(self) -> bool:
        """True if the counts that are kept are those of the rows."""
        db.session.remove()
        query = (
            sa.select(Database.project_id, Database.position, Database.current, sa.func.count())
            .where(Database.retired_at.is_(None))
            .group_by(Database.project_id, Database.position, Database.current)
        )
        real = {(p, at or "unknown", now): n for p, at, now, n in db.session.execute(query)}
        kept = {(c.project_id, c.position, c.current): c.databases for c in positions.counts()}
        return real == kept


@contextlib.contextmanager
def registry_on(url: URL, folder: Path) -> Iterator[Registry]:
    """A registry on a catalog at head."""
    data, root = folder / "data", folder / "projects"
    data.mkdir()
    app = create_app(settings_for(url, data_roots=(data,), project_roots=(root,)))
    scripts = write_project(root / "shop", 3)
    with app.app_context():
        made, _ = projects.create_project(ROOT, {"name": "shop", "location": str(scripts)})
        yield Registry(app, data, scripts, made.id)
        db.session.remove()
        db.engine.dispose()
