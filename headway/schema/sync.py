"""Change a schema to match its models, without revision files.

Nothing is dropped unless requested.
"""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alembic.autogenerate import produce_migrations
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, event

from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects import dialect_of
from headway.dialects.facts import plain
from headway.dialects.translation import unwrapped
from headway.errors import DataLossRefused
from headway.execution.transaction import READS
from headway.schema.compare import OURS

HARMLESS = frozenset(
    {"now", "timezone", "lower", "upper", "date_trunc", "to_char", "coalesce", "concat", "md5"}
    | {"gen_random_uuid", "uuid_generate_v4", "clock_timestamp", "statement_timestamp", "random"}
    | {"transaction_timestamp", "jsonb_build_object", "json_build_object", "char", "varchar"}
    | {"numeric", "varying", "decimal", "timestamp", "time", "bit", "interval"}
)
"""Functions without side effects, and types with a length."""
CALL, TEXT = re.compile(r"([\w.]+)\s*\("), re.compile(r"'(?:[^']|'')*'")
CAST = re.compile(r"::[\w\". ]+(?:\([\d, ]+\))?(?:\[\])*")
DROPS = (ops.DropTableOp, ops.DropColumnOp)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One operation that brings the schema to the models."""

    says: str
    """The change as text: "add column account.nickname"."""
    drops: bool
    """True if rows or values would be lost."""


@dataclass(frozen=True, kw_only=True)
class Sync:
    """The changes that were made, or would be."""

    changes: tuple[Change, ...]
    statements: tuple[str, ...]
    """The SQL that was sent to make the changes."""
    left: tuple[Change, ...]
    """Changes that were not made because they drop something."""


def sync(
    address: Address,
    metadata: MetaData,
    policy: Policy,
    *,
    drop: bool = False,
    dry_run: bool = False,
    options: Mapping[str, Any] | None = None,
    ours: frozenset[str] = OURS,
) -> Sync:
    """Bring a database to its models, in one transaction if the database allows it.

    A table or column that the models do not have is kept, and named in `left`, unless `drop` is
    set. A rename looks like a drop and an add: without `drop` it is refused, because the new column
    would be empty beside the old. `dry_run` returns the same result and changes nothing. `ours` are
    tables that are not compared. `options` are Alembic's for comparing.
    """
    with unwrapped(), held(address, policy) as raw, address.connected(raw) as connection:
        context = comparing(connection, ours=ours, options=options)
        if dry_run and not address.dialect.transactional_ddl:
            changes, left = _sorted(_wanted(context, metadata), drop=drop)
            connection.rollback()
            return Sync(changes=_named(changes), statements=(), left=_named(left))
        with _writing(address, connection, dry_run=dry_run) as statements:
            changes, left = _sorted(_wanted(context, metadata), drop=drop)
            statements.clear()  # a plugin's savepoints, to compare
            _refuse_renames(changes, left)
            _apply(context, changes)
        return Sync(changes=_named(changes), statements=tuple(statements), left=_named(left))


def comparing(
    connection: Connection,
    *,
    ours: Collection[str] = OURS,
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
    # What `EnvironmentContext.configure` always fills in: comparators of plugins rely on it.
    defaults = {"compare_type": True, "compare_server_default": True, "include_schemas": False}
    opts = defaults | given | {"include_object": include}
    context = MigrationContext.configure(connection, opts=opts)
    if connection.dialect.name == "postgresql":
        _run_no_default(context.impl)
    return context


def _run_no_default(impl: Any) -> None:
    """Let Alembic evaluate a default on PostgreSQL only if that has no side effects.

    It compares two defaults by running them. One that calls other functions, such as the next
    number of a sequence, is compared as text.
    """
    ask = impl.compare_server_default

    def differs(inspected: Any, model: Any, rendered: str | None, found: str | None) -> Any:
        spellings = [str(found), str(rendered)]
        called = {name for one in spellings for name in CALL.findall(TEXT.sub("", one.lower()))}
        if None in (found, rendered) or called <= HARMLESS:
            return ask(inspected, model, rendered, found)
        texts = {
            plain(CAST.sub("", one)).removeprefix("( ").removesuffix(" )") for one in spellings
        }
        return len(texts) > 1

    impl.compare_server_default = differs


@contextlib.contextmanager
def _writing(address: Address, connection: Connection, *, dry_run: bool) -> Iterator[list[str]]:
    """A transaction whose statements are recorded; rolled back after a dry run."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip()[:6].upper().startswith((*READS, "PRAGMA", "BEGIN")):
            statements.append(" ".join(statement.split()))

    event.listen(connection, "before_cursor_execute", note)
    try:
        if address.is_shared:
            yield statements
            return
        connection.rollback()
        with address.dialect.migrating(connection) as rows, connection.begin() as transaction:
            if rows:
                rows.start()
            before = set(address.dialect.tables(connection)) if rows else set()
            yield statements
            if rows:
                gone = before - set(address.dialect.tables(connection))
                rows.check("sync", announced=gone)
                rows.finish()
            if dry_run:
                transaction.rollback()
    finally:
        event.remove(connection, "before_cursor_execute", note)


