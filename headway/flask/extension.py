"""The Flask extension: an app's database is brought to head before the app serves."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy

from headway.boot import readiness as probes
from headway.boot.boot import Boot, Booted
from headway.boot.guarding import guarding
from headway.boot.gunicorn import BOOTED
from headway.boot.progress import Narrator, Report, Reporting
from headway.database import Database
from headway.dialects.reach import reaching
from headway.flask.flask_alembic import SEAMS, Alembic
from headway.project import Project
from headway.types import Position
from headway.words import PLAIN, Words

STATE = "headway.boot"


@dataclass
class State:
    """What one app knows about its database. These are the seams of its Flask-Alembic too."""

    db: SQLAlchemy
    scripts: str
    policy: dict[str, Any]
    progress: Reporting
    wait: float
    on_newer: str
    migrate: bool
    on_booted: Callable[[Booted], object] | None
    on_upgraded: Callable[[], object] | None

    @cached_property
    def project(self) -> Project:
        """This release's revisions."""
        return Project.load(self.scripts)

    @property
    def database(self) -> Database:
        """The app's database. Needs an app context."""
        return self.project.at(self.db.engine, **self.policy)

    def adopt(self) -> None:
        """Find the revision that a database without a version is at, and stamp it."""
        if self.database.status().position is Position.UNSTAMPED:
            self.database.adopt(waiting=self.progress.waiting)

    @contextmanager
    def guard(self, alembic: Alembic, steps_of: Any) -> Iterator[Any]:
        """What every run goes through, boot or command."""
        with reaching(self.db.engine.url):
            context = alembic.migration_context
        told = self.progress
        with guarding(
            self.database, context, steps_of, on_step=told.on_step, waiting=told.waiting
        ) as watched:
            yield watched

    def upgraded(self) -> None:
        """After an upgrade that went well, boot or command."""
        if self.on_upgraded:
            self.on_upgraded()


class Headway:
    """Brings an app's database to head, and says where it stands."""

    def init_app(
        self,
        app: Flask,
        db: SQLAlchemy,
        alembic: Alembic,  # noqa: ARG002  # one that is bound, and finds the seams by its app
        *,
        wait: float = 60.0,
        lock_wait: float = 300.0,
        migrate: bool = True,
        on_newer: str = "serve",
        snapshot: bool = True,
        history: bool = True,
        sole: bool = False,
        release: str = "",
        report: Report | None = None,
        words: Words | None = None,
        on_booted: Callable[[Booted], object] | None = None,
        on_upgraded: Callable[[], object] | None = None,
    ) -> None:
        """Bind to an app whose `db` and `alembic` are bound already. Opens nothing.

        The parameters are those of `headway.boot.bring_to_head`; `sole` is Policy's. `on_booted`
        is called in an app context after a boot that went well, once for a whole server;
        `on_upgraded` after each `alembic.upgrade()`.
        """
        words = words or PLAIN
        policy = {"lock_wait": lock_wait, "snapshot": snapshot, "history": history, "sole": sole}
        scripts = os.path.join(app.root_path, app.config["ALEMBIC"]["script_location"])  # noqa: PTH118
        app.extensions[STATE] = app.extensions[SEAMS] = State(
            db=db,
            scripts=scripts,
            policy=policy | {"release": release or "headway", "words": words},
            progress=Reporting(report or Narrator(words), release),
            wait=wait,
            on_newer=on_newer,
            migrate=migrate,
            on_booted=on_booted,
            on_upgraded=on_upgraded,
        )

    def bring_to_head(self, app: Flask) -> Booted:
        """Bring the database to head. Any number of processes may call it.

        Only in an app that serves nothing yet: Flask-Alembic closes a running migration's
        connection when any request of the same app ends. Raises the HeadwayError that says why
        the database cannot be served; it is then as it was.
        """
        state: State = app.extensions[STATE]

        def upgrade() -> None:
            with app.app_context():  # Flask-Alembic keeps a connection in each
                app.extensions["alembic"].upgrade()

        with app.app_context():
            boot = Boot(
                database=state.database,
                wait=state.wait,
                on_newer=state.on_newer,
                migrate=state.migrate,
                progress=state.progress,
                upgrade=upgrade,
                booted=os.environ.get(BOOTED) == ",".join(state.project.heads),
                on_booted=state.on_booted,
            )
            return boot.run()

    @property
    def database(self) -> Database:
        """The current app's database."""
        return _state().database

    def readiness(self) -> probes.Answer:
        """Whether requests may come, and the body that says why. One query."""
        return probes.readiness(self.database)

    def state(self) -> str:
        """`head`, `degraded`, `behind` or `empty`: one query. Raises where it cannot be read."""
        return probes.state(self.database)


def _state() -> State:
    return current_app.extensions[STATE]  # type: ignore[no-any-return]
