"""The history table: what was done to a database, when, by whom, with which script.

Like `alembic_version` it is bookkeeping of the migrator, made when the first revision runs.
Rows are added; only the row of a running revision is finished in place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import mysql

from headway.errors import VersionsUnreadable
from headway.types import Holder

NAME = "headway_history"
LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

table = Table(
    NAME,
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("revision", String(128), nullable=False),
    Column("action", String(16), nullable=False),  # upgrade, downgrade, stamp, adopt, repair
    Column("outcome", String(16), nullable=False),  # running, succeeded, failed, torn, repaired
    Column("started_at", DateTime, nullable=False),  # UTC
    Column("duration_ms", Integer),
    Column("release", String(64)),
    Column("host", String(255)),
    Column("pid", Integer),
    Column("checksum", String(64)),
    Column("error", LongText),
    Column("image", LongText),  # the schema before a step that the database cannot roll back
    mysql_charset="utf8mb4",  # what an error says may be in any script
    mariadb_charset="utf8mb4",
)

PASSING = "passing"  # of a history that goes with the run that made it


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the history."""

    id: int
    revision: str
    action: str
    outcome: str
    started_at: datetime
    duration_ms: int | None
    release: str | None
    host: str | None
    pid: int | None
    checksum: str | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The columns of a row that tell which revisions are applied."""

    revision: str
    action: str
    outcome: str
    checksum: str | None


LIGHT = [column for column in table.columns if column.name != "image"]


MOST, LONGEST = 50_000, 255
ENTRIES = f"SELECT revision, action, outcome, checksum FROM {NAME} ORDER BY id LIMIT {MOST + 1}"  # noqa: S608
"""All rows, oldest first, as little of them as a status needs."""


def entries(rows: Iterable[Sequence[Any]]) -> list[Entry]:
    """What the rows of ENTRIES say. Raises VersionsUnreadable for what is not of our making."""
    found: list[Entry] = []
    for r, a, o, c in rows:
        if len(found) == MOST or not (
            _fits(r) and _fits(a) and _fits(o) and (c is None or _fits(c))
        ):
            raise VersionsUnreadable(
                f"The table {NAME} was not written by Headway, or has more than {MOST} rows. "
                "Nothing was changed. Rename it if it belongs to another program; otherwise delete "
                "its oldest rows."
            )
        found.append(Entry(revision=r, action=a, outcome=o, checksum=c))
    return found


def _fits(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def read(connection: Connection, *, limit: int | None = None) -> list[Row]:
    """All rows, oldest first; with a limit, only the newest ones."""
    query = select(*LIGHT).order_by(table.c.id.desc()).limit(limit)
    rows = [Row(**row) for row in connection.execute(query).mappings()]
    return rows[::-1]


def ensure(connection: Connection) -> None:
    """Create the table if it is missing."""
    table.create(connection, checkfirst=True)


def remove(connection: Connection) -> None:
    """Drop the table."""
    table.drop(connection, checkfirst=True)


def mark_passing(connection: Connection, *, by: Holder) -> None:
    """Mark the history as temporary: the run that creates it drops it."""
    add(connection, revision=PASSING, action=PASSING, outcome="succeeded", by=by)


def is_empty(connection: Connection) -> bool:
    """True if the table has no rows: the run that created it was killed at once."""
    return connection.execute(select(table.c.id).limit(1)).first() is None


def is_passing(connection: Connection) -> bool:
    """True for a temporary history."""
    if not inspect(connection).has_table(NAME):
        return False
    marked = select(table.c.id).where(table.c.action == PASSING).limit(1)
    return is_empty(connection) or connection.execute(marked).first() is not None


def keep(connection: Connection) -> None:
    """Turn a temporary history into a permanent one."""
    connection.execute(delete(table).where(table.c.action == PASSING))


def add(
    connection: Connection,
    *,
    revision: str,
    action: str,
    outcome: str,
    by: Holder,
    started_at: datetime | None = None,
    **more: Any,
) -> int:
    """Add a row; returns its id."""
    values = {
        "revision": revision,
        "action": action,
        "outcome": outcome,
        "started_at": (started_at or datetime.now(UTC)).replace(tzinfo=None),
        "release": by.release,
        "host": by.host,
        "pid": by.pid,
    }
    result = connection.execute(insert(table).values(values | more))
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def finish(connection: Connection, row_id: int, **values: Any) -> bool:
    """Write a running row's outcome; False if the row was rolled back with its transaction."""
    done = connection.execute(update(table).where(table.c.id == row_id).values(values))
    return bool(done.rowcount)
