"""Where a database stands, and whether it may be moved.

Read without a lock; nothing is written, and no revision is imported.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection, inspect

from headway import history
from headway.connections.address import Address
from headway.dialects import VERSIONS, Peek, VersionTable, dialect_of, driver, refuse_no_version
from headway.dialects.driver import Raw
from headway.dialects.urls import DatabaseURL
from headway.errors import (
    DatabaseAhead,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseTorn,
    DatabaseUnstamped,
    EnvironmentFailed,
    HeadwayError,
    command,
)
from headway.scripts.environment import Environment
from headway.scripts.files import Scripts
from headway.scripts.project import ScriptProject
from headway.types import Position, Status

APPLIES = {"upgrade", "adopt", "repair"}
"""Actions in the history after which the revision is applied."""


def version_table(project: ScriptProject, address: Address, x: Mapping[str, str]) -> VersionTable:
    """The project's version table: env.py may set its name and schema."""
    return version_table_of(project.environment_of(address, x), address)


def version_table_of(environment: Environment, address: Address) -> VersionTable:
    """The version table that this env.py names, of this database."""
    if environment.elsewhere and not environment.version_schema:
        raise EnvironmentFailed(
            f"env.py changes the schema of its session ({environment.elsewhere}) in a way that is "
            "not understood. Nothing was changed. Give `version_table_schema` to "
            "`context.configure`."
        )
    _refuse_two_schemas(
        address, environment.schema, environment.options.get("version_table_schema")
    )
    return VersionTable(
        name=environment.options.get("version_table", "alembic_version"),
        schema=environment.version_schema,
    )


def _refuse_two_schemas(address: Address, path: str | None, given: str | None) -> None:
    """Raise EnvironmentFailed if the URL names a schema and env.py another."""
    if not (path or given):
        return
    first = _first_schema(address)
    for what, schema in (("sets search_path to", path), ("keeps versions in the schema", given)):
        if first and schema and schema != first:
            raise EnvironmentFailed(
                f"env.py {what} {schema} while the URL of this database names {first}: it would "
                f"migrate {schema} in place of {first}. Nothing was changed. Let env.py leave the "
                "schema to the URL, or give it the same one (its -x arguments)."
            )


def status_from_peek(
    project: ScriptProject, address: Address, table: VersionTable, peek: Peek, raw: Raw
) -> Status:
    """The status of a database, from what the driver read of it."""
    if address.dialect.name == "postgresql" and not address.is_shared:
        _refuse_missing_schema(address, raw)
    if peek.has_history:
        with address.connected(raw) as connection:
            full = status_of(connection, project.scripts, table)
        if full.torn or full.position in (Position.AHEAD, Position.AT_HEAD, Position.BEHIND):
            return full
    if any(version not in project.scripts.by_id for version in peek.versions):
        with address.connected(raw) as connection:
            tables = address.dialect.tables(connection)
        peek = replace(peek, tables=frozenset(tables))
    position = _position(project, table, peek)
    return Status(
        position=position,
        current=peek.versions,
        heads=project.heads,
        pending=pending(project, peek.versions),
        newer=tuple(v for v in peek.versions if v not in project.scripts.by_id),
        leftovers=peek.leftovers,
    )


def _refuse_missing_schema(address: Address, raw: Raw) -> None:
    """Raise DatabaseMissing if PostgreSQL would use another schema instead of a missing one."""
    first = _first_schema(address)
    if not first:
        return
    ((found,),) = driver.ask(raw, "SELECT current_schema()")
    if found is None or found.lower() != first.lower():
        raise DatabaseMissing(
            f"There is no schema {first} in {address}, or its user may not use it. Nothing was "
            "changed. Make it first: CREATE SCHEMA."
        )


def _first_schema(address: Address) -> str:
    """The schema that the URL names; "" if none."""
    return DatabaseURL.of(address.url).schema or ""


def pending(project: ScriptProject, current: tuple[str, ...]) -> tuple[str, ...]:
    """Revisions that are not applied, in no order. Cached."""
    key = ("pending", current)
    if key not in project.memory:
        below = project.scripts.ancestors(current)
        project.memory[key] = tuple(sorted(project.scripts.by_id.keys() - below))
    return project.memory[key]  # type: ignore[no-any-return]


