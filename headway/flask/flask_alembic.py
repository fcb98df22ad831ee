"""Flask-Alembic with its seams filled: each run takes the lock, the snapshot and the history."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import flask_alembic
from alembic.script import Script
from flask import Flask, current_app

from headway.errors import SetupInvalid
from headway.project import Project
from headway.scripts.environment import Environment, Mode

SEAMS = "headway.seams"
WHERE = ("transactional_ddl", "connection", "target_metadata")
"""Options of `ALEMBIC_CONTEXT` that say where, or what a run of Flask-Alembic's own needs."""


class Seams(Protocol):
    """What the runs on an app's database go through."""

    def guard(self, alembic: "Alembic", steps_of: Any) -> AbstractContextManager[Any]:
        """Around a run: given what yields Alembic's steps, gives what yields them watched."""

    def adopt(self) -> None:
        """Before an upgrade: a database without a version gets the one that its schema has."""

    def upgraded(self) -> None:
        """After an upgrade that went well."""


class Alembic(flask_alembic.Alembic):
    """Flask-Alembic whose runs on an app's database go through Headway (`Headway.init_app`).

    So `alembic.upgrade()` and `flask db upgrade` are as careful as the boot. An app that no
    Headway was bound to has plain Flask-Alembic.
    """

    def upgrade(self, target: int | str | Script = "heads") -> None:
        """Run migrations; a database without a version is adopted first."""
        seams: Seams | None = current_app.extensions.get(SEAMS)
        if seams:
            seams.adopt()
        super().upgrade(target)
        if seams:
            seams.upgraded()

    def run_migrations(self, fn: Any, **kwargs: Any) -> None:
        """Run the steps that `fn` yields, under the lock."""
        seams: Seams | None = current_app.extensions.get(SEAMS)
        if seams is None:
            super().run_migrations(fn, **kwargs)
            return
        with seams.guard(self, fn) as steps_of:
            super().run_migrations(steps_of, **kwargs)


class FlaskAlembicProject(Project):
    """The revisions of an app, with the options that Flask-Alembic takes from its configuration.

    Flask-Alembic runs no env.py, so none is read.
    """

    def __init__(
        self, location: str, folders: Sequence[str] = (), options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(location, None)
        self.given = (location, tuple(folders), dict(options or {}))
        self.version_folders = (self.folder, *map(Path, folders))
        self.own_folders = self.version_folders

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self.given)

    def _capture(self, *_: Any, **__: Any) -> Environment:
        why = "Flask-Alembic has the options of the app"
        return Environment(mode=Mode.NONE, why=why, options=self.given[2])


def bind(alembic: flask_alembic.Alembic) -> None:
    """Let the runs of an app's Flask-Alembic go through the seams, whatever its class is."""
    if len(alembic.metadatas) > 1:
        raise SetupInvalid(
            "This Flask-Alembic migrates several databases in one run, which cannot be taken back "
            "as one. Give each a script directory of its own: "
            'headway.init_app(app, db, scripts={"default": "migrations", "users": "…"}).'
        )
    if not isinstance(alembic, Alembic):
        theirs = type(alembic)
        alembic.__class__ = type(theirs.__name__, (Alembic, theirs), {})


def project_of(app: Flask) -> FlaskAlembicProject:
    """The revisions that an app's Flask-Alembic runs."""

    def absolute(place: str) -> str:
        return place if ":" in place else os.path.join(app.root_path, place)  # noqa: PTH118

    config, context = app.config["ALEMBIC"], app.config["ALEMBIC_CONTEXT"]
    places = [one if isinstance(one, str) else one[1] for one in config["version_locations"]]
    options = {name: value for name, value in context.items() if name not in WHERE}
    folders = [str(Path(absolute(place))) for place in places]
    project = FlaskAlembicProject(absolute(config["script_location"]), folders, options)
    _ = project.scripts  # read now, so that a hole is found now
    return project
