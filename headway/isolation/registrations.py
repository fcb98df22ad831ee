"""A project's registrations in shared libraries: listeners, compilers, operations.

SQLAlchemy and Alembic keep them for the whole process. A listener on the class `Engine`, a compiler
for `JSONB`, an operation on `Operations` of one project would be in force in the next project and
in the program around us as well. So they are removed when the project's code has run, and put back
before it runs again: its modules stay loaded, and would not register them a second time.

What a library registers when it is imported is in force for those who import it: `libraries`.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType, ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, Pool, event
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.event import api

from headway.dialects import driver
from headway.isolation import libraries
from headway.isolation.entries import Contents, Entry, is_shared_class, new_entries, read_places
from headway.isolation.libraries import INSTALLED, OURS, Modules

CONNECTING = (Engine, Connection, Pool, Dialect, DefaultDialect)
"""Classes whose listeners are called for every connection."""


_event_key = api._event_key  # noqa: SLF001  # FRAGILE: what `listen` and `listens_for` go through


@dataclass(eq=False)
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
    is_away: bool = False

    def put(self) -> None:
        """Register it again, if it was taken away."""
        if self.is_away:
            self.register(_event_key(self.target, self.identifier, self.function))
            self.is_away = False

    def take(self) -> None:
        """Remove it, unless it was removed already."""
        if event.contains(self.target, self.identifier, self.function):
            event.remove(self.target, self.identifier, self.function)
            self.is_away = True

    def register(self, key: Any) -> None:
        """Register it with SQLAlchemy's key for it."""
        if self.is_for_connections and self.identifier in ("connect", "first_connect"):
            wrapped = _for_new_connections(self.function)
            key = key.with_wrapper(wrapped)  # FRAGILE: private in SQLAlchemy
        key.listen(*self.arguments, **self.options)

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
    entries: list[Entry] = field(default_factory=list)
    """Its operations, comparators, compilers and so on."""
    env_entries: list[Entry] = field(default_factory=list)
    """Those that its env.py registers each time, and not a module that it imports."""
    imported: Modules = field(default_factory=Modules)
    """Top-level modules that its scripts import."""
    loading: ModuleType | None = None
    """The library that is being imported; None if none is."""
    _contents: Contents = ()
    """What was registered in the process when it was last looked at."""
    entities: dict[str, Any] = field(default_factory=dict)
    """Its views and functions that alembic_utils keeps, as attributes of that registry."""
    filters: list[Any] | None = None
    """Warning filters; None while the project has not changed them."""
    in_env: bool = False
    """True while its env.py is running."""
    importing: bool = False
    """True while a module is being imported, of a library or its own."""

    def forget(self, file: str) -> None:
        """Drop the listeners of a module that is about to be imported again."""
        for one in list(self.listeners):
            if getattr(one.function, "__globals__", {}).get("__file__") == file:
                self.listeners.remove(one)
                one.take()

    def reset(self) -> None:
        """Drop all registrations: the modules that made them are about to be imported again."""
        _take([*self.listeners, *self.by_env])
        self.__dict__.update(vars(Registrations(self.package)))

    def begin_env(self) -> None:
        """Before env.py runs: remove its listeners, so that none is registered twice."""
        _take(self.by_env)
        self.by_env.clear()
        _take([one for one in self.listeners if one.by_env])
        self.listeners[:] = [one for one in self.listeners if not one.by_env]
        self.settle()
        _take(self.env_entries)
        self.env_entries.clear()
        self._contents = read_places()
        self.in_env = True

    def end_env(self) -> None:
        """After env.py has run: keep its listeners for its revisions."""
        self.by_env += self.temporary
        self.temporary.clear()
        self.settle()
        self.in_env = False

    @contextmanager
    def entries_in_force(self) -> Iterator[None]:
        """Register its entries again while this lasts; those that are new are kept as well."""
        self._contents = read_places()
        mine = [*self.entries, *self.env_entries]
        for entry in mine:
            entry.put()
        self._contents = read_places() if mine else self._contents
        try:
            yield
        finally:
            self.settle()
            _take([*self.entries, *self.env_entries])

    def settle(self) -> None:
        """Keep what was registered since the last time as the project's."""
        before, self._contents = self._contents, read_places()
        kept = self.env_entries if self.in_env and not self.importing else self.entries
        kept += [one for one in new_entries(before, self._contents) if self.owns(one.maker)]

    def load(self, module: ModuleType, execute: Callable[[], None]) -> None:
        """Execute a module that is imported, and note what it registers as its package's."""
        library = libraries.top_level(module) if self._is_library(module) else None
        if self.importing and library is self.loading:
            execute()
            return
        self.settle()
        outer, self.loading, self.importing = (self.loading, self.importing), library, True
        try:
            execute()
        finally:
            if library is None:
                self.settle()
            else:
                before, self._contents = self._contents, read_places()
                libraries.add(library, list(new_entries(before, self._contents)))
            self.loading, self.importing = outer

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
        if not any(part in file for part in INSTALLED):
            name = str(getattr(function, "__module__", "")).partition(".")[0]
            return name not in sys.stdlib_module_names
        return self._is_in_package(file)

    def _is_library(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None) or ""
        return libraries.is_installed(module) and not self._is_in_package(file)

    def _is_in_package(self, file: str) -> bool:
        return self.package is not None and file.startswith(self.package)


# --- listeners --------------------------------------------------------------------------------


class _RecordedEventKey:
    """SQLAlchemy's event key, which records that its listener was registered or removed."""

    def __init__(
        self,
        key: Any,
        target: Any,
        kept: list[Listener],
        *,
        by_env: bool = False,
        library: ModuleType | None = None,
    ) -> None:
        self._key, self._target, self._kept = key, target, kept
        self._by_env, self._library = by_env, library

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
        one.register(key)
        if self._library is None:
            self._kept.append(one)
        else:
            libraries.add(self._library, [one])

    def remove(self) -> None:
        self._key.remove()
        same = (self._target, self._key.identifier, self._key.fn)
        self._kept[:] = [
            one for one in self._kept if (one.target, one.identifier, one.function) != same
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


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
    make = api._event_key  # noqa: SLF001

    def recorded_key(target: Any, identifier: str, function: Any) -> Any:
        key = make(target, identifier, function)
        shared = isinstance(key.dispatch_target, type) and is_shared_class(key.dispatch_target)
        if not is_projects():
            return key
        if not kept.owns(function):
            library = kept.loading
            if not shared or library is None:
                return key
            return _RecordedEventKey(key, target, [], library=library)
        again = _runs_again(sys._getframe(1))  # noqa: SLF001
        if not (shared or again):
            return key
        where = kept.listeners if shared else kept.temporary
        return _RecordedEventKey(key, target, where, by_env=again and kept.in_env)

    for one in kept.listeners:
        one.put()
    api._event_key = recorded_key  # type: ignore[assignment]  # noqa: SLF001
    try:
        yield
    finally:
        api._event_key = make  # noqa: SLF001
        _take([*kept.listeners, *kept.temporary])
        kept.temporary.clear()


def _take(registered: Sequence[Listener | Entry]) -> None:
    for one in reversed(registered):
        one.take()


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
