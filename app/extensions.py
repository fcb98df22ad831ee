"""The Flask extensions, unbound. `create_app` binds them."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from flask import current_app
from flask_alembic import Alembic
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

Steps = Iterable[Any]
StepsOf = Callable[[Any, MigrationContext], Steps]
Guard = Callable[["CatalogAlembic", StepsOf], AbstractContextManager[StepsOf]]


class Base(DeclarativeBase):
    """Base class of all models of the catalog.

    Constraint names follow one rule, so that a later revision can refer to them on every database.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class CatalogAlembic(Alembic):
    """Flask-Alembic with three seams, which `boot` fills.

    Every run goes through the guard, so that `flask db upgrade` takes the same lock, snapshot,
    row guard and history as the boot; an upgrade adopts a catalog without a version first, and
    leaves one that is settled.
    """

    guard: Guard | None = None
    adopt: Callable[[], None] | None = None
    settle: Callable[[], None] | None = None

    def upgrade(self, target: int | str | Script = "heads") -> None:
        if self.adopt:
            self.adopt()
        super().upgrade(target)
        if self.settle:
            self.settle()

    def run_migrations(self, fn: StepsOf, **kwargs: Any) -> None:
        around = self.guard(self, fn) if self.guard else nullcontext(fn)
        with around as steps_of:
            super().run_migrations(steps_of, **kwargs)  # type: ignore[arg-type]

    def rev_id(self) -> str:
        """The next free number: two branches that both add one collide in review.

        With a letter, because `flask db downgrade 0003` would mean "three down".
        """
        taken = {script.revision for script in self.script_directory.walk_revisions()}
        return next(f"c{n:04}" for n in range(1, 10_000) if f"c{n:04}" not in taken)


db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
alembic = CatalogAlembic(run_mkdir=False)
limiter = Limiter(get_remote_address, storage_uri="memory://")


def catalog_alembic() -> CatalogAlembic:
    """The current app's Flask-Alembic."""
    return current_app.extensions["alembic"]  # type: ignore[no-any-return]
