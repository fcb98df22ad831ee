"""A project's own modules start each run in the state that they had when imported.

`alembic` runs each database in its own process, where a project's helper modules are imported
again: what a run for one database stores in them never reaches the next one. Here they stay
imported while their state is unchanged: it is recorded after the import, and compared after the
project's code has run. If a run has changed it, or an import has read something that may differ the
next time, such as the clock, the modules are forgotten and imported again.
"""

import _random
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from sqlalchemy import MetaData

from headway.isolation.files import Files
from headway.isolation.libraries import INSTALLED
from headway.isolation.module_state import Walk
from headway.isolation.running import in_project, patched

NONDETERMINISTIC = {
    "time": {"time", "time_ns", "gmtime", "localtime", "strftime", "ctime", "asctime"},
    "posix": {"urandom", "getrandom"},
    "_uuid": {"generate_time_safe"},
}
"""Functions in C whose result differs from call to call."""
OF_NOW = {"now", "today", "utcnow"}
OF_THE_RUN = ("alembic.config", "alembic.runtime.environment", "alembic.runtime.migration")
"""Modules whose functions tell which database the run is for."""
IGNORED_CALLERS = {
    "sqlalchemy",
    "alembic",
    "logging",
    "warnings",
    "threading",
    "importlib",
    "headway",
}
"""Packages that use the clock for themselves only."""


@dataclass
class OwnModules:
    """The state of a project's own modules as it was after their import."""

    generation: int = 0
    """Counts how often the modules have been forgotten."""
    folders: tuple[str, ...] = ()
    """Their folders."""
    files: Files = field(default_factory=Files)
    """Their source files."""
    variables: dict[str, str | None] = field(default_factory=dict)
    """The environment variables that they read when they were imported."""
    nondeterministic: str | None = None
    """What they read at import that may differ the next time, such as the clock."""
    _kept: dict[str, tuple[ModuleType, Any]] = field(default_factory=dict)
    _tables: list[tuple[str, int]] = field(default_factory=list)
    _walk: Walk | None = None
    """The pass that recorded them; it continues with modules that are imported later."""
    _importing: list[str] | None = None
    """Modules that are being imported, outermost first."""

    def names(self) -> tuple[str, ...]:
        """The modules that are followed."""
        return tuple(self._kept)

    def is_current(self, variable: Callable[[str], str | None]) -> bool:
        """True if the source files and the variables are unchanged."""
        return self.files.hold() and all(
            variable(name) == value for name, value in self.variables.items()
        )

    def settle(self) -> None:
        """The modules' present state is the one that each run starts in."""
        kept, self._walk = self._walk_modules()
        self._kept.update(kept)
        self._tables = list(self._walk.tables)

    def settle_tables(self) -> None:
        """The tables declared by now are those that each run starts with."""
        if self._kept:
            self._tables = self._walk_modules()[1].tables

    def left(self) -> str | None:
        """The first module whose state differs from that after its import; None if none does.

        The tables of its models do not count.
        """
        return self._left()[0]

    def changed(self) -> str | None:
        """Why the modules must be imported again for the next database; None if they need not."""
        if not self._kept:
            return None
        why, tables = self._left()
        if why is None and tables != self._tables:
            why = "its tables"
        return why or self.nondeterministic

    def _left(self) -> tuple[str | None, list[tuple[str, int]]]:
        kept, walk = self._walk_modules()
        for name, (module, before) in self._kept.items():
            if kept[name][1] != before or sys.modules.get(name) is not module:
                return name, walk.tables
        return walk.unknown, walk.tables

    def values(self) -> tuple[Any, str | None]:
        """The modules' state, to compare with another import, and what cannot be compared."""
        walk = Walk(self._kept, by_value=True)
        return {name: walk.module(one) for name, (one, _) in self._kept.items()}, walk.unknown

    def _walk_modules(self) -> tuple[dict[str, tuple[ModuleType, Any]], Walk]:
        walk = Walk(self._kept)
        kept = {name: (one, walk.module(one)) for name, (one, _) in self._kept.items()}
        return kept, walk

    def forget(self) -> dict[str, ModuleType]:
        """Forget all modules; returns those that have to be imported again."""
        before = {name: module for name, (module, _) in self._kept.items()}
        for module in before.values():
            _undeclare(module, before)
        generation = self.generation + 1
        self.__dict__.update(vars(OwnModules(generation)))
        return before

    @contextmanager
    def followed(self, folders: tuple[str, ...]) -> Iterator[None]:
        """Record each of the project's modules that is imported meanwhile."""
        self.folders = folders
        with ExitStack() as stack:
            for loader in (SourceFileLoader, SourcelessFileLoader):
                execute = self._executing(loader.exec_module)
                stack.enter_context(patched(loader, "exec_module", execute))
            yield

    def _executing(self, execute: Callable[..., None]) -> Callable[..., None]:
        def execute_and_record(loader: Any, module: ModuleType) -> None:
            if not in_project() or not self._is_own(module):
                with _unwatched(is_needed=self._importing is not None):
                    execute(loader, module)
                return
            if self._importing is not None:
                self._importing.append(module.__name__)
                execute(loader, module)
                return
            self._importing = [module.__name__]
            try:
                with self._watching(), recorded_variables(self.variables):
                    execute(loader, module)
            finally:
                names, self._importing = self._importing, None
            self._mark(names)

        return execute_and_record

    def _is_own(self, module: ModuleType) -> bool:
        """True for a module from the project's folders; a revision is none."""
        file = getattr(module, "__file__", None) or ""
        known = getattr(module.__spec__, "name", None) in sys.modules
        return known and self._is_own_file(file)

    def _is_own_file(self, file: str) -> bool:
        return file.startswith(self.folders) and not any(part in file for part in INSTALLED)

    def _mark(self, names: list[str]) -> None:
        modules = {name: sys.modules[name] for name in names if name in sys.modules}
        self._kept |= {name: (module, None) for name, module in modules.items()}
        walk = self._walk = self._walk or Walk(self._kept)
        for name, module in modules.items():
            self._kept[name] = (module, walk.module(module))
            if file := getattr(module, "__file__", None):
                self.files.add(file)
        self._tables = list(walk.tables)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        if sys.getprofile() is not None:
            yield
            return
        sys.setprofile(self._event)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, function: Any) -> None:
        if self.nondeterministic is not None:
            return
        if event == "c_call" and _is_nondeterministic(function):
            self._note_read(frame, function.__name__)
        elif event == "call" and frame.f_globals.get("__name__") in OF_THE_RUN:
            self._note_read(frame.f_back, f"{frame.f_code.co_name}()")

    def _note_read(self, frame: FrameType | None, what: str) -> None:
        while frame is not None:
            file = frame.f_code.co_filename
            if self._is_own_file(file):
                self.nondeterministic = f"{Path(file).name}, line {frame.f_lineno}, reads {what}"
                return
            if str(frame.f_globals.get("__name__")).partition(".")[0] in IGNORED_CALLERS:
                return
            frame = frame.f_back


