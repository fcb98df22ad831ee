"""What every kind is tried with: two servers that fork, and the databases' servers."""

import re
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.differential.compare import Result, compare
from tests.differential.dumps import write
from tests.differential.generate import Generated
from tests.differential.worker import Server
from tests.objects.kinds import MARK, Kind

Tried = Callable[[Generated], Result]


def each(kinds: list[Kind]) -> list[object]:
    """The parameters of a test; what is rare is for `make thorough`."""
    return [
        pytest.param(
            kind,
            id=re.sub(r"\W+", "_", kind.name).strip("_"),
            marks=[pytest.mark.thorough] if kind.thorough else [],
        )
        for kind in kinds
    ]


@pytest.fixture(scope="session")
def alembic() -> Iterator[Server]:
    with Server("alembic") as server:
        yield server


@pytest.fixture(scope="session")
def headway() -> Iterator[Server]:
    with Server("headway") as server:
        yield server


@pytest.fixture
def tried(
    request: pytest.FixtureRequest, alembic: Server, headway: Server
) -> Iterator[Callable[[Generated], Result]]:
    """Compares a project; what it leaves on a server is gone afterwards, and is told."""

    def compared(made: Generated) -> Result:
        if made.dialect == "sqlite":
            return compare(made, alembic, headway, {})
        server: URL = request.getfixturevalue(f"{made.dialect}_server")
        before = names(server)
        try:
            result = compare(made, alembic, headway, {made.dialect: server})
        finally:
            left = [name for name in names(server) - before if is_of_this_process(server, name)]
            drop(server, left)
        result.findings += [
            f"a database is left on the server: {name}"
            for name in left
            if not name.startswith("headway_template_")
        ]
        return result

    return compared


def names(server: URL) -> set[str]:
    """The databases of a server that Headway may have made."""
    query = "SELECT datname FROM pg_database"
    if server.get_backend_name() != "postgresql":
        query = "SELECT schema_name FROM information_schema.schemata"
    engine = sa.create_engine(server, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query).scalars()
        return {name for name in found if name.startswith("headway_")}


def is_of_this_process(server: URL, name: str) -> bool:
    """True if it stands at a revision of ours: others work on the same server."""
    engine = sa.create_engine(server.set(database=name), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
            return any(version.startswith(MARK) for version in found)
    except sa.exc.DBAPIError:
        return False


def drop(server: URL, left: list[str]) -> None:
    force = " WITH (FORCE)" if server.get_backend_name() == "postgresql" else ""
    write(
        server.render_as_string(hide_password=False),
        [f"DROP DATABASE IF EXISTS {name}{force}" for name in left],
    )
