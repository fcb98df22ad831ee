"""Silence Alembic's INFO log in offline mode: it would report migrations that did not run."""

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
    """While this lasts, Alembic logs no migrations in this thread."""
    token = _is_silenced.set(True)
    try:
        yield
    finally:
        _is_silenced.reset(token)