def _is_nondeterministic(function: Any) -> bool:
    name, owner = function.__name__, getattr(function, "__self__", None)
    if name in NONDETERMINISTIC.get(str(getattr(function, "__module__", None)), ()):
        return True
    if name in OF_NOW:
        return isinstance(owner, type) and issubclass(owner, date)
    return isinstance(owner, _random.Random)


@contextmanager
def _unwatched(*, is_needed: bool) -> Iterator[None]:
    """Do not watch the import of a library."""
    before = sys.getprofile() if is_needed else None
    if before is None:
        yield
        return
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.setprofile(before)


def _undeclare(module: ModuleType, own: Mapping[str, ModuleType]) -> None:
    """Remove a module's models from a registry that belongs to a library."""
    for value in list(vars(module).values()):
        table = getattr(value, "__table__", None) if isinstance(value, type) else None
        if table is None or value.__module__ != module.__name__:
            continue
        owner = next((one for one in value.__mro__ if "metadata" in vars(one)), None)
        if owner is None or owner.__module__ in own:
            continue
        metadata: MetaData = table.metadata
        with suppress(Exception):
            metadata.remove(table)
            value._sa_registry._dispose_cls(value)  # noqa: SLF001  # FRAGILE: private


@contextmanager
def recorded_variables(variables: dict[str, str | None]) -> Iterator[None]:
    """Record the environment variables that a project's code reads."""
    cls: Any = type(os.environ)
    read = cls.__getitem__

    def recorded_read(environ: Any, name: str) -> str:
        if not in_project():
            return str(read(environ, name))
        try:
            value: str | None = read(environ, name)
        except KeyError:
            variables.setdefault(name, None)
            raise
        variables.setdefault(name, value)
        return str(value)

    with patched(cls, "__getitem__", recorded_read):
        yield
