"""The SQL that removes a difference, as Alembic would write it for this database."""

import warnings
from typing import Any

from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, StaticPool, Table, create_engine, event, inspect

from headway.dialects.driver import Raw
from headway.dialects.facts import Fact, Key
from headway.plan.sql import Offline, Statements
from headway.scripts.alembic_log import silence_alembic_log

ALTERS = (ops.AlterColumnOp, ops.DropConstraintOp, ops.AddConstraintOp)
READS = ("SELECT", "PRAGMA", "BEGIN")


def fix_sql(connection: Connection, operation: Any) -> str | None:
    """The SQL of one operation; None if this kind of database has none for it.

    Nothing is sent to the database. SQLite rebuilds a table to alter it: the rebuild is recorded on
    an empty copy of the table.
    """
    try:
        with silence_alembic_log(), warnings.catch_warnings():
            # Advice for people who write revisions: of options that only mean something elsewhere.
            warnings.simplefilter("ignore", UserWarning)
            if connection.dialect.name == "sqlite" and _rebuilds(operation):
                return _rebuild_statements(connection, operation)
            return _rendered(connection, operation)
    except Exception:  # noqa: BLE001  # Alembic and the dialects refuse in many ways
        return None


REMADE = ("index", "trigger", "view", "materialized view")


def fix_fact_sql(
    connection: Connection, key: Key, here: Fact | None, there: Fact | None
) -> str | None:
    """The SQL for a fact that Alembic has no operation for; None if it would lose data."""
    made = there.sql if there else ""
    if made is None or (here is not None and key.kind not in REMADE):
        return None
    drop = ""
    if here is not None:
        quote = connection.dialect.identifier_preparer.quote
        schema = f"{quote(key.schema)}." if key.schema else ""
        name, table = quote(key.part or key.name), f"{schema}{quote(key.name)}"
        owned = key.kind == "trigger" and connection.dialect.name == "postgresql"
        drop = f"DROP {key.kind.upper()} {name if owned else schema + name}"
        drop += f" ON {table};" if owned else ";"
        if key.kind == "index" and connection.dialect.name == "mysql":
            return None
    return "\n".join(filter(None, (drop, made and f"{made.rstrip().rstrip(';')};"))) or None


def _rebuilds(operation: Any) -> bool:
    # A unique or foreign key belongs to its table there; an index does not.
    is_index = isinstance(operation, ops.CreateIndexOp)
    return isinstance(operation, ALTERS) and not is_index


def _rendered(connection: Connection, operation: Any) -> str:
    buffer = Statements()
    kind: Any = type(connection.dialect)
    dialect = kind(paramstyle="named")  # a percent sign stays one
    dialect.server_version_info = connection.dialect.server_version_info
    dialect.default_schema_name = connection.dialect.default_schema_name
    if connection.dialect.name == "mysql":
        dialect.is_mariadb = connection.dialect.is_mariadb  # type: ignore[attr-defined]
    offline: Any = Offline(dialect)
    context = MigrationContext.configure(
        offline, opts={"as_sql": True, "literal_binds": True, "output_buffer": buffer}
    )
    Operations(context).invoke(operation)
    return "\n".join(filter(None, buffer.found))


def _rebuild_statements(connection: Connection, operation: Any) -> str:
    """The statements of a batch operation, recorded on an empty copy of the table."""
    name = getattr(operation, "table_name", None) or operation.source_table
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as empty:
        _copy(connection, empty, name)
        found: list[str] = []

        def note(_connection: Any, _cursor: Raw, statement: str, *_: Any) -> None:
            sql = statement.strip()
            if not sql.upper().startswith(READS):
                found.append(f"{sql};")

        context = MigrationContext.configure(empty)
        event.listen(empty, "before_cursor_execute", note)
        with Operations(context).batch_alter_table(name) as batch:
            batch.invoke(operation)
    engine.dispose()
    # A rebuild drops the table for a moment: its children must not go with it.
    around = ("PRAGMA foreign_keys=OFF;", "BEGIN;"), ("COMMIT;", "PRAGMA foreign_keys=ON;")
    return "\n".join([*around[0], *found, *around[1]])


def _copy(connection: Connection, empty: Connection, name: str) -> None:
    schema = MetaData()
    Table(name, schema, autoload_with=connection, resolve_fks=True)
    schema.create_all(empty)
    assert inspect(empty).has_table(name)  # noqa: S101
