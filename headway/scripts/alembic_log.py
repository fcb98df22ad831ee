"""Alembic tells the log what it runs. While it only writes SQL down, that would be a lie."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_silenced: ContextVar[bool] = ContextVar("is_silenced", default=False)


def _is_logged(_: logging.LogRecord) -> bool:
    return not _is_silenced.get()


logging.getLogger("alembic.runtime.migration").addFilter(_is_logged)


@contextmanager
def silence_alembic_log() -> Iterator[None]:
    """Nothing that Alembic does in here, in this thread, is logged as done."""
    token = _is_silenced.set(True)
    try:
        yield
    finally:
        _is_silenced.reset(token)
