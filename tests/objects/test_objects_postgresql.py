"""Each kind of object of PostgreSQL through every operation: see test_objects_sqlite.py."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.objects import postgresql
from tests.objects.conftest import Tried, each
from tests.objects.kinds import Kind, project


@pytest.mark.parametrize("kind", each(postgresql.KINDS))
def test_on_postgresql(kind: Kind, tried: Tried, postgresql_server: URL) -> None:
    if kind.extension and not has_extension(postgresql_server, kind.extension):
        pytest.skip(f"this PostgreSQL has no {kind.extension}")
    result = tried(project(kind, "postgresql"))
    assert not result.findings, str(result)


def has_extension(server: URL, name: str) -> bool:
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    query = sa.text("SELECT 1 FROM pg_available_extensions WHERE name = :name")
    with engine.connect() as connection:
        return connection.execute(query, {"name": name}).first() is not None