def _wanted(context: MigrationContext, metadata: MetaData) -> list[ops.MigrateOperation]:
    script = produce_migrations(context, metadata)
    return list(script.upgrade_ops.ops) if script.upgrade_ops else []


def _sorted(
    wanted: list[ops.MigrateOperation], *, drop: bool
) -> tuple[list[ops.MigrateOperation], list[ops.MigrateOperation]]:
    """The changes to make, and those that are left because they drop something."""
    may: list[ops.MigrateOperation] = []
    left: list[ops.MigrateOperation] = []
    for operation in wanted:
        if isinstance(operation, ops.ModifyTableOps):
            inner_may, inner_left = _sorted(list(operation.ops), drop=drop)
            if inner_may:
                may.append(
                    ops.ModifyTableOps(operation.table_name, inner_may, schema=operation.schema)
                )
            left += inner_left
        elif isinstance(operation, DROPS) and not drop:
            left.append(operation)
        else:
            may.append(operation)
    kept = {o.table_name for o in left if isinstance(o, ops.DropTableOp)}
    # An index goes with its table; where the table stays, it stays.
    return [o for o in may if not _is_index_of(o, kept)], left


def _is_index_of(operation: ops.MigrateOperation, kept: set[str]) -> bool:
    return isinstance(operation, ops.DropIndexOp) and operation.table_name in kept


def _refuse_renames(changes: list[ops.MigrateOperation], left: list[ops.MigrateOperation]) -> None:
    """Refuse a dropped and an added column of one table, which are most likely a rename."""
    for gone in (o for o in left if isinstance(o, ops.DropColumnOp)):
        for new in (o for o in _flat(changes) if isinstance(o, ops.AddColumnOp)):
            if new.table_name == gone.table_name and _alike(new, gone):
                raise DataLossRefused(
                    f"{gone.table_name}.{gone.column_name} looks renamed to "
                    f"{new.table_name}.{new.column.name}: the new column would be empty beside "
                    "the old. Nothing was changed. Rename it with an operation of your own "
                    "(`operations()`), or set drop=True if the old values may go.",
                    table=gone.table_name,
                )


def _alike(new: ops.AddColumnOp, gone: ops.DropColumnOp) -> bool:
    old = gone.to_column()
    return type(new.column.type)._type_affinity is type(old.type)._type_affinity  # noqa: SLF001


def _apply(context: MigrationContext, changes: list[ops.MigrateOperation]) -> None:
    operations = Operations(context)
    for operation in changes:
        if not isinstance(operation, ops.ModifyTableOps):
            operations.invoke(operation)
        elif context.dialect.name == "sqlite":  # which cannot alter much: a rebuild can
            with operations.batch_alter_table(
                operation.table_name, schema=operation.schema
            ) as batch:
                for inner in operation.ops:
                    batch.invoke(_with_a_name(inner))
        else:
            for inner in operation.ops:
                operations.invoke(inner)


def _with_a_name(operation: Any) -> Any:
    """Name a constraint without a name: a rebuild could not carry it."""
    if isinstance(operation, ops.AddConstraintOp) and not operation.constraint_name:  # type: ignore[attr-defined]
        columns = getattr(operation, "columns", None) or getattr(operation, "local_cols", [])
        kind = "fk" if isinstance(operation, ops.CreateForeignKeyOp) else "uq"
        table = getattr(operation, "table_name", None) or getattr(operation, "source_table", "")
        operation.constraint_name = "_".join([kind, str(table), *map(str, columns)])  # type: ignore[attr-defined]
    return operation


def _flat(operations: list[Any]) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _flat(list(operation.ops))
        else:
            yield operation


def _named(operations: list[Any]) -> tuple[Change, ...]:
    return tuple(
        Change(says=_describe(operation), drops=isinstance(operation, DROPS))
        for operation in _flat(operations)
    )


def _describe(operation: Any) -> str:
    kind = type(operation).__name__.removesuffix("Op")
    verb = "".join(f" {c.lower()}" if c.isupper() else c for c in kind).strip()
    table = getattr(operation, "table_name", None) or getattr(operation, "source_table", None)
    column = getattr(operation, "column", None)
    name = getattr(operation, "column_name", None) or getattr(column, "name", None)
    name = (
        name
        or getattr(operation, "index_name", None)
        or getattr(operation, "constraint_name", None)
    )
    return f"{verb} {table}.{name}" if name else f"{verb} {table}"
