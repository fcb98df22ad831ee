"""Where a database stands, from one short look: no lock, nothing written, no revision imported."""

from collections.abc import Collection

from sqlalchemy import Connection, inspect

from app.migrator import history
from app.migrator.dialects import VersionTable, dialect_of, refuse_no_version
from app.migrator.scripts import Scripts
from app.migrator.values import Look, Position

CATALOGS = VersionTable()


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
    applied = history.applied(rows)
    newer = tuple(revision for revision in current if revision not in scripts.by_id)
    torn = history.torn(rows)
    below = scripts.ancestors(current)
    return Look(
        position=_position(scripts, tables - {table.name}, current, applied, torn),
        current=current,
        heads=scripts.heads,
        pending=tuple(sorted(scripts.by_id.keys() - below)),
        edited=history.edited(applied, scripts),
        missing=() if newer else tuple(sorted(applied.keys() - scripts.by_id.keys())),
        out_of_order=() if newer else history.out_of_order(applied, scripts, current),
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
