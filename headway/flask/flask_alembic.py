"""Flask-Alembic with its seams filled: each run takes the lock, the snapshot and the history."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

import flask_alembic
from alembic.script import Script
from flask import current_app

SEAMS = "headway.seams"


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
