"""The differences between a database and its reference: a text and the SQL that removes it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alembic.autogenerate import compare, produce_migrations
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.util import PriorityDispatcher
from sqlalchemy import Connection

from headway.dialects import dialect_of
from headway.dialects.facts import OF_A_TABLE, Key
from headway.isolation.running import patched
from headway.schema.compare import Apart, Reference, apart, without_sqlalchemy_warnings
from headway.schema.fixes import mend, mend_fact

SIDES = {"add": "missing", "remove": "extra", "modify": "other"}
"""Alembic says what it would do to the database; a person wants to know what is there."""

About = tuple[str, str, str]
"""What an operation is about: a table, a kind of thing on it, its name."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not as it should be."""

    says: str
    """ "extra column account.nickname"."""
    mend: str | None
    """The SQL that would take it away; None where this kind of database has none for it."""


def differences(
    connection: Connection,
    reference: Reference,
    found: Apart | None = None,
    *,
    mends: bool = True,
) -> tuple[Difference, ...]:
    """What this database would need to be as it should; () if it is. Nothing is evaluated.

    `mends=False` leaves out what would mend them, which takes longer than to find them.
    """
    found = found or apart(dialect_of(connection).facts(connection), reference)
    changes = _alembics(connection, reference, found) if found.tables else []
    facts = found.firm + (found.loose if changes is None else ())
    told = [
        Difference(
            says=words(one.to_diff_tuple(), reference.scope.default),
            mend=mend(connection, one) if mends else None,
        )
        for one in changes or ()
    ]
    covered = [_about(one) for one in changes or ()]
    told += [
        _of_fact(connection, key, found, mends)
        for key in facts
        if not _is_told(key, found, covered, is_all=changes is None)
    ]
    return tuple(sorted(told, key=lambda one: one.says))


def _alembics(connection: Connection, reference: Reference, found: Apart) -> list[Any] | None:
    """Alembic's operations for the tables that differ; None where it cannot compare them."""
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
    return [one for one in operations if _holds(_about(one), found)]


def _holds(about: About, found: Apart) -> bool:
    """False where the facts say that it is the same: Alembic reads the two sides differently."""
    table, kind, name = about
    if kind == "constraint":
        return any(key.name == table for key in found.firm + found.loose)
    if kind == "table":
        return True
    keys = {key for key in (*found.here, *found.there) if key.name == table and key.part == name}
    return not keys or bool(keys & {*found.firm, *found.loose})


def _other_text(_inspected: Any, wanted: Any, _rendered: Any, found: str | None) -> bool:
    """True where two defaults differ, as the server spells them."""
    text = getattr(getattr(wanted.server_default, "arg", None), "text", None)
    return bool(found != text)


def flat(operations: Iterable[Any]) -> Iterator[Any]:
    """Operations one by one."""
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


def _is_told(key: Key, found: Apart, covered: list[About], *, is_all: bool) -> bool:
    """True if another difference says this one too."""
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


def _of_fact(connection: Connection, key: Key, found: Apart, mends: bool) -> Difference:
    side = "other"
    if key not in found.here or key not in found.there:
        side = "extra" if key in found.here else "missing"
    here, there = found.here.get(key), found.there.get(key)
    name = f"{key.name}.{key.part}" if key.part else key.name
    if key.kind in ("index", "trigger") and connection.dialect.name == "sqlite":
        name = key.part  # which is the only one of this name
    statement = mend_fact(connection, key, here, there) if mends else None
    return Difference(says=f"{side} {key.kind} {name}", mend=statement)


def words(diff: Any, default: str = "") -> str:
    """One difference of Alembic's as a few words: "extra column account.nickname".

    A table has its schema's name before its own, unless that is the default.
    """
    if isinstance(diff, list):
        return "; ".join(words(one, default) for one in diff)
    if not (isinstance(diff, tuple) and diff and isinstance(diff[0], str)):
        return f"other {' '.join(str(diff).split())}"  # a plugin's own way to say it
    act, _, kind = diff[0].partition("_")
    schema, *names = _subject(kind, *diff[1:])
    subject = names if schema in (None, "", default) else [schema, *names]
    said = f"{SIDES.get(act, act)} {kind.replace('_', ' ')} {'.'.join(map(str, subject))}"
    return said.rstrip()


def _subject(kind: str, *rest: Any) -> tuple[Any, ...]:
    """The schema of what differs, None if it has none, and its name, that of its table first."""
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
