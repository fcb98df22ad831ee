"""A project's code runs as if alone: one at a time, with its own modules, away from our logging.

Alembic's `op` and `context` are module globals, so two migrations in one process would write
into each other's databases (measured with plain Alembic: the table lands in the other one).
Another thread waits here until the first is done; parallelism is processes.
"""

import asyncio
import importlib
import logging
import logging.config
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

_one_at_a_time = threading.RLock()
_project_threads: set[int] = set()


# What Alembic and its scripts are made of: a folder `alembic/` is a script directory, no rival.
NEVER_HIDDEN = sys.stdlib_module_names | {"alembic", "sqlalchemy", "mako", "markupsafe", "greenlet"}
OURS = {__name__.partition(".")[0], "migrations", "wsgi"}
"""The top-level names that Headway itself takes; `app` is what many programs are called."""


@dataclass
class Modules:
    """What a project sees where its names are also somebody else's: `app`, `models`, `config`."""

    paths: tuple[str, ...] = ()
    """Folders that the project wants in front of `sys.path`."""
    hidden: dict[str, ModuleType] = field(default_factory=dict)
    """The project's own, while it is not running."""

    def names(self) -> set[str]:
        """The top-level modules that come from the project's folders."""
        found = set()
        for folder in filter(Path.is_dir, map(Path, self.paths)):
            for entry in folder.iterdir():
                package = (entry / "__init__.py").is_file()
                # A folder without __init__.py gives way to any package that has one, so that
                # only ours has to be kept from winning.
                bare = entry.stem in OURS and entry.is_dir() and any(entry.glob("*.py"))
                if entry.suffix == ".py" or package or bare:
                    found.add(entry.stem)
        return found - NEVER_HIDDEN

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Python's meta path finder: the project's own come first."""
        if path is not None or name not in OURS:
            return None
        return PathFinder.find_spec(name, list(self.paths), target)


@contextmanager
def alone(modules: Modules) -> Iterator[None]:
    """Let a project's code run in this process: nobody else's runs meanwhile."""
    if in_project():  # called from within: the ground is laid
        yield
        return
    with _one_at_a_time, _own_modules(modules), _no_logging_setup():
        yield


@contextmanager
def _own_modules(modules: Modules) -> Iterator[None]:
    """Put the project's folders in front, and take other people's modules of the same name away.

    Both come back at the end: the next project, and the program around us, have their own.
    """
    if not modules.paths:
        yield
        return
    before = list(sys.path)
    sys.path[:0] = [path for path in modules.paths if path not in sys.path]
    tops = _strangers(modules)
    others = _take(tops)
    sys.modules.update(modules.hidden)
    sys.meta_path.insert(0, modules)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.meta_path.remove(modules)
        modules.hidden = _take(tops)
        sys.modules.update(others)
        # What an env.py adds to the path, its revisions will want too.
        added = [path for path in sys.path if path not in before and path not in modules.paths]
        modules.paths += tuple(added)
        sys.path[:] = before


def _strangers(modules: Modules) -> set[str]:
    """Loaded top-level modules that are not the project's, and stand where its own would."""
    return {
        name
        for name in modules.names() | {top.partition(".")[0] for top in modules.hidden}
        if name in sys.modules and not _is_in(sys.modules[name], modules.paths)
    }


def _is_in(module: ModuleType, folders: Sequence[str]) -> bool:
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", [])]
    return any(
        Path(place).is_relative_to(folder) for place in places if place for folder in folders
    )


def _take(tops: set[str]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] in tops]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def _no_logging_setup() -> Iterator[None]:
    """env.py configures logging for a command line; the program around us has its own.

    `fileConfig` also switches off every logger that it does not name.
    """
    root, level, handlers = logging.root, logging.root.level, list(logging.root.handlers)
    _project_threads.add(threading.get_ident())
    with (
        patched(logging.config, "fileConfig", _for_others(logging.config.fileConfig)),
        patched(logging.config, "dictConfig", _for_others(logging.config.dictConfig)),
        patched(logging, "basicConfig", _for_others(logging.basicConfig)),
    ):
        try:
            yield
        finally:
            _project_threads.discard(threading.get_ident())
            root.setLevel(level)
            root.handlers[:] = handlers


def in_project() -> bool:
    """True in a thread that runs a project's code: what is patched is patched for it alone."""
    return threading.get_ident() in _project_threads


def _for_others(original: Callable[..., Any]) -> Callable[..., Any]:
    def configure(*args: Any, **kwargs: Any) -> Any:
        return None if in_project() else original(*args, **kwargs)

    return configure


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def without_loop(work: Callable[[], T]) -> T:
    """Do the work where no event loop runs, so that an env.py may start its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    answer: list[T] = []
    broken: list[BaseException] = []

    def run() -> None:
        _project_threads.add(threading.get_ident())
        try:
            answer.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again where it is wanted
            broken.append(error)
        finally:
            _project_threads.discard(threading.get_ident())

    thread = threading.Thread(target=run, name="env.py")
    thread.start()
    thread.join()
    if broken:
        raise broken[0]
    return answer[0]
