"""A release to break, and catalogs in every state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.conftest import environment_for
from tests.releases import Release, make_release


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path / "release")


@pytest.fixture
def at_head(backend: str, booted: Callable[[str], URL]) -> URL:
    """A catalog that a service has brought to head, with an account in it."""
    url = booted(backend)
    execute(url, "INSERT INTO account (id, name) VALUES (100, 'Ada')")
    return url


def execute(url: URL, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def rows(url: URL, query: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def state(url: URL) -> dict[str, Any]:
    """Everything a failed boot must leave as it was: versions, tables, columns, indexes, rows."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        found: dict[str, Any] = {}
        for table in sorted(set(inspector.get_table_names()) - {"headway_history"}):
            columns = [
                (c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)
            ]
            indexes = sorted(str(i["name"]) for i in inspector.get_indexes(table))
            quoted = connection.dialect.identifier_preparer.quote(table)
            count = connection.execute(sa.text(f"SELECT count(*) FROM {quoted}")).scalar()
            found[table] = (columns, indexes, count)
        if "alembic_version" in found:
            versions = connection.execute(sa.text("SELECT version_num FROM alembic_version"))
            found["versions"] = sorted(row[0] for row in versions)
    return found


def outcomes(url: URL, revision: str) -> list[str]:
    query = f"SELECT outcome FROM headway_history WHERE revision = '{revision}' ORDER BY id"
    return [row[0] for row in rows(url, query)]


Refused = Callable[..., str]


def refused(release: Release, url: URL, code: int, **environment: str) -> str:
    """Boot, be refused with this exit code and one clear sentence; the sentence."""
    done = release.boot(environment_for(url, **environment))
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.partition("Error: ")[2].strip()
