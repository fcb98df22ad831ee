"""A project's registrations in shared libraries: listeners, compilers, operations.

SQLAlchemy and Alembic keep them for the whole process. A listener on the class `Engine`, a compiler
for `JSONB`, an operation on `Operations` of one project would be in force in the next project and
in the program around us as well. So they are removed when the project's code has run, and put back
before it runs again: its modules stay loaded, and would not register them a second time.

What a library registers when it is imported stays: later importers rely on it.
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
"""Classes whose listeners are called for every connection."""

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
    """A listener on a class of SQLAlchemy or Alembic."""

    target: Any
    on: Any
    """The class whose events it gets."""
    identifier: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    by_env: bool
    """True if env.py registered it, which will do so again."""

    @property
    def is_for_connections(self) -> bool:
        """True if it gets the events of all engines or connections."""
        return isinstance(self.on, type) and issubclass(self.on, CONNECTING)


@dataclass
class Registrations:
    """One project's registrations, while its code is not running."""

    package: str | None = None
    """The folder of the installed package that its scripts are in, if they are."""
    listeners: list[Listener] = field(default_factory=list)
    temporary: list[Listener] = field(default_factory=list)
    """Listeners on its own engines and tables, registered by code that will run again."""
    by_env: list[Listener] = field(default_factory=list)
    """Listeners of its env.py, in force for revisions until it runs again."""
    tables: list[dict[Any, Any]] = field(default_factory=lambda: [{} for _ in TABLES])
    names: list[dict[str, Any]] = field(default_factory=lambda: [{} for _ in NAMESPACES])
    compilers: dict[type, dict[str, Any]] = field(default_factory=dict)
    """Attributes of classes that got their first compiler, by class."""
    compiled: dict[type, dict[str, Any]] = field(default_factory=dict)
    """Compilers that were added to others, by class and dialect."""
    entities: dict[str, Any] = field(default_factory=dict)
    """Its views and functions that alembic_utils keeps, as attributes of that registry."""
    filters: list[Any] | None = None
    """Warning filters; None while the project has not changed them."""
    in_env: bool = False
    """True while its env.py is running."""

    def forget(self, file: str) -> None:
        """Drop the listeners of a module that is about to be imported again."""
        for one in list(self.listeners):
            if getattr(one.function, "__globals__", {}).get("__file__") == file:
                self.listeners.remove(one)
                _stop_listening([one])

    def reset(self) -> None:
        """Drop all registrations: the modules that made them are about to be imported again."""
        self.begin_env()
        self.__dict__.update(vars(Registrations(self.package)))

    def begin_env(self) -> None:
        """Before env.py runs: remove its listeners, so that none is registered twice."""
        _stop_listening(self.by_env)
        self.by_env.clear()
        _stop_listening([one for one in self.listeners if one.by_env])
        self.listeners[:] = [one for one in self.listeners if not one.by_env]
        self.in_env = True

    def end_env(self) -> None:
        """After env.py has run: keep its listeners for its revisions."""
        self.by_env += self.temporary
        self.temporary.clear()
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


class _RecordedEventKey:
    """SQLAlchemy's event key, which records that its listener was registered or removed."""

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
        _register(key, one)
        self._kept.append(one)

    def remove(self) -> None:
        self._key.remove()
        same = (self._target, self._key.identifier, self._key.fn)
        self._kept[:] = [
            one for one in self._kept if (one.target, one.identifier, one.function) != same
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


def _register(key: Any, one: Listener) -> None:
    if one.is_for_connections and one.identifier in ("connect", "first_connect"):
        key = key.with_wrapper(_for_new_connections(one.function))  # FRAGILE: private in SQLAlchemy
    key.listen(*one.arguments, **one.options)


def _for_new_connections(function: Callable[..., Any]) -> Callable[..., Any]:
    """The listener, skipped if an engine is put on an existing connection.

    It was called when that connection was opened; ATTACH, for one, works only once.
    """

    def listener(*arguments: Any, **named: Any) -> None:
        record = named["connection_record"] if named else arguments[1]
        if not driver.is_existing(record):
            function(*arguments, **named)

    return listener


@contextmanager
def listeners_in_force(kept: Registrations, is_projects: Callable[[], bool]) -> Iterator[None]:
    make = api._event_key  # noqa: SLF001  # FRAGILE: what `listen` and `listens_for` go through

    def recorded_key(target: Any, identifier: str, function: Any) -> Any:
        key = make(target, identifier, function)
        shared = isinstance(key.dispatch_target, type) and is_shared_class(key.dispatch_target)
        if not (is_projects() and kept.owns(function)):
            return key
        again = _runs_again(sys._getframe(1))  # noqa: SLF001
        if not (shared or again):
            return key
        where = kept.listeners if shared else kept.temporary
        return _RecordedEventKey(key, target, where, by_env=again and kept.in_env)

    for one in kept.listeners:
        _register(make(one.target, one.identifier, one.function), one)
    api._event_key = recorded_key  # type: ignore[assignment]  # noqa: SLF001
    try:
        yield
    finally:
        api._event_key = make  # noqa: SLF001
        _stop_listening(kept.listeners)
        _stop_listening(kept.temporary)
        kept.temporary.clear()


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
