"""The kinds of database. A new one is one file and two lines here."""

from functools import cache

from sqlalchemy import URL, Connection, Engine

from headway.dialects.base import Dialect
from headway.dialects.types import (
    OURS,
    VERSIONS,
    Beside,
    Ground,
    Image,
    Lock,
    Peek,
    RowGuard,
    VersionTable,
    refuse_no_version,
)


def dialect_of(database: URL | Engine | Connection) -> Dialect:
    """The dialect for a URL, an engine or a connection."""
    if isinstance(database, URL):
        return dialect_named(database.get_backend_name())
    return dialect_named(database.dialect.name)


@cache
def dialect_named(name: str) -> Dialect:
    """The dialect of this name of SQLAlchemy's, imported when it is first asked for.

    Raises KeyError for another kind of database.
    """
    match name:
        case "sqlite":
            from headway.dialects.sqlite.dialect import Sqlite  # noqa: PLC0415

            return Sqlite()
        case "postgresql":
            from headway.dialects.postgresql.dialect import Postgresql  # noqa: PLC0415

            return Postgresql()
        case "mysql" | "mariadb":
            from headway.dialects.mysql.dialect import Mysql  # noqa: PLC0415

            return Mysql()
    raise KeyError(name)


__all__ = [
    "OURS",
    "VERSIONS",
    "Beside",
    "Dialect",
    "Ground",
    "Image",
    "Lock",
    "Peek",
    "RowGuard",
    "VersionTable",
    "dialect_named",
    "dialect_of",
    "refuse_no_version",
]
