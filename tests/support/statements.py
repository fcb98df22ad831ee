"""Statements that are compiled once a process, not for each app that a test makes."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

from app.extensions import db

MOST = 3000
"""Statements that are kept; all of Headway's own are fewer."""


class Compiled(LRUCache[Any, Any]):
    """Compiled statements, for all engines of one kind of server: SQLAlchemy keeps some for each."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_kind(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_kind(key), value)


def _of_kind(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """The key of a statement, with what its SQL depends on in place of the engine's dialect."""
    dialect, *statement = key
    version = getattr(dialect, "server_version_info", None)
    return (dialect.name, dialect.driver, version, *statement)


def remember_statements() -> None:
    """Let the apps of tests share what SQLAlchemy compiles for the catalog."""
    made, make_engine = Compiled(MOST), db._make_engine

    def remembered(*arguments: Any) -> sa.Engine:
        engine = make_engine(*arguments)
        engine._compiled_cache = made
        return engine

    db._make_engine = remembered  # type: ignore[method-assign]
