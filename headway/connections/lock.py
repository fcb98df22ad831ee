"""Hold a database's migration lock, or report who holds it."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection

from headway.dialects import Lock, dialect_of
from headway.dialects.driver import dbapi_connection, display_url
from headway.errors import DatabaseLocked
from headway.types import Holder

NAME = "migrate"


@contextmanager
def database_lock(
    connection: Connection,
    me: Holder,
    *,
    wait: float,
    waiting: Callable[[Holder | None], None] | None = None,
) -> Iterator[None]:
    """Hold the migration lock of this database, on this connection's session.

    The connection must not be in a transaction. A session that cannot give the lock back is
    ended, which does the same. Raises PoolerInTheWay where the session is not this connection's
    alone: the lock would stay with whoever gets it next.
    """
    engine, dialect = connection.engine, dialect_of(connection)
    dialect.check_pooler(
        dbapi_connection(connection), lambda: contextlib.closing(engine.raw_connection())
    )
    lock = dialect.lock(dbapi_connection(connection), engine.url, NAME)
    acquire(lock, me, url=engine.url, wait=wait, waiting=waiting)
    try:
        yield
    finally:
        try:
            connection.rollback()
            lock.release()
        except Exception:  # noqa: BLE001  # the session is broken: whatever it says, end it
            connection.invalidate()


def acquire(
    lock: Lock,
    me: Holder,
    *,
    url: URL,
    wait: float,
    waiting: Callable[[Holder | None], None] | None = None,
) -> None:
    """Take a lock, polling for `wait` seconds and telling `waiting` who has it.

    Then raises DatabaseLocked with the holder.
    """
    deadline, pause = time.monotonic() + wait, 0.05
    while not lock.try_acquire(me):
        holder = lock.holder()
        if time.monotonic() + pause > deadline:
            raise _locked(url, holder, wait)
        if waiting:
            waiting(holder)
        time.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  # replicas should not march in step
        pause = min(pause * 1.6, 1.0)


def _locked(url: URL, holder: Holder | None, wait: float) -> DatabaseLocked:
    place = display_url(url)
    return DatabaseLocked(
        f"{place} is being migrated by {holder or 'another process'}. Waited {wait:g} s. Start "
        "again when that process is done. If it hangs, end it: its lock is released then.",
        url=place,
        holder=holder.as_json() if holder else None,
    )
