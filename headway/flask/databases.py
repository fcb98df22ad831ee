"""The databases of one app: where they are, by which revisions, and who runs these."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Flask

from headway.boot.boot import Boot, Booted
from headway.boot.progress import Reporting
from headway.database import Database
from headway.dialects.reach import reaching
from headway.errors import SetupInvalid
from headway.project import Project
from headway.scripts.locations import is_resource
from headway.types import Position

STATE = "headway.boot"
"""An app's key for its State."""
DEFAULT = "default"
"""The name of an app's database, or of the first of several."""


@dataclass
class AppDatabase:
    """One database of an app."""

    load: Callable[[], Project]
    where: Callable[[], Any]
    """Its engine or URL. Needs an app context."""
    policy: Mapping[str, Any]
    upgrade: Callable[[], object] | None = None
    """How another extension upgrades it; None for Headway itself."""

    @cached_property
    def project(self) -> Project:
        """This release's revisions."""
        return self.load()

    @property
    def database(self) -> Database:
        """As Headway sees it. Needs an app context."""
        return self.project.at(self.where(), **self.policy)


@dataclass
class State:
    """What one app knows about its databases. These are the seams of its Flask-Alembic too."""

    databases: Mapping[str, AppDatabase]
    progress: Reporting
    wait: float
    on_newer: str
    migrate: bool
    on_booted: Callable[[Booted], object] | None
    on_upgraded: Callable[[], object] | None
    booted: dict[str, Booted] = field(default_factory=dict)
    """What the boots of this process did."""

    @property
    def first(self) -> AppDatabase:
        """The default database."""
        return next(iter(self.databases.values()))

    def bring_to_head(self, one: AppDatabase, *, booted: bool, migrate: bool) -> Booted:
        """Boot one of them, in an app context."""
        return Boot(
            database=one.database,
            wait=self.wait,
            on_newer=self.on_newer,
            migrate=migrate,
            progress=self.progress,
            upgrade=one.upgrade,
            booted=booted,
            on_booted=self.on_booted,
        ).run()

    def adopt(self, database: Database | None = None) -> None:
        """Find the revision that a database without a version is at, and stamp it."""
        database = database or self.first.database
        if database.status().position is Position.UNSTAMPED:
            database.adopt(waiting=self.progress.waiting)

    @contextmanager
    def guard(self, alembic: Any, steps_of: Any) -> Iterator[Any]:
        """What every run of Flask-Alembic goes through, boot or command."""
        from headway.boot.guarding import guarding  # noqa: PLC0415  # only a run needs it

        database = self.first.database
        with reaching(database.address.url):
            context = alembic.migration_context
        told = self.progress
        with guarding(
            database, context, steps_of, on_step=told.on_step, waiting=told.waiting
        ) as watched:
            yield watched

    def upgraded(self) -> None:
        """After an upgrade that went well, boot or command."""
        if self.on_upgraded:
            self.on_upgraded()

    def for_run(self, project: Project, x: Mapping[str, str]) -> Database:
        """The database of a run of Flask-Migrate: the one that has these scripts, or the first."""
        folders = {one.project.folder: one for one in self.databases.values()}
        one = folders.get(project.folder, self.first)
        return project.at(one.where(), x, **one.policy)


def folder_in(app: Flask, place: Any) -> Any:
    """A script directory as an app names it: `package:folder`, absolute, or beside its code.

    One that is not there is looked for in the working directory.
    """
    if place is None or is_resource(str(place)) or Path(place).is_absolute():
        return place
    beside = Path(app.root_path, place)
    return beside if beside.is_dir() else place


def engine_of(app: Flask, db: Any, name: str) -> Callable[[], Any]:
    """What gives an app's engine of this name. Raises SetupInvalid where it has none."""
    if "sqlalchemy" not in app.extensions:
        raise SetupInvalid(
            "The app has no database yet. Call db.init_app(app) before headway.init_app(app, db)."
        )
    if app.extensions["sqlalchemy"] is not db:
        raise SetupInvalid(
            "The app has another SQLAlchemy than the one that Headway is given. Call "
            "db.init_app(app) and headway.init_app(app, db) with the same `db`."
        )
    key = None if name == DEFAULT else name
    if key is not None and key not in (app.config.get("SQLALCHEMY_BINDS") or {}):
        raise SetupInvalid(
            f'The app has no database "{name}". Put it into SQLALCHEMY_BINDS before '
            "db.init_app(app), or take it out of `scripts`."
        )
    return lambda: db.engines[key]
