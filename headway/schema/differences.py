"""The differences between a database and its reference: a text and the SQL that removes it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alembic.autogenerate import compare, produce_migrations
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.util import PriorityDispatcher
from sqlalchemy import Connection, column, func, literal, select, table
from sqlalchemy.exc import SQLAlchemyError

from headway.dialects import dialect_of
from headway.dialects.facts import OF_A_TABLE, Key
from headway.isolation.running import patched
from headway.schema.compare import (
    FactDifferences,
    Reference,
    compare_facts,
    without_sqlalchemy_warnings,
)
from headway.schema.fixes import fix_fact_sql, fix_sql

SIDES = {"add": "missing", "remove": "extra", "modify": "other"}
"""Alembic names the change to make; people want to know what is there."""

MOST_ROWS = 10_000
"""So far the rows of an extra table are counted: that many or more are not worth the time."""

About = tuple[str, str, str]
"""The object of an operation: its table, kind and name."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference between a database and its reference."""

    says: str
    """The difference as text: "extra column account.nickname"."""
    fix: str | None
    """The SQL that removes the difference; None if this kind of database has none for it."""
    rows: int | None = None
    """How many rows or values that SQL would delete, as far as MOST_ROWS; None if not known."""


def differences(
    connection: Connection,
    reference: Reference,
    found: FactDifferences | None = None,
    *,
    with_fixes: bool = True,
) -> tuple[Difference, ...]:
    """The differences of a database from its reference; () if there are none.

    Nothing in the database is evaluated. `with_fixes=False` leaves out the SQL that removes them,
    which takes longer than to find them.
    """
    found = found or compare_facts(dialect_of(connection).facts(connection), reference)
    changes = _alembic_operations(connection, reference, found) if found.tables else []
    facts = found.firm + (found.loose if changes is None else ())
    result = [
        Difference(
            says=describe(one.to_diff_tuple(), reference.scope.default),
            fix=fix_sql(connection, one) if with_fixes else None,
            rows=_count_rows(connection, one) if with_fixes else None,
        )
        for one in changes or ()
    ]
    covered = [_about(one) for one in changes or ()]
    result += [
        _difference_of_fact(connection, key, found, with_fixes)
        for key in facts
        if not _is_covered(key, found, covered, is_all=changes is None)
    ]
    return tuple(sorted(result, key=lambda one: one.says))


def _count_rows(connection: Connection, operation: Any) -> int | None:
    """How many rows go with a table, or values with a column, that is extra; None if neither."""
    if not isinstance(operation, ops.DropTableOp | ops.DropColumnOp):
        return None
    rows = select(literal(1)).select_from(table(operation.table_name, schema=operation.schema))
    if isinstance(operation, ops.DropColumnOp):
        rows = rows.where(column(operation.column_name).is_not(None))
    few = rows.limit(MOST_ROWS + 1).subquery()
    try:
        with connection.begin_nested():
            return connection.scalar(select(func.count()).select_from(few))
    except SQLAlchemyError:  # it may not be read, or takes too long
        return None


def _alembic_operations(
    connection: Connection, reference: Reference, found: FactDifferences
) -> list[Any] | None:
    """Alembic's operations for the tables that differ; None if it cannot compare them."""
    scope, tables = reference.scope, found.tables
    default = connection.dialect.default_schema_name or ""

    def is_one(schema: str | None, name: str | None) -> bool:
        return (schema if schema is not None else default, name) in tables or (
            not scope.default and ("", name) in tables
        )

    def include_name(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
        if kind == "schema":
            return True
        if kind == "table" and not is_one(parents.get("schema_name"), name):
            return False
        return scope.has_name(name, kind, **parents)

    def include(thing: Any, name: str, kind: str, is_reflected: bool, other: Any) -> bool:
        if kind == "table" and not is_one(thing.schema, name):
            return False
        return scope.has(thing, name, kind, is_reflected, other)

    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_schemas": bool(scope.default),
        "include_name": include_name,
        "include_object": include,
    }
    context = MigrationContext.configure(connection, opts=options)
    # Not by its option, which breaks on computed columns. Its own way asks PostgreSQL, by running
    # the defaults.
    context.impl.compare_server_default = _other_text  # type: ignore[method-assign]
    try:
        # Comparators of a project's plugins may make things in the database to look at them.
        with without_sqlalchemy_warnings(), patched(compare, "comparators", PriorityDispatcher()):
            script = produce_migrations(context, reference.schema)
    except Exception:  # noqa: BLE001  # what it, or a type that a project made, cannot compare
        return None
    operations = list(flat(script.upgrade_ops.ops)) if script.upgrade_ops else []
    return [one for one in operations if _is_confirmed(_about(one), found)]


