"""The one seam where a driver's errors become ours: only those a person can mend, never bugs."""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from app.errors import (
    DatabaseDamaged,
    DatabaseDenied,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
)
from app.migrator.dialects import dialect_of
from app.migrator.driver import shown

log = logging.getLogger(__name__)

ADVICE: dict[type[HeadwayError], str] = {
    DatabaseUnreachable: "{url} does not answer: {reason}",
    DatabaseDenied: "{url} refuses the user or the password: {reason}",
    DatabaseDamaged: "{url} cannot be read: {reason}. Check the path, or restore a snapshot.",
    DatabaseReadOnly: "{url} cannot be used: {reason}. Give it a place that can be written.",
}


@contextmanager
def reaching(url: URL) -> Iterator[None]:
    """Turn "cannot connect", "wrong password" and "read-only" into errors of ours."""
    try:
        yield
    except Exception as error:
        said = error.orig if isinstance(error, DBAPIError) else error
        kind = dialect_of(url).refusal(said) if said and _is_drivers(said) else None
        if kind is None:
            raise
        place = shown(url)
        reason = " ".join(str(said).split()).rstrip(".")
        raise kind(ADVICE[kind].format(url=place, reason=reason), url=place) from error


def _is_drivers(error: BaseException) -> bool:
    """True for what PEP 249 says about a database. Drivers share names, no classes."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"DatabaseError", "InterfaceError"})


def connect(
    engine: Engine, *, wait: float = 0, waiting: Callable[[HeadwayError], None] | None = None
) -> Connection:
    """A connection, as soon as the server answers.

    Tries again with growing pauses for `wait` seconds, telling `waiting` after each refusal;
    then raises DatabaseUnreachable. A wrong password is no matter of waiting: DatabaseDenied.
    """
    deadline, pause = time.monotonic() + wait, 0.1
    while True:
        try:
            with reaching(engine.url):
                return engine.connect()
        except DatabaseUnreachable as error:
            if time.monotonic() + pause > deadline:
                raise _gave_up(error, wait) from error
            if waiting:
                waiting(error)
        time.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  # replicas should not march in step
        pause = min(pause * 1.6, 2.0)


def _gave_up(error: DatabaseUnreachable, wait: float) -> DatabaseUnreachable:
    if not wait:
        return error
    return DatabaseUnreachable(
        f"{error}. Waited {wait:g} s (HEADWAY_BOOT_WAIT_SECONDS).", **error.context
    )
