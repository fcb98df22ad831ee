"""A project's modules, kept apart from modules of the same name in the program around it."""

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from headway.isolation.own_modules import OwnModules
from headway.isolation.project_logging import Kept
from headway.isolation.registrations import Registrations
from headway.isolation.running import in_project

one_at_a_time = threading.RLock()

# What Alembic and its scripts are made of: a folder `alembic/` is a script directory, no rival.
# And `__main__` is the program that runs, also where a `__main__.py` lies beside the scripts.
NEVER_HIDDEN = sys.stdlib_module_names | {
    *("alembic", "sqlalchemy", "mako", "markupsafe", "greenlet", "__main__")
}


def _own_top_level_names() -> frozenset[str]:
    """Top-level module names that Headway itself uses, and a project may use too.

    Installed, that is `headway`. From its source tree the service runs too, whose folders are
    beside it, such as `app`.
    """
    tree = Path(__file__).parents[2]
    if not (tree / "pyproject.toml").is_file():
        return frozenset({__name__.partition(".")[0]})
    folders = {file.parent.name for file in tree.glob("*/*.py")}
    return frozenset(folders | {file.stem for file in tree.glob("*.py")})


OURS = _own_top_level_names()


@dataclass
class Modules:
    """A project's modules, environment variables and settings, for the time that its code runs."""

    paths: tuple[str, ...] = ()
    """Folders that the project wants in front of `sys.path`."""
    hidden: dict[str, ModuleType] = field(default_factory=dict)
    """The project's modules while its code is not running."""
    environ: dict[str, str] = field(default_factory=dict)
    """Environment variables that env.py sets, as from an `.env` file."""
    replaced: dict[str, str | None] = field(default_factory=dict)
    """Their values before, while the project's code is running."""
    folder: str | None = None
    """The working directory that env.py changes to."""
    around: str | None = None
    """The program's working directory, while the project's code is running."""
    context: dict[ContextVar[Any], Any] = field(default_factory=dict)
    """Context variables that env.py sets: `app.app_context().push()` is one."""
    registered: Registrations = field(default_factory=Registrations)
    """Its registrations in SQLAlchemy and Alembic."""
    logging: Kept = field(default_factory=dict)
    """Its logger configuration."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Other process settings of the project: hooks, limits, the locale."""
    own: OwnModules = field(default_factory=OwnModules)
    """The state of its own modules."""
    followed: tuple[str, ...] | None = None
    """Folders that only the project imports from, and whose modules' state is tracked."""

    def refresh(self) -> None:
        """Forget the project's modules if their source, or a variable they read, has changed."""
        if not in_project() and not self.own.is_current(self._variable):
            with one_at_a_time:
                self.forget()

    def forget(self) -> None:
        """Have the project's modules imported again, and its env.py run again."""
        tops = {name.partition(".")[0] for name in self.own.forget()}
        _take_out(tops)
        for name in [name for name in self.hidden if name.partition(".")[0] in tops]:
            del self.hidden[name]
        self.registered.reset()
        self.environ, self.context, self.logging, self.settings = {}, {}, {}, {}
        self.folder = None

    def _variable(self, name: str) -> str | None:
        return self.environ.get(name, os.environ.get(name))

    def has(self, name: str) -> bool:
        """True if this top-level module comes from the project's folders."""
        for folder in self.paths:
            place = Path(folder, name)
            if (place / "__init__.py").is_file() or place.with_name(f"{name}.py").is_file():
                return True
            # A folder without __init__.py gives way to any package that has one, so that only
            # ours has to be kept from winning.
            if name in OURS and any(place.glob("*.py")):
                return True
        return False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Python's meta path finder: the project's modules come first."""
        if path is not None or name not in OURS:
            return None
        return PathFinder.find_spec(name, list(self.paths), target)


@contextmanager
def modules_in_force(modules: Modules) -> Iterator[None]:
    """Put the project's folders and modules in place of the program's of the same names.

    All are restored at the end.
    """
    if not modules.paths:
        yield
        return
    before = list(sys.path)
    sys.path[:0] = [path for path in modules.paths if path not in sys.path]
    tops = _modules_to_hide(modules)
    others = _take_out(tops)
    loaded = set(_tops())
    if not modules.own.is_current(modules._variable):  # noqa: SLF001  # ours
        modules.forget()
    if modules.followed is None:
        modules.followed = tuple(_without_the_programs(modules.paths, before))
    sys.modules.update(modules.hidden)
    sys.meta_path.insert(0, modules)
    importlib.invalidate_caches()
    has_changed: str | None = None
    try:
        with modules.own.followed(modules.followed):
            yield
    finally:
        has_changed = modules.own.changed()
        sys.meta_path.remove(modules)
        # What the program around us could import itself it shares with the project.
        shared = {
            *before,
            *map(_real, filter(None, before)),
            (working_directory() or "") if "" in before else "",
        }
        away = [path for path in modules.paths if path not in shared]
        tops |= {top for top in _tops() - loaded if _is_in(sys.modules[top], away)}
        modules.hidden = _take_out(tops)
        sys.modules.update(others)
        # What an env.py adds to the path, its revisions will want too.
        added = [path for path in sys.path if path not in before and path not in modules.paths]
        modules.paths += tuple(added)
        modules.followed += tuple(_without_the_programs(added, before))
        sys.path[:] = before
        if has_changed:
            modules.forget()


def _without_the_programs(folders: Sequence[str], path: Sequence[str]) -> Iterator[str]:
    """Those of these folders that the program has imported nothing from."""
    known = {_real(folder or os.curdir) for folder in path}
    for folder in folders:
        loaded = known & {folder, _real(folder)} and any(
            _is_in(sys.modules[top], (folder, _real(folder))) for top in _tops() - {"__main__"}
        )
        if not loaded:
            yield f"{folder}{os.sep}"


def _tops() -> set[str]:
    return {name for name in sys.modules if "." not in name}


def _modules_to_hide(modules: Modules) -> set[str]:
    """Loaded top-level modules of the program that have the name of one of the project's."""
    # Names first: a run on a small file takes a few milliseconds, and so do a thousand `stat`.
    names = {*modules.hidden, *_names_in(modules.paths)}
    return {
        name
        for name in (_tops() & names) - NEVER_HIDDEN
        if not _is_in(sys.modules[name], modules.paths)
        and (name in modules.hidden or modules.has(name))
    }


def _names_in(folders: Sequence[str]) -> Iterator[str]:
    for folder in folders:
        with suppress(OSError):
            yield from (entry.removesuffix(".py") for entry in os.listdir(folder))  # noqa: PTH208


def _is_in(module: ModuleType, folders: Sequence[str]) -> bool:
    """True if this top-level module lies in one of these folders, and not in one below."""
    places = list(getattr(module, "__path__", [])) or [getattr(module, "__file__", None) or ""]
    above = [os.path.dirname(place) for place in places if place]  # noqa: PTH120  # runs often
    return any(folder in folders or _real(folder) in folders for folder in above)


@cache
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _take_out(tops: set[str]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in tops] if tops else []
    return {name: sys.modules.pop(name) for name in names}


def working_directory() -> str | None:
    """The working directory; None if it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109  # runs often
    except OSError:
        return None
