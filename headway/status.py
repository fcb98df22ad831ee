"""One verdict on a database: where it stands, and whether it may be moved."""

from collections.abc import Mapping
from dataclasses import replace

from headway import history
from headway.connections.address import Address
from headway.dialects import Peek, VersionTable, driver
from headway.dialects.driver import Raw
from headway.dialects.search_path import schema_of
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
from headway.look import look
from headway.scripts.environment import Environment
from headway.scripts.project import ScriptProject
from headway.types import Look, Position


def version_table(project: ScriptProject, address: Address, x: Mapping[str, str]) -> VersionTable:
    """Where this project keeps versions: env.py may say another name or schema."""
    return table_of(project.environment_of(address, x), address)


def table_of(environment: Environment, address: Address) -> VersionTable:
    """The same, where it is known how env.py is used."""
    if environment.elsewhere and not environment.version_schema:
        raise EnvironmentFailed(
            f"env.py lets its session look somewhere else ({environment.elsewhere}), and where "
            "cannot be told. Nothing was changed. Give `version_table_schema` to "
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
    """Where the URL names a schema and env.py another, each would tell something else."""
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


def judge(
    project: ScriptProject, address: Address, table: VersionTable, seen: Peek, raw: Raw
) -> Look:
    """Where a database stands, from what the driver saw of it."""
    if address.dialect.name == "postgresql" and not address.is_shared:
        _refuse_missing_schema(address, raw)
    if seen.has_history:
        with address.connected(raw) as connection:
            full = look(connection, project.scripts, table)
        if full.torn or full.position in (Position.AHEAD, Position.AT_HEAD, Position.BEHIND):
            return full
    if any(version not in project.scripts.by_id for version in seen.versions):
        with address.connected(raw) as connection:
            tables = address.dialect.tables(connection)
        seen = replace(seen, tables=frozenset(tables))
    position = _position(project, table, seen)
    return Look(
        position=position,
        current=seen.versions,
        heads=project.heads,
        pending=pending(project, seen.versions),
        newer=tuple(v for v in seen.versions if v not in project.scripts.by_id),
        leftovers=seen.leftovers,
    )


def _refuse_missing_schema(address: Address, raw: Raw) -> None:
    """PostgreSQL passes over a schema that is not there, and looks into the next, or nowhere."""
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
    return schema_of(address.url) or ""


def pending(project: ScriptProject, current: tuple[str, ...]) -> tuple[str, ...]:
    """The revisions that a database with these lacks, in no order. Found out once."""
    key = ("pending", current)
    if key not in project.memory:
        below = project.scripts.ancestors(current)
        project.memory[key] = tuple(sorted(project.scripts.by_id.keys() - below))
    return project.memory[key]  # type: ignore[no-any-return]


def _position(project: ScriptProject, table: VersionTable, seen: Peek) -> Position:
    if seen.leftovers:
        return Position.TORN
    known = [version for version in seen.versions if version in project.scripts.by_id]
    if not seen.versions:
        if not project.scripts.by_id:
            return Position.AT_HEAD  # of a project that has no revision yet
        others = seen.tables - {table.name, history.NAME}
        # Another program's tables in the same database are no reason to refuse: only those
        # that our own scripts would make are.
        ours = any(project.scripts.names(name) for name in others)
        return Position.UNSTAMPED if ours else Position.EMPTY
    if len(known) < len(seen.versions):
        if known:
            return Position.DIVERGED
        others = seen.tables - {table.name, history.NAME}
        ours = any(project.scripts.names(name) for name in others)
        return Position.AHEAD if ours else Position.FOREIGN
    return Position.BEHIND if pending(project, seen.versions) else Position.AT_HEAD


def refusal(address: Address, seen: Look) -> HeadwayError | None:
    """Why this database must not be moved; None if it may be."""
    unknown = ", ".join(seen.newer)
    if seen.position is Position.TORN:
        what = (
            f"revision {seen.torn} began and never ended, so half of it may be there"
            if seen.torn
            else f"a batch operation of another tool broke and left {', '.join(seen.leftovers)}"
        )
        return DatabaseTorn(
            f"{address}: {what}. Nothing was changed. `{command('status')}` shows what is there; "
            f"`{command('repair')}` mends it.",
            revision=seen.torn,
        )
    if seen.position is Position.FOREIGN:
        return DatabaseForeign(
            f"{address} is at {unknown}, which these scripts do not have, and none of its tables "
            "is one that they make: it is another project's. Nothing was changed. Check the URL "
            "and the scripts.",
            current=seen.current,
        )
    if seen.position in (Position.AHEAD, Position.DIVERGED):
        return DatabaseAhead(
            f"{address} is at {unknown}, which these scripts do not have: a newer release was "
            "here. Nothing was changed. Use that release, or its downgrade.",
            current=seen.current,
        )
    if seen.position is Position.UNSTAMPED:
        return DatabaseUnstamped(
            f"{address} has tables of this project and no version. Nothing was changed. `adopt` "
            "finds the revision it is and stamps it; `stamp` takes your word.",
        )
    return None
