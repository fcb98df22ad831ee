"""Around an Alembic run that a program does itself: the lock, a look, all that is guarded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from headway import status as verdict
from headway.connections.address import Address
from headway.connections.lock import database_lock
from headway.connections.session import Waiting
from headway.database import Database
from headway.dialects.reach import reaching
from headway.execution.failures import GuardOptions
from headway.execution.guard import guarded
from headway.execution.run import OnStep, StepsOf
from headway.types import Position


@contextmanager
def guarding(
    database: Database,
    context: MigrationContext,
    steps_of: StepsOf,
    *,
    on_step: OnStep | None = None,
    waiting: Waiting | None = None,
) -> Iterator[StepsOf]:
    """Yields what to give to Alembic in place of `steps_of`.

    The context's connection leads to the database and is in no transaction. Raises what
    Database.upgrade raises.
    """
    connection = context.connection
    assert connection is not None  # noqa: S101  # offline runs change nothing
    policy, words, project = database.policy, database.policy.words, database.project
    options = GuardOptions(history=policy.history, snapshot=policy.snapshot, words=words)
    address = Address.of(connection)
    if address.dialect.transactional_ddl:  # all or nothing, though Alembic doubts it of SQLite
        context.impl.transactional_ddl = True
    with (
        reaching(address.url),
        address.dialect.prepared(connection),
        database_lock(connection, policy.me, wait=policy.lock_wait, waiting=waiting),
    ):
        status = verdict.ask(project, address, database.x, policy)
        why_not = verdict.refusal(database.address, status, words)

        def steps(heads: Any, here: MigrationContext) -> Any:
            try:
                return list(steps_of(heads, here))
            except CommandError as error:  # it does not know where the database is
                raise (why_not if why_not and status.newer else error) from error

        if why_not and status.position is Position.TORN:
            raise why_not
        with guarded(
            context, steps, scripts=project.scripts, me=policy.me, on_step=on_step, options=options
        ) as watched:
            yield watched
