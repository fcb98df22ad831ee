"""What a schema should be, and how far a database is from it: from facts, in words."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alembic.autogenerate import compare, produce_migrations
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.util import PriorityDispatcher
from sqlalchemy import Connection, MetaData, Table, event, inspect
from sqlalchemy.exc import SAWarning, SQLAlchemyError

from headway import history
from headway.dialects import dialect_of
from headway.dialects.facts import OF_A_TABLE, ONLY_MISSING, SHADOW, Facts, Key
from headway.isolation.running import patched
from headway.look import CATALOGS
from headway.schema.fixes import mend, mend_fact

OURS = frozenset({CATALOGS.name, history.NAME})
SIDES = {"add": "missing", "remove": "extra", "modify": "other"}
"""Alembic says what it would do to the database; a person wants to know what is there."""
About = tuple[str, str, str]
"""What an operation is about: a table, a kind of thing on it, its name."""
Place = tuple[str, str]
"""A schema, and a table in it."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not as it should be."""

    says: str
    """ "extra column account.nickname"."""
    mend: str | None
    """The SQL that would take it away; None where this kind of database has none for it."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What of a database is compared."""

    default: str
    """The schema that names without one lead to."""
    ours: frozenset[str] = OURS
    """Tables that are nobody's schema."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What env.py gave to `context.configure`."""

    def name(self, schema: str) -> str | None:
        """A schema as Alembic's filters know it."""
        return None if schema == self.default else schema

    def has_name(self, name: str | None, kind: str, **parents: str | None) -> bool:
        """False for what env.py's `include_name` leaves out."""
        theirs = self.options.get("include_name")
        if kind == "table":
            schema = parents["schema_name"]
            parents["schema_qualified_table_name"] = f"{schema}.{name}" if schema else name
        return theirs is None or bool(theirs(name, kind, parents))

    def has(self, thing: Any, name: str, kind: str, reflected: bool, other: Any) -> bool:
        """False for what env.py's `include_object` leaves out."""
        theirs = self.options.get("include_object")
        if kind == "table" and not reflected:
            thing = self._model(thing)
        return theirs is None or bool(theirs(thing, name, kind, reflected, other))

    def _model(self, table: Table) -> Table:
        """The model of a table, if there is one: what a project notes on it is only there."""
        models = self.options.get("target_metadata")
        for one in models if isinstance(models, list | tuple) else [models]:
            for key in (table.key, f"{self.default}.{table.key}"):
                if one is not None and key in one.tables:
                    return one.tables[key]  # type: ignore[no-any-return]
        return table


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a schema should be."""

    facts: Facts
    schema: MetaData
    """Its tables, as far as SQLAlchemy can read them."""
    scope: Scope
    models: tuple[str, ...] | None = None
    """How the project's models differ from it; None where there are none to compare."""


@dataclass(frozen=True)
class Apart:
    """What differs between two schemas, fact by fact."""

    missing: tuple[Key, ...]
    extra: tuple[Key, ...]
    other: tuple[Key, ...]
    loose: tuple[Key, ...]
    """What may be the same in other words."""
    here: Facts
    there: Facts

    @property
    def firm(self) -> tuple[Key, ...]:
        """What certainly differs."""
        return self.missing + self.extra + self.other

    @property
    def tables(self) -> set[Place]:
        """The tables that these differences are about, where SQLAlchemy knows such tables."""
        known = {key[1:3] for key in (*self.here, *self.there) if key.kind == "table"}
        about = {key[1:3] for key in self.firm + self.loose if key.kind in {"table", *OF_A_TABLE}}
        return about & known


def apart(live: Facts, reference: Reference) -> Apart:
    """Compare a database's facts with those that it should have."""
    scope = reference.scope
    every = bool(scope.options.get("include_schemas"))
    schemas = {key.schema for key in reference.facts} | {scope.default, ""}
    schemas = {
        one
        for one in schemas | ({key.schema for key in live} if every else set())
        if not one or scope.has_name(scope.name(one), "schema")
    }
    hidden = {key.name for key in (*live, *reference.facts) if key.kind == SHADOW}
    leave = _left_out(reference)

    def trimmed(facts: Facts) -> Facts:
        return {
            key: fact
            for key, fact in facts.items()
            if key.schema in schemas
            and key.name not in scope.ours
            and not (key.name in hidden and key.kind in {"table", SHADOW, *OF_A_TABLE})
            and not (key[1:3] in leave and key.kind in {"table", *OF_A_TABLE})
            and _named(scope, key)
        }

    here, there = trimmed(live), trimmed(reference.facts)
    both = [key for key in there if key in here]
    other = [key for key in both if _differ(here[key].firm, there[key].firm)]
    return Apart(
        missing=tuple(key for key in there if key not in here),
        extra=tuple(key for key in here if key not in there and key.kind not in ONLY_MISSING),
        other=tuple(other),
        loose=tuple(k for k in both if k not in other and here[k].loose != there[k].loose),
        here=here,
        there=there,
    )


def _differ(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other


def _named(scope: Scope, key: Key) -> bool:
    schema = scope.name(key.schema) or None
    if key.kind == "table":
        return scope.has_name(key.name, "table", schema_name=schema)
    if key.kind in OF_A_TABLE:
        is_named = scope.has_name(key.name, "table", schema_name=schema)
        if is_named and key.kind in ("column", "index"):
            parents = {"schema_name": schema, "table_name": key.name}
            return scope.has_name(key.part, key.kind, **parents)
        return is_named
    return True


def _left_out(reference: Reference) -> set[Place]:
    """Tables that `include_object` leaves out."""
    scope = reference.scope
    if scope.options.get("include_object") is None:
        return set()
    return {
        (table.schema or scope.default, table.name)
        for table in reference.schema.tables.values()
        if not scope.has(table, table.name, "table", reflected=False, other=None)
    }


def reflected(connection: Connection, tables: Iterable[Place]) -> MetaData:
    """Tables as SQLAlchemy reads them; those that it cannot read are not in it."""
    schema = MetaData()
    default = connection.dialect.default_schema_name or ""
    impl = MigrationContext.configure(connection).impl
    # FRAGILE: private in Alembic. What it does to the columns of a database that it compares.
    event.listen(schema, "column_reflect", impl._compat_autogen_column_reflect(inspect(connection)))  # noqa: SLF001
    for place, name in tables:
        with contextlib.suppress(SQLAlchemyError), _without_advice():
            Table(
                name,
                schema,
                schema=None if place in ("", default) else place,
                autoload_with=connection,
            )
    return schema


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """SQLAlchemy warns of what it does not read: the facts have that as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield


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
        with _without_advice(), patched(compare, "comparators", PriorityDispatcher()):
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
