"""What a project registers in libraries that others use too: listeners, compilers, operations.

SQLAlchemy and Alembic keep them for the whole process. A listener on the class `Engine`, a compiler
for `JSONB`, an operation on `Operations` of one project would work in the next project and in the
program around us as well. So they are taken away when the project's code has run, and put back for
it alone: its modules stay loaded, and would not register them a second time.

What a library registers for itself when it is imported stays: whoever imports it next relies on it.
"""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import alembic.context
import alembic.op
from alembic.autogenerate import comparators, render
from alembic.ddl import impl
from alembic.operations import AbstractOperations, BatchOperations, Operations, ops
from alembic.runtime import plugins
from sqlalchemy import Connection, Engine, Pool, event
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.event import api

from headway.dialects import driver

LIBRARIES = ("site-packages", "dist-packages")
CONNECTING = (Engine, Connection, Pool, Dialect, DefaultDialect)
"""Classes whose listeners hear of every connection."""

# FRAGILE: private in Alembic. Where it keeps what is registered, by kind.
TABLES: tuple[dict[Any, Any], ...] = (
    comparators._registry,  # noqa: SLF001
    render.renderers._registry,  # noqa: SLF001
    render._constraint_renderers._registry,  # noqa: SLF001
    Operations._to_impl._registry,  # noqa: SLF001
    ops.AddConstraintOp.add_constraint_ops._registry,  # noqa: SLF001
    impl._impls,  # noqa: SLF001
    plugins._all_plugins,  # noqa: SLF001
)
NAMESPACES = (Operations, AbstractOperations, BatchOperations, alembic.op)
"""Where `Operations.register_operation` puts new names."""


@dataclass(frozen=True)
class Listener:
    """A listener on a class that is not the project's own."""

    target: Any
    on: Any
    """The class that hears of it."""
    identifier: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    by_env: bool
    """It was registered by code of env.py, which registers it again when it is run again."""

    @property
    def hears_connections(self) -> bool:
        """True if it is told what any engine or connection does."""
        return isinstance(self.on, type) and issubclass(self.on, CONNECTING)


@dataclass
class Registrations:
    """What one project has registered, while its code is not running."""

    package: str | None = None
    """The folder of the package that its scripts are in, where that is installed."""
    listeners: list[Listener] = field(default_factory=list)
    passing: list[Listener] = field(default_factory=list)
    """Listeners on its own engines and tables, from code that will be run again."""
    by_env: list[Listener] = field(default_factory=list)
    """Those of its env.py, which are there for its revisions until it is run again."""
    tables: list[dict[Any, Any]] = field(default_factory=lambda: [{} for _ in TABLES])
    names: list[dict[str, Any]] = field(default_factory=lambda: [{} for _ in NAMESPACES])
    compilers: dict[type, dict[str, Any]] = field(default_factory=dict)
    """Attributes of classes that got their first compiler, by class."""
    compiled: dict[type, dict[str, Any]] = field(default_factory=dict)
    """Compilers that were added to others, by class and dialect."""
    filters: list[Any] | None = None
    """Filters of warnings; None while it has not changed them."""
    in_env: bool = False
    """Its env.py is running."""

    def forget(self, file: str) -> None:
        """Drop the listeners of a module that is about to be imported again."""
        for one in list(self.listeners):
            if getattr(one.function, "__globals__", {}).get("__file__") == file:
                self.listeners.remove(one)
                _stop_listening([one])

    def reset(self) -> None:
        """Drop all of it: the modules that registered it are about to be imported again."""
        self.begin_env()
        self.__dict__.update(vars(Registrations(self.package)))

    def begin_env(self) -> None:
        """Its env.py is about to run: an engine of the application's hears it only once."""
        _stop_listening(self.by_env)
        self.by_env.clear()
        _stop_listening([one for one in self.listeners if one.by_env])
        self.listeners[:] = [one for one in self.listeners if not one.by_env]
        self.in_env = True

    def end_env(self) -> None:
        """It has run, and its revisions may run later."""
        self.by_env += self.passing
        self.passing.clear()
        self.in_env = False

    def owns(self, function: Any) -> bool:
        """True if this function, method or class is the project's, and no library's."""
        while isinstance(function, functools.partial):
            function = function.func
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
        module = sys.modules.get(getattr(function, "__module__", "") or "")
        file = code.co_filename if code else getattr(module, "__file__", None)
        if not file or (code is None and module is None):
            return True
        parts = Path(file).parts
        if not any(library in parts for library in LIBRARIES):
            name = str(getattr(function, "__module__", "")).partition(".")[0]
            return name not in sys.stdlib_module_names
        return self.package is not None and file.startswith(self.package)