def _position(project: ScriptProject, table: VersionTable, peek: Peek) -> Position:
    if peek.leftovers:
        return Position.TORN
    recognized = [version for version in peek.versions if version in project.scripts.by_id]
    if not peek.versions:
        if not project.scripts.by_id:
            return Position.AT_HEAD  # of a project that has no revision yet
        others = peek.tables - {table.name, history.NAME}
        # Another program's tables in the same database are no reason to refuse: only those
        # that our own scripts would make are.
        ours = any(project.scripts.names(name) for name in others)
        return Position.UNSTAMPED if ours else Position.EMPTY
    if len(recognized) < len(peek.versions):
        if recognized:
            return Position.DIVERGED
        others = peek.tables - {table.name, history.NAME}
        ours = any(project.scripts.names(name) for name in others)
        return Position.AHEAD if ours else Position.FOREIGN
    return Position.BEHIND if pending(project, peek.versions) else Position.AT_HEAD


def refusal(address: Address, status: Status) -> HeadwayError | None:
    """The error that says why this database must not be migrated; None if it may."""
    unknown = ", ".join(status.newer)
    if status.position is Position.TORN:
        what = (
            f"revision {status.torn} began and never ended, so half of it may be there"
            if status.torn
            else f"a batch operation of another tool broke and left {', '.join(status.leftovers)}"
        )
        return DatabaseTorn(
            f"{address}: {what}. Nothing was changed. `{command('status')}` shows what is there; "
            f"`{command('repair')}` fixes it.",
            revision=status.torn,
        )
    if status.position is Position.FOREIGN:
        return DatabaseForeign(
            f"{address} is at {unknown}, which these scripts do not have, and none of its tables "
            "is one that they make: it is another project's. Nothing was changed. Check the URL "
            "and the scripts.",
            current=status.current,
        )
    if status.position in (Position.AHEAD, Position.DIVERGED):
        return DatabaseAhead(
            f"{address} is at {unknown}, which these scripts do not have: a newer release was "
            "here. Nothing was changed. Use that release, or its downgrade.",
            current=status.current,
        )
    if status.position is Position.UNSTAMPED:
        return DatabaseUnstamped(
            f"{address} has tables of this project and no version. Nothing was changed. `adopt` "
            "finds the revision it is and stamps it; `stamp` takes your word.",
        )
    return None


# --- from the database, its history and the script files alone ---------------------------------


def status_of(connection: Connection, scripts: Scripts, table: VersionTable = VERSIONS) -> Status:
    """The status of a database from its tables, its history and the script files.

    Writes nothing, and ends no transaction but its own.
    """
    joins = connection.in_transaction()
    try:
        tables = dialect_of(connection).tables(connection)
        current = read_current(connection, tables, table)
        rows = history.entries(connection) if history.NAME in tables else []
    finally:
        if not joins:
            connection.rollback()
    return _status_from(scripts, tables, current, rows, table)


def read_current(
    connection: Connection, tables: Collection[str], table: VersionTable = VERSIONS
) -> tuple[str, ...]:
    """The revisions in the version table; () if there are none."""
    is_listed = table.schema is not None or table.name in tables
    if not is_listed and not inspect(connection).has_table(table.name):  # which may be a view
        return ()
    name = table.quoted(dialect_of(connection).quote)
    rows = connection.exec_driver_sql(f"SELECT version_num FROM {name}")  # noqa: S608
    found = [row[0] for row in rows]
    refuse_no_version(table.name, found)
    return tuple(sorted(found))


def _status_from(
    scripts: Scripts,
    tables: set[str],
    current: tuple[str, ...],
    rows: list[history.Entry],
    table: VersionTable,
) -> Status:
    applied = _applied(rows)
    newer = tuple(revision for revision in current if revision not in scripts.by_id)
    torn = _torn(rows)
    below = scripts.ancestors(current)
    return Status(
        position=_position_by_history(scripts, tables - {table.name}, current, applied, torn),
        current=current,
        heads=scripts.heads,
        pending=tuple(sorted(scripts.by_id.keys() - below)),
        edited=_edited(applied, scripts),
        missing=() if newer else tuple(sorted(applied.keys() - scripts.by_id.keys())),
        out_of_order=() if newer else _out_of_order(applied, scripts, current),
        torn=torn.revision if torn else None,
        newer=newer,
    )


def _position_by_history(
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
    """The history rows by which revisions are applied now, by revision."""
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
    """The history row of a revision that began and never ended; None if there is none."""
    return next((row for row in reversed(rows) if row.outcome in ("running", "torn")), None)


def _edited(rows: dict[str, history.Entry], scripts: Scripts) -> tuple[str, ...]:
    """Applied revisions whose script has changed since."""
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
    """Ancestors of the current revisions that were never run.

    Ancestors of a stamped or adopted revision count as applied.
    """
    if not rows:
        return ()
    stamped = {row.revision for row in rows.values() if row.action in ("stamp", "adopt")}
    applied = scripts.ancestors(stamped) | rows.keys()
    return tuple(sorted(scripts.ancestors(current) & scripts.by_id.keys() - applied))
