"""The kinds of database. A new one is one file and one line here."""

from sqlalchemy import URL, Connection, Engine

from headway.dialects.base import Dialect
from headway.dialects.mysql.dialect import Mysql
from headway.dialects.postgresql.dialect import Postgresql
from headway.dialects.sqlite.dialect import Sqlite
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

DIALECTS: dict[str, Dialect] = {
    "sqlite": Sqlite(),
    "postgresql": Postgresql(),
    "mysql": Mysql(),
    "mariadb": Mysql(),
}


def dialect_of(database: URL | Engine | Connection) -> Dialect:
    """The dialect for a URL, an engine or a connection."""
    if isinstance(database, URL):
        return DIALECTS[database.get_backend_name()]
    return DIALECTS[database.dialect.name]


__all__ = [
    "DIALECTS",
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
    "dialect_of",
    "refuse_no_version",
]
