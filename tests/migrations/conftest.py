"""A catalog that goes up and down revision by revision, and tells what it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.boot import alembic
from app.extensions import db
from app.settings import MIGRATIONS
from tests.conftest import settings_for

REVISIONS = sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("c*.py"))
HEAD = REVISIONS[-1]
NOTHING = {("c0021", "mysql"), ("c0021", "mariadb")}
"""Revisions that have nothing to do on a kind of server."""
OURS = ("headway_history", "alembic_version")  # the migrator's own, which stay when all else goes


def below(revision: str) -> str:
    """The revision before this one."""
    return ["base", *REVISIONS][REVISIONS.index(revision)]


class Catalog:
    """A catalog in the hands of a test."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def up(self, target: str) -> None:
        with self.app.app_context():
            alembic.upgrade(target)
            assert [script.revision for script in alembic.current()] == [target]

    def down(self, target: str) -> None:
        with self.app.app_context():
            alembic.downgrade(target)
            current = [script.revision for script in alembic.current()]
        assert current == ([] if target == "base" else [target])

    @property
    def backend(self) -> str:
        with self.app.app_context():
            return db.engine.dialect.name

    def execute(self, statement: str, *parameters: dict[str, Any]) -> None:
        with self._connection() as connection:
            connection.execute(sa.text(statement), list(parameters) or None)
            connection.commit()

    def insert(self, table: str, *rows: dict[str, Any]) -> None:
        with self._connection() as connection:
            into = sa.table(table, *(sa.column(name) for name in rows[0]))
            connection.execute(into.insert(), list(rows))
            connection.commit()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return [tuple(map(plain, row)) for row in connection.execute(sa.text(query))]

    def schema(self) -> dict[str, Any]:
        """Everything that reflection sees."""
        with self._connection() as connection:
            inspector = sa.inspect(connection)
            tables = sorted(set(inspector.get_table_names()) - set(OURS))
            return {table: _table(inspector, table) for table in tables}

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with self.app.app_context(), db.engine.connect() as connection:
            yield connection.execution_options(write=True)


def _table(inspector: sa.Inspector, table: str) -> dict[str, Any]:
    def by_name(found: list[Any]) -> list[str]:
        return sorted(json.dumps(one, default=str, sort_keys=True) for one in found)

    return {
        "columns": [repr(column) for column in inspector.get_columns(table)],
        "key": inspector.get_pk_constraint(table),
        "indexes": by_name(inspector.get_indexes(table)),
        "unique": by_name(inspector.get_unique_constraints(table)),
        "checks": by_name(inspector.get_check_constraints(table)),
        "foreign": by_name(inspector.get_foreign_keys(table)),
        "options": inspector.get_table_options(table),
    }


def plain(value: Any) -> Any:
    """The same value whatever a driver makes of truth, dates and times: times are UTC."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.replace(tzinfo=None).isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    return value.removesuffix(".000000") if isinstance(value, str) else value


@pytest.fixture
def catalog(catalog_url: URL) -> Iterator[Catalog]:
    """An empty catalog of each kind."""
    yield from open_catalog(catalog_url)


def open_catalog(url: URL) -> Iterator[Catalog]:
    app = create_app(settings_for(url), migrate=False)
    yield Catalog(app)
    with app.app_context():
        db.engine.dispose()
