"""Compare a database's facts with those that it should have."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, event, inspect
from sqlalchemy.exc import SAWarning, SQLAlchemyError

from headway import history
from headway.dialects.facts import OF_A_TABLE, ONLY_MISSING, SHADOW, Facts, Key
from headway.dialects.types import VERSIONS

OURS = frozenset({VERSIONS.name, history.NAME})
Place = tuple[str, str]
"""A schema, and a table in it."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The part of a database that is compared."""

    default: str
    """The schema of names without one."""
    ours: frozenset[str] = OURS
    """Tables that belong to no schema: bookkeeping of Headway and Alembic."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that env.py gave to `context.configure`."""

    def name(self, schema: str) -> str | None:
        """The schema's name as Alembic's filters get it: None for the default one."""
        return None if schema == self.default else schema

    def has_name(self, name: str | None, kind: str, **parents: str | None) -> bool:
        """False for names that env.py's `include_name` excludes."""
        theirs = self.options.get("include_name")
        if kind == "table":
            schema = parents["schema_name"]
            parents["schema_qualified_table_name"] = f"{schema}.{name}" if schema else name
        return theirs is None or bool(theirs(name, kind, parents))

    def has(self, thing: Any, name: str, kind: str, reflected: bool, other: Any) -> bool:
        """False for objects that env.py's `include_object` excludes."""
        theirs = self.options.get("include_object")
        if kind == "table" and not reflected:
            thing = self._model(thing)
        return theirs is None or bool(theirs(thing, name, kind, reflected, other))

    def _model(self, table: Table) -> Table:
        """The model of a table, if there is one: it has attributes that a reflected table lacks."""
        models = self.options.get("target_metadata")
        for one in models if isinstance(models, list | tuple) else [models]:
            for key in (table.key, f"{self.default}.{table.key}"):
                if one is not None and key in one.tables:
                    return one.tables[key]  # type: ignore[no-any-return]
        return table


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The schema that a database should have."""

    facts: Facts
    schema: MetaData
    """Its tables, as far as SQLAlchemy reflects them."""
    scope: Scope
    models: tuple[str, ...] | None = None
    """Differences of the project's models from it; None if there are none to compare."""


@dataclass(frozen=True)
class FactDifferences:
    """The facts that differ between two schemas."""

    missing: tuple[Key, ...]
    extra: tuple[Key, ...]
    other: tuple[Key, ...]
    loose: tuple[Key, ...]
    """Facts that may be equal though their texts differ."""
    here: Facts
    there: Facts

    @property
    def firm(self) -> tuple[Key, ...]:
        """Facts that certainly differ."""
        return self.missing + self.extra + self.other

    @property
    def tables(self) -> set[Place]:
        """The tables that the differences belong to, as far as SQLAlchemy knows such tables."""
        known = {key[1:3] for key in (*self.here, *self.there) if key.kind == "table"}
        about = {key[1:3] for key in self.firm + self.loose if key.kind in {"table", *OF_A_TABLE}}
        return about & known


def compare_facts(live: Facts, reference: Reference) -> FactDifferences:
    """Compare a database's facts with its reference's."""
    scope = reference.scope
    every = bool(scope.options.get("include_schemas"))
    schemas = {key.schema for key in reference.facts} | {scope.default, ""}
    schemas = {
        one
        for one in schemas | ({key.schema for key in live} if every else set())
        if not one or scope.has_name(scope.name(one), "schema")
    }
    hidden = {key.name for key in (*live, *reference.facts) if key.kind == SHADOW}
    leave = _excluded_tables(reference)

    def trimmed(facts: Facts) -> Facts:
        return {
            key: fact
            for key, fact in facts.items()
            if key.schema in schemas
            and key.name not in scope.ours
            and not (key.name in hidden and key.kind in {"table", SHADOW, *OF_A_TABLE})
            and not (key[1:3] in leave and key.kind in {"table", *OF_A_TABLE})
            and _is_included(scope, key)
        }

    here, there = trimmed(live), trimmed(reference.facts)
    both = [key for key in there if key in here]
    other = [key for key in both if _is_different(here[key].firm, there[key].firm)]
    return FactDifferences(
        missing=tuple(key for key in there if key not in here),
        extra=tuple(key for key in here if key not in there and key.kind not in ONLY_MISSING),
        other=tuple(other),
        loose=tuple(k for k in both if k not in other and here[k].loose != there[k].loose),
        here=here,
        there=there,
    )


def _is_different(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other


def _is_included(scope: Scope, key: Key) -> bool:
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


def _excluded_tables(reference: Reference) -> set[Place]:
    """Tables that `include_object` excludes."""
    scope = reference.scope
    if scope.options.get("include_object") is None:
        return set()
    return {
        (table.schema or scope.default, table.name)
        for table in reference.schema.tables.values()
        if not scope.has(table, table.name, "table", reflected=False, other=None)
    }


def reflected(connection: Connection, tables: Iterable[Place]) -> MetaData:
    """Tables as SQLAlchemy reflects them, without those that it cannot read."""
    schema = MetaData()
    default = connection.dialect.default_schema_name or ""
    impl = MigrationContext.configure(connection).impl
    # FRAGILE: private in Alembic. What it does to the columns of a database that it compares.
    event.listen(schema, "column_reflect", impl._compat_autogen_column_reflect(inspect(connection)))  # noqa: SLF001
    for place, name in tables:
        with contextlib.suppress(SQLAlchemyError), without_sqlalchemy_warnings():
            Table(
                name,
                schema,
                schema=None if place in ("", default) else place,
                autoload_with=connection,
            )
    return schema


@contextlib.contextmanager
def without_sqlalchemy_warnings() -> Iterator[None]:
    """Ignore SQLAlchemy's warnings about what it does not reflect: the facts have that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield
