"""What the schema of each revision is, by building it; and which one a database really has."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alembic.autogenerate import produce_migrations
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData

from app.migrator import history
from app.migrator.dialects import dialect_of
from app.migrator.look import CATALOGS
from app.migrator.mending import mend

OURS = frozenset({CATALOGS.name, history.NAME})


@dataclass(frozen=True, kw_only=True)
class Match:
    """How far a database's schema is from a revision's."""

    revision: str
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not as it should be."""

    says: str
    """ "extra column account.nickname"."""
    mend: str | None
    """The SQL that would take it away; None where this kind of database has none for it."""


Climb = Callable[[Connection], Iterator[str]]
"""Upgrades an empty database step by step, pausing after each revision."""


def closest(connection: Connection, climb: Climb, *, ours: frozenset[str] = OURS) -> Match:
    """The revision whose schema this database is closest to.

    Builds every revision once in an empty database of the same kind, and compares. Of several
    with the same schema the oldest, so that no step over the data is passed over.
    """
    best: Match | None = None
    with dialect_of(connection).scratch(connection) as empty:
        for revision in climb(empty):
            schema = MetaData()
            schema.reflect(empty)
            match = Match(revision=revision, differences=differences(connection, schema, ours=ours))
            if best is None or len(match.differences) < len(best.differences):
                best = match
    connection.rollback()
    assert best is not None  # noqa: S101  # a script directory without revisions is refused earlier
    return best


def built(connection: Connection, climb: Climb) -> MetaData:
    """The schema at the end of a climb, in an empty database of the same kind."""
    schema = MetaData()
    with dialect_of(connection).scratch(connection) as empty:
        for _ in climb(empty):
            pass
        schema.reflect(empty)
    connection.rollback()
    return schema


def differences(
    connection: Connection,
    schema: MetaData,
    *,
    ours: frozenset[str] = OURS,
    options: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """What this database would need to have that schema, in words; () if it has it.

    `ours` are tables that are nobody's schema. `options` are Alembic's for comparing.
    """
    found = _operations(connection, schema, ours=ours, options=options)
    return tuple(sorted(_says(one) for one in found))


def mendable(
    connection: Connection,
    schema: MetaData,
    *,
    ours: frozenset[str] = OURS,
    options: Mapping[str, Any] | None = None,
) -> tuple[Difference, ...]:
    """The same, each with the SQL that would mend it. Nothing is sent but questions."""
    found = _operations(connection, schema, ours=ours, options=options)
    told = [Difference(says=_says(one), mend=one and mend(connection, one)) for one in found]
    connection.rollback()
    return tuple(sorted(told, key=lambda one: one.says))


def _operations(
    connection: Connection,
    schema: MetaData,
    *,
    ours: frozenset[str],
    options: Mapping[str, Any] | None,
) -> list[Any]:
    """Alembic's operations that would make the schema of the database the other one."""
    try:
        script = produce_migrations(comparing(connection, ours=ours, options=options), schema)
    except AssertionError:
        # FRAGILE: Alembic 1.20 asserts where one side is IDENTITY and the other is not.
        return [None]
    finally:
        connection.rollback()
    return list(_flat(script.upgrade_ops.ops)) if script.upgrade_ops else []


def _flat(operations: Iterable[Any]) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _flat(operation.ops)
        else:
            yield operation


def _says(operation: Any) -> str:
    return _words(operation.to_diff_tuple()) if operation else "other identity of a column"


def comparing(
    connection: Connection,
    *,
    ours: frozenset[str] = OURS,
    options: Mapping[str, Any] | None = None,
) -> MigrationContext:
    """Alembic's context for comparing this database with models, our own tables left out."""
    given = dict(options or {})
    theirs = given.pop("include_object", None)

    def include(thing: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        if kind == "table" and name in ours:
            return False
        return theirs is None or bool(theirs(thing, name, kind, reflected, other))

    if hidden := dialect_of(connection).unreadable(connection):
        named = given.pop("include_name", None)

        def include_name(name: str | None, kind: str, parents: Any) -> bool:
            if kind == "table" and name in hidden:
                return False
            return named is None or bool(named(name, kind, parents))

        given["include_name"] = include_name
    defaults = {"compare_type": True, "compare_server_default": True}
    opts = defaults | given | {"include_object": include}
    return MigrationContext.configure(connection, opts=opts)


def climbing(
    scripts: ScriptDirectory,
    target: str | tuple[str, ...] = "heads",
    *,
    options: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Climb:
    """The climb from nothing to a target. `arguments` are what env.py gives to run_migrations."""

    def climb(empty: Connection) -> Iterator[str]:
        context = MigrationContext.configure(empty, opts={"script": scripts, **(options or {})})
        # FRAGILE: private in Alembic; the same call that `alembic upgrade` makes.
        for step in scripts._upgrade_revs(target, ()):  # type: ignore[arg-type]  # noqa: SLF001
            with Operations.context(context):
                step.migration_fn(**(arguments or {}))
            yield str(step.info.up_revision_id)

    return climb


def _words(diff: Any) -> str:
    """One difference of Alembic's as a few words: "extra column account.nickname"."""
    if isinstance(diff, list):
        return "; ".join(_words(one) for one in diff)
    act, _, kind = diff[0].partition("_")
    return f"{SIDES[act]} {kind} {_subject(kind, *diff[1:])}"


# Alembic says what it would do to the database; a person wants to know what is there.
SIDES = {"add": "missing", "remove": "extra", "modify": "other"}


def _subject(kind: str, *rest: Any) -> str:
    if kind == "table":
        return str(rest[0].name)
    if kind == "column":
        return f"{rest[1]}.{rest[2].name}"
    if len(rest) > 1:  # modify_type and its like: schema, table, column, …
        return f"{rest[1]}.{rest[2]}"
    table = getattr(rest[0], "table", None)
    return f"{getattr(table, 'name', '')}.{getattr(rest[0], 'name', rest[0])}"
