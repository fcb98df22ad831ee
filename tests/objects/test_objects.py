"""Each kind of object through every operation, beside plain Alembic in processes of its own.

Upgrade, downgrade, create, snapshot and restore, check, adopt, rehearse, replay: after each, the
dump of the database is the one that Alembic's own command leaves, or the operation was refused
in words and the dump is as it was. What only looks changes nothing, and finds nothing.
"""

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.differential.compare import Result
from tests.differential.generate import Generated
from tests.objects import mariadb, postgresql, sqlite
from tests.objects.kinds import Kind, project, rebuilt

Tried = Callable[[Generated], Result]


def each(kinds: list[Kind]) -> list[object]:
    return [
        pytest.param(kind, id=re.sub(r"\W+", "_", kind.name).strip("_"))
        if not kind.thorough
        else pytest.param(kind, id=re.sub(r"\W+", "_", kind.name).strip("_"), marks=THOROUGH)
        for kind in kinds
    ]


THOROUGH = pytest.mark.thorough


@pytest.mark.parametrize("kind", each(sqlite.KINDS))
def test_on_sqlite(kind: Kind, tried: Tried) -> None:
    result = tried(project(kind, "sqlite"))
    assert not result.findings, str(result)


@pytest.mark.parametrize("kind", each(sqlite.REBUILT))
def test_a_rebuild_on_sqlite_loses_nothing_unannounced(kind: Kind, tried: Tried) -> None:
    result = tried(rebuilt(kind))
    assert not result.findings, str(result)


@pytest.mark.parametrize("kind", each(postgresql.KINDS))
def test_on_postgresql(kind: Kind, tried: Tried, postgresql_server: URL) -> None:
    if kind.extension and not has_extension(postgresql_server, kind.extension):
        pytest.skip(f"this PostgreSQL has no {kind.extension}")
    result = tried(project(kind, "postgresql"))
    assert not result.findings, str(result)


@pytest.mark.parametrize("kind", each(mariadb.KINDS))
def test_on_mariadb(kind: Kind, tried: Tried) -> None:
    result = tried(project(kind, "mariadb"))
    assert not result.findings, str(result)


def has_extension(server: URL, name: str) -> bool:
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    query = sa.text("SELECT 1 FROM pg_available_extensions WHERE name = :name")
    with engine.connect() as connection:
        return connection.execute(query, {"name": name}).first() is not None
