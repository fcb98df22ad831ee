"""Where a database stands, from one short look: no lock, nothing written, no revision imported."""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, inspect

from headway import history
from headway.dialects import VersionTable, dialect_of, refuse_no_version
from headway.scripts.files import Scripts
from headway.types import Look, Position

CATALOGS = VersionTable()
APPLIES = {"upgrade", "adopt", "repair"}
"""Actions in the history after which the revision is there."""


def look(connection: Connection, scripts: Scripts, table: VersionTable = CATALOGS) -> Look:
    """Compare a database with its scripts. Ends its own transaction, no other; writes nothing."""
    joins = connection.in_transaction()
    try:
        tables = dialect_of(connection).tables(connection)
        current = read_current(connection, tables, table)
        rows = history.entries(connection) if history.NAME in tables else []
    finally:
        if not joins:
            connection.rollback()
    return _judge(scripts, tables, current, rows, table)


def read_current(
    connection: Connection, tables: Collection[str], table: VersionTable = CATALOGS
) -> tuple[str, ...]:
    """The revisions the database says it is at; () if it says nothing."""
    is_listed = table.schema is not None or table.name in tables
    if not is_listed and not inspect(connection).has_table(table.name):  # which may be a view
        return ()
    name = table.quoted(dialect_of(connection).quote)
    rows = connection.exec_driver_sql(f"SELECT version_num FROM {name}")  # noqa: S608
    found = [row[0] for row in rows]
    refuse_no_version(table.name, found)
    return tuple(sorted(found))


def _judge(
    scripts: Scripts,
    tables: set[str],
    current: tuple[str, ...],
    rows: list[history.Entry],
    table: VersionTable,
) -> Look:
    applied = _applied(rows)
    newer = tuple(revision for revision in current if revision not in scripts.by_id)
    torn = _torn(rows)
    below = scripts.ancestors(current)
    return Look(
        position=_position(scripts, tables - {table.name}, current, applied, torn),
        current=current,
        heads=scripts.heads,
        pending=tuple(sorted(scripts.by_id.keys() - below)),
        edited=_edited(applied, scripts),
        missing=() if newer else tuple(sorted(applied.keys() - scripts.by_id.keys())),
        out_of_order=() if newer else _out_of_order(applied, scripts, current),
        torn=torn.revision if torn else None,
        newer=newer,
    )


def _position(
    scripts: Scripts,
    tables: set[str],
    current: tuple[str, ...],
    applied: Collection[str],
    torn: history.Entry | None,
) -> Position:
    if torn:
        return Position.TORN
    if not current:
        # Tables beside a history of ours are what a downgrade to base left, not a stranger's.
        return Position.UNSTAMPED if tables and history.NAME not in tables else Position.EMPTY
    unknown = [revision for revision in current if revision not in scripts.by_id]
    if unknown:
        ours = all(revision in applied for revision in unknown)
        return Position.AHEAD if ours else Position.FOREIGN
    return (
        Position.BEHIND if scripts.by_id.keys() - scripts.ancestors(current) else Position.AT_HEAD
    )


def _applied(rows: Iterable[history.Entry]) -> dict[str, history.Entry]:
    """The rows by which each revision is there now, by revision."""
    there: dict[str, history.Entry] = {}
    for row in rows:
        if row.outcome != "succeeded":
            continue
        if row.action == "stamp":  # "it is exactly there", whatever was said before
            there = {row.revision: row} if row.revision != "base" else {}
        elif row.action in APPLIES:
            there[row.revision] = row
        elif row.action in ("downgrade", "forget"):
            there.pop(row.revision, None)
    return there


def _torn(rows: list[history.Entry]) -> history.Entry | None:
    """The row of a revision that began and never ended, if there is one."""
    return next((row for row in reversed(rows) if row.outcome in ("running", "torn")), None)


def _edited(rows: dict[str, history.Entry], scripts: Scripts) -> tuple[str, ...]:
    """Applied revisions whose script has another checksum than when it was applied."""
    return tuple(
        revision
        for revision, row in rows.items()
        if row.checksum
        and (script := scripts.by_id.get(revision))
        and script.checksum != row.checksum
    )


def _out_of_order(
    rows: dict[str, history.Entry], scripts: Scripts, current: Iterable[str]
) -> tuple[str, ...]:
    """Revisions below the current ones that never ran here.

    What lies below a stamp or an adoption is taken to be there: someone said so.
    """
    if not rows:
        return ()
    vouched = {row.revision for row in rows.values() if row.action in ("stamp", "adopt")}
    known = scripts.ancestors(vouched) | rows.keys()
    return tuple(sorted(scripts.ancestors(current) & scripts.by_id.keys() - known))