# --- listeners --------------------------------------------------------------------------------


class _Noting:
    """SQLAlchemy's key of a listener, which notes that it was registered, or removed."""

    def __init__(self, key: Any, target: Any, kept: list[Listener], *, by_env: bool) -> None:
        self._key, self._target, self._kept, self._by_env = key, target, kept, by_env

    def listen(self, *arguments: Any, **options: Any) -> None:
        key = self._key
        one = Listener(
            self._target,
            key.dispatch_target,
            key.identifier,
            key.fn,
            arguments,
            options,
            self._by_env,
        )
        _listen(key, one)
        self._kept.append(one)

    def remove(self) -> None:
        self._key.remove()
        same = (self._target, self._key.identifier, self._key.fn)
        self._kept[:] = [
            one for one in self._kept if (one.target, one.identifier, one.function) != same
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


def _listen(key: Any, one: Listener) -> None:
    if one.hears_connections and one.identifier in ("connect", "first_connect"):
        key = key.with_wrapper(_for_new_ones(one.function))  # FRAGILE: private in SQLAlchemy
    key.listen(*one.arguments, **one.options)


def _for_new_ones(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same listener, not called where an engine is put on a connection that is there already.

    It was called when that was opened: ATTACH, or `once`, is for one time.
    """

    def listener(*arguments: Any, **named: Any) -> None:
        record = named["connection_record"] if named else arguments[1]
        if not driver.is_there(record):
            function(*arguments, **named)

    return listener


@contextmanager
def listeners_in_force(kept: Registrations, is_projects: Callable[[], bool]) -> Iterator[None]:
    make = api._event_key  # noqa: SLF001  # FRAGILE: what `listen` and `listens_for` go through

    def noting(target: Any, identifier: str, function: Any) -> Any:
        key = make(target, identifier, function)
        shared = isinstance(key.dispatch_target, type) and is_shared_class(key.dispatch_target)
        if not (is_projects() and kept.owns(function)):
            return key
        again = _runs_again(sys._getframe(1))  # noqa: SLF001
        if not (shared or again):
            return key
        where = kept.listeners if shared else kept.passing
        return _Noting(key, target, where, by_env=again and kept.in_env)

    for one in kept.listeners:
        _listen(make(one.target, one.identifier, one.function), one)
    api._event_key = noting  # type: ignore[assignment]  # noqa: SLF001
    try:
        yield
    finally:
        api._event_key = make  # noqa: SLF001
        _stop_listening(kept.listeners)
        _stop_listening(kept.passing)
        kept.passing.clear()


def _stop_listening(listeners: list[Listener]) -> None:
    for one in reversed(listeners):
        with suppress(Exception):  # it removed it itself
            event.remove(one.target, one.identifier, one.function)


OURS = f"{Path(__file__).parents[1]}{os.sep}"


def _runs_again(frame: FrameType | None) -> bool:
    """True for an env.py and for revisions; False for a module that stays imported, and for us."""
    while frame and str(frame.f_globals.get("__name__", "")).startswith("sqlalchemy."):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(OURS):
        return False
    while frame and not frame.f_code.co_filename.startswith(OURS):
        if frame.f_code.co_name == "<module>":
            module = sys.modules.get(str(frame.f_globals.get("__name__", "")))
            return getattr(module, "__dict__", None) is not frame.f_globals
        frame = frame.f_back
    return True


def is_shared_class(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("sqlalchemy", "alembic")


# --- tables of Alembic, names of operations ---------------------------------------------------


# --- compilers --------------------------------------------------------------------------------


# --- warnings ---------------------------------------------------------------------------------
