"""Logging as a project's code configures it, for that code only.

An env.py configures logging for a command line, an application for its own service. Both work as
they would there, and the program around them keeps its loggers: `dictConfig` would close its
handlers and switch its loggers off, also for threads that have nothing to do with a migration.
"""

import logging
import logging.config
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Kept = dict[logging.Logger | logging.Manager, dict[str, Any]]

ATTRIBUTES = ("level", "disabled", "propagate", "handlers", "filters", "_cache")
"""What a logger consists of. FRAGILE: `_cache` is private, and remembers levels."""
PREFIX = "_of_the_project_"
GLOBALS = (
    *("_handlers", "_handlerList", "_loggerClass", "_logRecordFactory"),
    "_warnings_showwarning",
)
"""What the module `logging` keeps for all. FRAGILE: private."""


class _ProjectAttribute:
    """An attribute with one value in a project's threads and another in all others."""

    def __init__(self, name: str, is_projects: Callable[[], bool]) -> None:
        self.name, self.own, self.is_projects = name, PREFIX + name, is_projects

    def __get__(self, owner: Any, _: type | None = None) -> Any:
        values = vars(owner)
        if not self.is_projects():
            return values[self.name]
        if self.own not in values:
            theirs = values[self.name]
            values[self.own] = theirs.copy() if isinstance(theirs, list | dict) else theirs
        return values[self.own]

    def __set__(self, owner: Any, value: Any) -> None:
        values = vars(owner)
        if self.is_projects():
            values[self.own] = value
            values.setdefault(self.name, type(value)() if isinstance(value, list | dict) else value)
        else:
            values[self.name] = value


@contextmanager
def own_logging(kept: Kept, is_projects: Callable[[], bool]) -> Iterator[None]:
    """While this lasts, a project's threads have their own loggers, initially as they are now.

    Changes are stored in `kept`, and are in force again the next time.
    """
    for owner, values in kept.items():
        vars(owner).update(values)
    with ExitStack() as stack:
        for name in ATTRIBUTES:
            stack.enter_context(
                _replaced(logging.Logger, name, _ProjectAttribute(name, is_projects))
            )
        stack.enter_context(
            _replaced(logging.Manager, "_disable", _ProjectAttribute("_disable", is_projects))
        )
        stack.enter_context(_own_globals())
        original = logging.config.fileConfig

        def file_config(*arguments: Any, **options: Any) -> None:
            # The options file says how Alembic's own command line logs, and this is not that.
            if not is_projects():
                original(*arguments, **options)

        stack.enter_context(_replaced(logging.config, "fileConfig", file_config))
        try:
            yield
        finally:
            kept.clear()
            kept.update(_taken())


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    missing = object()
    before = vars(owner).get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextmanager
def _own_globals() -> Iterator[None]:
    """Hide the program's handlers from functions that close all handlers."""
    before = {name: getattr(logging, name) for name in GLOBALS}
    # Read and written with the module's own names, so that each side has to have its own object.
    logging._handlers, logging._handlerList = weakref.WeakValueDictionary(), []  # type: ignore[attr-defined]  # noqa: SLF001
    logging._handlers.update(before["_handlers"])  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    finally:
        before["_handlerList"].extend(logging._handlerList)  # type: ignore[attr-defined]  # noqa: SLF001
        for name, value in before.items():
            setattr(logging, name, value)


def _taken() -> Kept:
    found: Kept = {}
    loggers = [one for one in logging.root.manager.loggerDict.values() if not _is_place(one)]
    for owner in (logging.root, logging.root.manager, *loggers):
        values = vars(owner)
        own = {name: values.pop(name) for name in [n for n in values if n.startswith(PREFIX)]}
        own.pop(f"{PREFIX}_cache", None)
        changed = {n: v for n, v in own.items() if values.get(n.removeprefix(PREFIX)) != v}
        if changed:
            found[owner] = changed  # type: ignore[index]
    return found


def _is_place(one: object) -> bool:
    return not isinstance(one, logging.Logger)
