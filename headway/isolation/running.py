"""Marks a project's code, so that patches are in force for that code only.

The mark is a context variable, so that it travels with the project's tasks into other threads and
event loops, and stays away from the threads of the program around it.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

session: ContextVar[object | None] = ContextVar("project_session", default=None)
"""The run that this context belongs to."""
_running: object | None = None
"""The present run; marks of earlier runs are ignored."""


@contextmanager
def own_session() -> Iterator[None]:
    """Mark this thread, and the threads and tasks that it starts, as the project's."""
    global _running  # noqa: PLW0603  # there is one at a time
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def marked(thread: threading.Thread) -> None:
        if in_project():
            thread.run = _in_this_context(thread.run)  # type: ignore[method-assign]
        start(thread)

    def submitted(pool: ThreadPoolExecutor, work: Any, /, *args: Any, **kwargs: Any) -> Any:
        return submit(pool, _in_this_context(work) if in_project() else work, *args, **kwargs)

    before, _running = _running, object()  # a callback of the program may call us again
    token = session.set(_running)
    with (
        patched(threading.Thread, "start", marked),
        patched(ThreadPoolExecutor, "submit", submitted),
    ):
        try:
            yield
        finally:
            session.reset(token)
            _running = before


def _in_this_context(work: Callable[P, T]) -> Callable[P, T]:
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.run(work, *args, **kwargs)

    return run


def in_project() -> bool:
    """True in code that belongs to the project that runs."""
    mine = session.get()
    return mine is not None and mine is _running


@contextmanager
def outside() -> Iterator[None]:
    """Within `isolated`: run code of the program around it, unmarked."""
    token = session.set(None)
    try:
        yield
    finally:
        session.reset(token)


def from_outside(work: Callable[P, T]) -> Callable[P, T]:
    """The function, run as the program's own code wherever it is called from."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with outside():
            return work(*args, **kwargs)

    return call


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
