"""A session on one database: connected, checked for a pooler, locked, with timeouts."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headway.connections.address import Address
from headway.connections.lock import NAME, acquire
from headway.dialects import driver
from headway.dialects.driver import Raw
from headway.errors import DatabaseInUse, DatabaseTorn, HeadwayError, PoolerInTheWay
from headway.types import Holder
from headway.words import PLAIN, Words

Waiting = Callable[[Holder | None], None]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a run treats its database: lock wait, timeouts, replay, snapshot, history."""

    lock_wait: float = 60.0
    """Seconds to wait for another process that is migrating it."""
    lock_timeout: float = 5.0
    """Seconds that one statement may wait for a lock of the application's: who waits for long
    makes everyone behind it wait too."""
    statement_timeout: float | None = None
    """Seconds that one statement may take; None for as long as it needs."""
    replay: bool = True
    """Replay recorded statements where that is proven to be the same."""
    snapshot: bool = False
    """Copy a SQLite file before anything is changed."""
    ahead: str = "refuse"
    """`refuse` a database that a newer release has migrated, or `ignore` it: change nothing."""
    history: bool = False
    """Keep a history table in the database."""
    sole: bool = False
    """The database is this project's alone, and nothing else migrates it: any table counts as one
    of its own, and a version that its history does not tell of is another program's."""
    explicit_schema: bool = False
    """Refuse a session that a setting of the server begins in a schema that the URL does not
    name, where others live in the same database."""
    release: str = "migrator"
    """How this program calls itself, for those who wait for its lock."""

    words: Words = PLAIN
    """What messages call it, and the commands for it."""

    @property
    def me(self) -> Holder:
        """This process, as others see it."""
        return Holder.myself(self.release)


@contextmanager
def held(address: Address, policy: Policy, waiting: Waiting | None = None) -> Iterator[Raw]:
    """The database's connection with the migration lock held and the brakes on."""
    dialect = address.dialect
    with address.open() as raw:
        if address.is_shared:  # the caller's transaction is the caller's to lock
            yield raw
            return
        _check_pooler(address, raw)
        lock = dialect.lock(raw, address.url, NAME)
        acquire(lock, policy.me, url=address.url, wait=policy.lock_wait, waiting=waiting)
        try:
            dialect.set_timeouts(
                raw, lock_seconds=policy.lock_timeout, statement_seconds=policy.statement_timeout
            )
            with _timeouts(address):
                yield raw
        finally:
            with contextlib.suppress(Exception):  # a broken session gives the lock back by ending
                raw.rollback()
                lock.release()


def pooler_in_the_way(address: Address, raw: Raw) -> str | None:
    """Why it could not be migrated by this address, before anybody tries."""
    if address.is_shared:
        return None
    try:
        _check_pooler(address, raw)
    except PoolerInTheWay as error:
        return str(error)
    return None


def _check_pooler(address: Address, raw: Raw) -> None:
    address.dialect.check_pooler(raw, lambda: driver.closing(driver.open_raw(address.url)))


@contextmanager
def _timeouts(address: Address) -> Iterator[None]:
    """Say in words that a brake was pulled."""
    began = time.monotonic()
    try:
        yield
    except DatabaseTorn:
        raise  # trying again would not help, whatever the cause was
    except Exception as error:
        cause: BaseException | None = error
        while cause and not address.dialect.is_timeout(getattr(cause, "orig", None) or cause):
            cause = cause.__cause__
        if cause is None:
            raise
        message = " ".join(str(getattr(cause, "orig", None) or cause).split())
        detail = f" {error}" if isinstance(error, HeadwayError) else ""
        raise DatabaseInUse(
            f"{address}: gave up after {time.monotonic() - began:.1f} s ({message}). Other "
            "sessions hold locks that the revision needs, or a statement took longer than allowed. "
            f"Try again when they are done.{detail}",
            **getattr(error, "context", {}),
        ) from error
