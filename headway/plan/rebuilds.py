"""What a rebuild of a SQLite table would lose, found by rebuilding an empty copy."""

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, StaticPool, create_engine

from headway.dialects import dialect_named
from headway.dialects.driver import dbapi_connection, register_engine
from headway.dialects.sqlite import objects
from headway.dialects.sqlite.objects import COPY, Declared, LostObject
from headway.plan.operations import Rebuild
from headway.scripts.alembic_log import silence_alembic_log


@contextlib.contextmanager
def _empty() -> Iterator[Connection]:
    engine = register_engine(create_engine("sqlite://", poolclass=StaticPool))
    dialect_named("sqlite").prepare(engine)
    try:
        with engine.connect() as connection:
            yield connection.execution_options(write=True)
    finally:
        engine.dispose()


def lost_by(rebuild: Rebuild, connection: Connection) -> list[LostObject]:
    """Objects of the live table that a revision's rebuild would lose.

    Nothing is written: Alembic rebuilds a table of the same definition in an empty database.
    """
    schema = objects.read(dbapi_connection(connection))
    table = rebuild.table
    if (False, table) not in schema:
        return []
    # All tables, because its keys point at some.
    made = [one for one in schema.values() if one.kind == "table"]
    made += [one for one in schema.values() if one.kind != "table" and one.table == table]
    declared = Declared(
        loses=frozenset(rebuild.announced.objects),
        statements=(f'ALTER TABLE "{COPY}{table}" RENAME TO "{table}"',),
        script=rebuild.script,
    )
    with _empty() as empty:
        raw = dbapi_connection(empty)
        for one in made:
            with contextlib.suppress(sqlite3.Error):  # with a function of the application's own
                raw.execute(one.sql)
        before = objects.read(raw)
        with silence_alembic_log(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they say half of what is said here
            operations = Operations(MigrationContext.configure(empty))
            with operations.batch_alter_table(table, recreate="always"):
                pass
        return objects.undeclared_losses(before, objects.read(raw), declared)