def _is_confirmed(about: About, found: FactDifferences) -> bool:
    """False if the facts are equal: Alembic reads the two sides differently."""
    table, kind, name = about
    if kind == "constraint":
        return any(key.name == table for key in found.firm + found.loose)
    if kind == "table":
        return True
    keys = {key for key in (*found.here, *found.there) if key.name == table and key.part == name}
    return not keys or bool(keys & {*found.firm, *found.loose})


def _other_text(_inspected: Any, wanted: Any, _rendered: Any, found: str | None) -> bool:
    """True if two defaults differ in the server's own spelling."""
    text = getattr(getattr(wanted.server_default, "arg", None), "text", None)
    return bool(found != text)


def flat(operations: Iterable[Any]) -> Iterator[Any]:
    """The operations one by one, without their groups."""
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from flat(operation.ops)
        else:
            yield operation


CONSTRAINTS = frozenset({"constraint", "unique", "foreign key"})


def _about(operation: Any) -> About:
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", "")
    if isinstance(operation, ops.CreateTableOp | ops.DropTableOp):
        return str(table), "table", ""
    column = getattr(operation, "column_name", None) or getattr(
        getattr(operation, "column", None), "name", None
    )
    if column:
        return str(table), "column", str(column)
    index = getattr(operation, "index_name", None)
    if index:
        return str(table), "index", str(index)
    return str(table), "constraint", str(getattr(operation, "constraint_name", ""))


def _is_covered(key: Key, found: FactDifferences, covered: list[About], *, is_all: bool) -> bool:
    """True if another difference includes this one."""
    place = key[1:3]
    owner = Key("table", *place)
    if key.kind in OF_A_TABLE and (owner in found.here) != (owner in found.there):
        return True
    here = [about for about in covered if about[0] == key.name]
    if key.kind == "table":
        return any(kind == "table" for _, kind, _ in here)
    if key.kind in CONSTRAINTS and not is_all:
        return any(kind == "constraint" for _, kind, _ in here)
    if key.kind in ("index", "column"):
        return any(name == key.part for _, kind, name in here)
    return False


def _difference_of_fact(
    connection: Connection, key: Key, found: FactDifferences, with_fixes: bool
) -> Difference:
    side = "other"
    if key not in found.here or key not in found.there:
        side = "extra" if key in found.here else "missing"
    here, there = found.here.get(key), found.there.get(key)
    name = f"{key.name}.{key.part}" if key.part else key.name
    if key.kind in ("index", "trigger") and connection.dialect.name == "sqlite":
        name = key.part  # which is the only one of this name
    statement = fix_fact_sql(connection, key, here, there) if with_fixes else None
    return Difference(says=f"{side} {key.kind} {name}", fix=statement)


def describe(diff: Any, default: str = "") -> str:
    """A difference that Alembic found as text: "extra column account.nickname".

    A table's name includes its schema, unless that is the default.
    """
    if isinstance(diff, list):
        return "; ".join(describe(one, default) for one in diff)
    if not (isinstance(diff, tuple) and diff and isinstance(diff[0], str)):
        return f"other {' '.join(str(diff).split())}"  # a plugin's own way to say it
    act, _, kind = diff[0].partition("_")
    schema, *names = _subject(kind, *diff[1:])
    subject = names if schema in (None, "", default) else [schema, *names]
    text = f"{SIDES.get(act, act)} {kind.replace('_', ' ')} {'.'.join(map(str, subject))}"
    return text.rstrip()


def _subject(kind: str, *rest: Any) -> tuple[Any, ...]:
    """Schema (None if it has none) and name of the object that differs, its table first."""
    if not rest:
        return (None,)
    if len(rest) > 1:  # a column, or modify_type and its like: schema, table, column, …
        schema, table, *more = rest
        return (schema, table, *(getattr(one, "name", one) for one in more[:1]))
    (thing,) = rest
    of_table = kind in ("table", "table_comment")
    table = thing if of_table else getattr(thing, "table", None)
    names = [getattr(one, "name", one) for one in (table, thing) if one is not None]
    return (getattr(table, "schema", None), *(names[:1] if of_table else names))
