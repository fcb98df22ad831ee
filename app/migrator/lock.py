"""Hold the one migration lock of a database, or say who does."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from app.errors import DatabaseLocked
from app.migrator.dialects import Lock, dialect_of
from app.migrator.values import Holder

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

    Polls for `wait` seconds, telling `waiting` who has it, then raises DatabaseLocked with the
    holder. The connection must not be in a transaction.
    """
    lock = dialect_of(connection).lock(connection, NAME)
    deadline, pause = time.monotonic() + wait, 0.05
    while not lock.try_acquire(me):
        holder = lock.holder()
        if time.monotonic() + pause > deadline:
            raise _locked(connection, holder, wait)
        if waiting:
            waiting(holder)
        time.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  # replicas should not march in step
        pause = min(pause * 1.6, 1.0)
    try:
        yield
    finally:
        _release(connection, lock)


def _release(connection: Connection, lock: Lock) -> None:
    """Give the lock back; a session that cannot say so is ended, which does the same."""
    try:
        connection.rollback()
        lock.release()
    except Exception:  # noqa: BLE001  # the session is broken: whatever it says, end it
        connection.invalidate()


def _locked(connection: Connection, holder: Holder | None, wait: float) -> DatabaseLocked:
    url = connection.engine.url.render_as_string(hide_password=True)
    return DatabaseLocked(
        f"{url} is being migrated by {holder or 'another process'}. Waited {wait:g} s "
        "(HEADWAY_BOOT_LOCK_SECONDS). Start again when it is done; if it hangs, end it: its lock "
        "goes with it.",
        url=url,
        holder=holder.as_json() if holder else None,
    )
