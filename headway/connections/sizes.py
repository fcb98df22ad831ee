"""Sizes of all databases of a server, in one query."""

import contextlib
from collections.abc import Sequence

from sqlalchemy import URL

from headway.connections.address import Address
from headway.dialects import driver
from headway.dialects.driver import Raw
from headway.errors import HeadwayError

POSTGRESQL = (
    "SELECT datname, pg_database_size(datname) FROM pg_database "
    "WHERE datname = ANY(%s) AND has_database_privilege(datname, 'CONNECT')"
)
MYSQL = (
    "SELECT table_schema, SUM(data_length + index_length) FROM information_schema.tables "
    "WHERE table_schema IN ({}) GROUP BY table_schema"
)


def sizes(url: URL, names: Sequence[str]) -> dict[str, int]:
    """Size in bytes of each named database on the server, as far as the user may read it."""
    address = Address(url)
    try:
        with address.open() as raw:
            return dict(_ask(raw, address.dialect.name, list(names)))
    except HeadwayError:
        return {}  # that it does not answer is told by its status


def size_of(url: URL) -> int | None:
    """Bytes of a SQLite file with what is written beside it; None if it is not there."""
    path = Address(url).path
    total = None
    for file in (path, path.with_name(f"{path.name}-wal")) if path else ():
        with contextlib.suppress(OSError):
            total = (total or 0) + file.stat().st_size
    return total


def _ask(raw: Raw, dialect: str, names: list[str]) -> list[tuple[str, int]]:
    if dialect == "postgresql":
        rows = driver.ask(raw, POSTGRESQL, (names,))
    else:
        rows = driver.ask(raw, MYSQL.format(", ".join(["%s"] * len(names))), names)
    return [(str(name), int(size)) for name, size in rows if size is not None]
