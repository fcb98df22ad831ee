"""Connect to a database: driver errors are translated, and a starting server is waited for."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine

from headway.dialects import dialect_of
from headway.dialects.translation import translating
from headway.errors import DatabaseUnreachable, HeadwayError


@contextmanager
def reaching(url: URL, *, all: bool = False) -> Iterator[None]:  # noqa: A002
    """Translate the driver's connection errors into ours.

    With `all`, every other driver error too: see `translating`.
    """
    with translating(dialect_of(url), url, all=all):
        yield


def connect(
    engine: Engine,
    *,
    wait: float = 0,
    limit: str = "",
    waiting: Callable[[HeadwayError], None] | None = None,
) -> Connection:
    """A connection, as soon as the server answers.

    Tries again with growing pauses for `wait` seconds, telling `waiting` after each refusal;
    then raises DatabaseUnreachable, which names the setting that says so long, `limit`. A wrong
    password is no matter of waiting: DatabaseDenied.
    """
    deadline, pause = time.monotonic() + wait, 0.1
    while True:
        try:
            with reaching(engine.url):
                return engine.connect()
        except DatabaseUnreachable as error:
            if time.monotonic() + pause > deadline:
                raise _gave_up(error, wait, limit) from error
            if waiting:
                waiting(error)
        time.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  # replicas should not march in step
        pause = min(pause * 1.6, 2.0)


def _gave_up(error: DatabaseUnreachable, wait: float, limit: str) -> DatabaseUnreachable:
    if not wait:
        return error
    return DatabaseUnreachable(
        f"{error}. Waited {wait:g} s{f' ({limit})' if limit else ''}.", **error.context
    )
