"""The risks of a plan, and which of them the rows in the database make certain."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from alembic.operations import ops
from sqlalchemy import Column, Connection, MetaData, Table, and_, func, inspect, select
from sqlalchemy.exc import NoSuchTableError

from headway.errors import PreviewImpossible
from headway.plan.operations import Operation, Rebuild, RecordedOperations, record_operations
from headway.plan.rebuilds import lost_by
from headway.plan.sql import Span, render

SQUAWK_SECONDS = 20
# One transaction and the brakes are what every run here has.
OURS = "--exclude=prefer-robust-stmts,require-lock-timeout,require-statement-timeout"


@dataclass(frozen=True, kw_only=True)
class Risk:
    """One risk of one revision."""

    revision: str
    kind: str
    """`drop`, `rewrite`, `lock`, `fill`, `rename`, `loses`, `there`, `unheard` or `lint`."""
    says: str
    fails: bool = False
    """True if the revision will fail, or lose rows, with the rows that the database has now."""


def notes(recorded: RecordedOperations, dialect: str) -> tuple[Risk, ...]:
    """The risks of operations, whatever the database holds."""
    made = {o.op.table_name for o in recorded.operations if isinstance(o.op, ops.CreateTableOp)}
    found = [
        Risk(revision=operation.revision, kind=kind, says=says)
        for operation in recorded.operations
        if getattr(operation.op, "table_name", None) not in made
        for kind, says in _operation_risks(operation.op, dialect)
    ]
    found += [
        Risk(
            revision=revision,
            kind="unheard",
            says="asks the database, so what it does is seen only when it runs: rehearse it",
        )
        for revision in recorded.incomplete
    ]
    return tuple(found)


def _operation_risks(op: Any, dialect: str) -> Iterator[tuple[str, str]]:
    postgresql = dialect == "postgresql"
    if isinstance(op, ops.DropTableOp):
        yield "drop", f"drops {op.table_name} with all its rows"
    elif isinstance(op, ops.DropColumnOp):
        yield "drop", f"drops {op.table_name}.{op.column_name} with all its values"
    elif isinstance(op, ops.RenameTableOp):
        yield "rename", f"renames {op.table_name}: a release that runs now no longer finds it"
    elif isinstance(op, ops.AddColumnOp):
        yield from _column_risks(op.table_name, op.column)
    elif isinstance(op, ops.AlterColumnOp):
        yield from _change_risks(op, postgresql=postgresql)
    elif isinstance(op, ops.CreateIndexOp) and postgresql:
        if not op.kw.get("postgresql_concurrently"):
            yield "lock", f"blocks writes to {op.table_name} while {op.index_name} is built"
    elif isinstance(op, ops.CreateForeignKeyOp) and postgresql:
        yield "lock", f"locks {op.source_table} and {op.referent_table} while all rows are checked"


def _column_risks(table: str, column: Column[Any]) -> Iterator[tuple[str, str]]:
    if not column.nullable and column.server_default is None and column.computed is None:
        yield "fill", f"adds {table}.{column.name} not null and without a server default"


def _change_risks(op: ops.AlterColumnOp, *, postgresql: bool) -> Iterator[tuple[str, str]]:
    where = f"{op.table_name}.{op.column_name}"
    if op.modify_name:
        yield "rename", f"renames {where}: a release that runs now no longer finds it"
    if op.modify_type is not None:
        rewrite = ", and PostgreSQL may rewrite the table under an exclusive lock"
        yield "rewrite", f"changes the type of {where}{rewrite if postgresql else ''}"
    if op.modify_nullable is False:
        yield "fill", f"makes {where} not null"


def predict(recorded: RecordedOperations, connection: Connection) -> tuple[Risk, ...]:
    """Operations that would fail or lose rows with what this database holds now.

    Reads; writes nothing. That an earlier operation of the plan removes the cause is not
    considered.
    """
    made: set[str] = set()
    found = []
    for operation in recorded.operations:
        table = getattr(operation.op, "table_name", None) or getattr(
            operation.op, "source_table", None
        )
        if isinstance(operation.op, ops.CreateTableOp):
            made.add(operation.op.table_name)
        elif table and table not in made:
            says = _question(operation, connection, table)
            if says:
                found.append(Risk(revision=operation.revision, kind="fill", says=says, fails=True))
    if connection.dialect.name == "sqlite":
        found += [risk for risk in map(partial(_lost, connection), recorded.rebuilds) if risk]
    connection.rollback()
    return tuple(found)


def _lost(connection: Connection, rebuild: Rebuild) -> Risk | None:
    """The risk of objects that a rebuild would lose, which is refused when it runs."""
    names = [one.says for one in lost_by(rebuild, connection)]
    says = f"rebuilds {rebuild.table} and loses: {', '.join(names)}"
    return Risk(revision=rebuild.revision, kind="loses", says=says, fails=True) if names else None


def _question(operation: Operation, connection: Connection, name: str) -> str | None:
    op = operation.op
    try:
        table = Table(
            name, MetaData(), autoload_with=connection, schema=getattr(op, "schema", None)
        )
    except NoSuchTableError:
        return None
    if isinstance(op, ops.DropTableOp):
        rows = _rows(connection, table)
        return f"{name} has {rows} rows, which would be lost" if rows else None
    if isinstance(op, ops.AddColumnOp):
        if connection.dialect.name in ("mysql", "mariadb"):
            return None  # which fill in a 0 or an empty text themselves
        rows = _rows(connection, table) if list(_column_risks(name, op.column)) else 0
        missing = f"and the new {op.column.name} no value for them"
        return f"{name} has {rows} rows, {missing}" if rows else None
    return _question_of_constraint(op, connection, table)


def _question_of_constraint(op: Any, connection: Connection, table: Table) -> str | None:
    if isinstance(op, ops.AlterColumnOp) and op.modify_nullable is False:
        return _nulls(connection, table, op.column_name)
    unique = isinstance(op, ops.CreateIndexOp) and op.unique
    if unique or isinstance(op, ops.CreateUniqueConstraintOp):
        return _duplicates(connection, table, [str(getattr(c, "name", c)) for c in op.columns])
    if isinstance(op, ops.CreateForeignKeyOp):
        return _orphans(connection, table, op)
    return None


def _rows(connection: Connection, table: Table) -> int:
    return _count(connection, select(func.count()).select_from(table))


def _nulls(connection: Connection, table: Table, column: str) -> str | None:
    if column not in table.c:
        return None
    rows = _count(connection, select(func.count()).where(table.c[column].is_(None)))
    return f"{rows} rows of {table.name} have no {column}, which becomes not null" if rows else None


def _duplicates(connection: Connection, table: Table, columns: list[str]) -> str | None:
    if any(column not in table.c for column in columns):
        return None
    keys = [table.c[column] for column in columns]
    full = and_(*(key.is_not(None) for key in keys))
    groups = select(*keys).where(full).group_by(*keys).having(func.count() > 1).subquery()
    rows = _count(connection, select(func.count()).select_from(groups))
    names = ", ".join(columns)
    return f"{rows} values of {table.name} ({names}) appear more than once" if rows else None


def _orphans(connection: Connection, table: Table, op: ops.CreateForeignKeyOp) -> str | None:
    if not inspect(connection).has_table(op.referent_table):
        return None
    parent = Table(op.referent_table, MetaData(), autoload_with=connection)
    if any(c not in table.c for c in op.local_cols) or any(
        c not in parent.c for c in op.remote_cols
    ):
        return None
    pairs = zip(op.local_cols, op.remote_cols, strict=True)
    there = select(parent).where(*(table.c[a] == parent.c[b] for a, b in pairs)).exists()
    full = and_(*(table.c[column].is_not(None) for column in op.local_cols))
    rows = _count(connection, select(func.count()).select_from(table).where(full, ~there))
    return f"{rows} rows of {table.name} point at no row of {parent.name}" if rows else None


def _count(connection: Connection, query: Any) -> int:
    return int(connection.execute(query).scalar_one())


def risks_in(span: Span) -> tuple[Risk, ...]:
    """What could go wrong with a part of a history in its database: by rules, queries, squawk."""
    address, recorded = span.address, record_operations(span)
    found = notes(recorded, address.dialect.name)
    if span.start:
        with address.open() as raw, address.connected(raw) as connection:
            found += predict(recorded, connection)
    if address.dialect.name == "postgresql" and not recorded.incomplete:
        with suppress(PreviewImpossible):
            found += squawk(render(span))
    return found


def squawk_program() -> str | None:
    """The path of squawk: beside this Python, or on PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("squawk", path=beside) or shutil.which("squawk")


def squawk(sql: str) -> tuple[Risk, ...]:
    """Findings of squawk, the linter of PostgreSQL migrations; () if it is not installed."""
    program = squawk_program()
    if program is None or not sql.strip():
        return ()
    done = subprocess.run(  # noqa: S603  # a program by its full path, fed with text
        [program, "--reporter=Gcc", "--stdin-filepath=plan.sql", "--assume-in-transaction", OURS],
        input=sql,
        capture_output=True,
        text=True,
        timeout=SQUAWK_SECONDS,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("plan.sql:")]
    return tuple(
        Risk(revision="", kind="lint", says="squawk: " + line.partition(": ")[2]) for line in lines
    )
