"""Alembic tells the log what it runs. While it only writes SQL down, that would be a lie."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_unsaid: ContextVar[bool] = ContextVar("is_unsaid", default=False)


def _is_said(_: logging.LogRecord) -> bool:
    return not _is_unsaid.get()


logging.getLogger("alembic.runtime.migration").addFilter(_is_said)


@contextmanager
def unsaid() -> Iterator[None]:
    """Nothing that Alembic does in here, in this thread, is logged as done."""
    token = _is_unsaid.set(True)
    try:
        yield
    finally:
        _is_unsaid.reset(token)
