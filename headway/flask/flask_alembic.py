"""Flask-Alembic with its seams filled: each run takes the lock, the snapshot and the history."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flask_alembic
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from flask import current_app

Guard = Callable[[MigrationContext, Any], AbstractContextManager[Any]]
KEY = "headway.alembic"


class Seams:
    """What an app's runs go through."""

    guard: Guard = staticmethod(lambda _, steps_of: nullcontext(steps_of))
    """Given Alembic's context and what yields its steps, gives what yields them watched."""
    adopt: Callable[[], object] = staticmethod(lambda: None)
    """Before an upgrade: a database without a version gets the one that its schema has."""


class Alembic(flask_alembic.Alembic):
    """Flask-Alembic whose runs on an app's database go through Headway (`Headway.init_app`).

    So `alembic.upgrade()` and `flask db upgrade` are as careful as the boot.
    """

    def upgrade(self, target: int | str | Script = "heads") -> None:
        """Run migrations; a database without a version is adopted first."""
        self._seams.adopt()
        super().upgrade(target)

    def run_migrations(self, fn: Any, **kwargs: Any) -> None:
        """Run the steps that `fn` yields, under the lock."""
        with self._seams.guard(self.migration_context, fn) as steps_of:
            super().run_migrations(steps_of, **kwargs)

    @property
    def _seams(self) -> Seams:
        return current_app.extensions.get(KEY) or Seams()
