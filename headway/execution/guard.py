"""Run revisions with checks around them: snapshot, history, row guard, foreign keys.

Used around any Alembic run: it is given the function that yields Alembic's steps and gives back
one that yields the same steps, watched.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.runtime.migration import MigrationContext

from headway.dialects import VersionTable, dialect_of
from headway.dialects.driver import dbapi_connection
from headway.dialects.reach import reaching
from headway.execution.failures import CATALOG_OPTIONS, GuardOptions, refuse_leaving
from headway.execution.run import OnStep, Run, StepsOf
from headway.scripts.files import Scripts
from headway.types import Holder


@contextmanager
def guarded(
    context: MigrationContext,
    steps_of: StepsOf,
    *,
    scripts: Scripts,
    me: Holder,
    on_step: OnStep | None = None,
    options: GuardOptions = CATALOG_OPTIONS,
) -> Iterator[StepsOf]:
    """Watch one Alembic run on a connection that holds the lock and is in no transaction.

    Yields what to give to Alembic instead of `steps_of`. Takes a snapshot first where the
    database can; records every step in the history; refuses lost rows and broken foreign keys
    before the commit. A step that fails raises MigrationFailed with what was applied, what
    broke and what is left.
    """
    connection = context.connection
    assert connection is not None  # noqa: S101  # offline runs are not guarded
    heads = context.get_current_heads()
    steps = list(steps_of(heads, context))
    if options.joins:
        refuse_leaving(steps, scripts)
    else:
        connection.rollback()
    if not steps:
        yield lambda *_: []
        return
    dialect = dialect_of(connection)
    with reaching(connection.engine.url):
        snapshot = None
        if options.snapshot and not options.joins:
            label = "+".join(heads) or "base"
            snapshot = dialect.snapshot(dbapi_connection(connection), connection.engine.url, label)
        try:
            ready = dialect.savepoint if options.joins else dialect.migrating
            versions = VersionTable(name=context.version_table, schema=context.version_table_schema)
            with ready(connection, versions) as rows:
                run = Run(context, connection, dialect, scripts, me, steps, rows, on_step, options)
                yield from run.watch(heads)
        except BaseException:
            # Nothing changed, so it is a copy of what is there; a start that fails again and
            # again must not push out the snapshots that are worth something.
            if snapshot:
                snapshot.unlink(missing_ok=True)
            raise
