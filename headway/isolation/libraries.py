"""What a library registers when it is imported: in force for the projects that import it.

An import registers something once in a process, for all that comes after. `alembic` runs each
project in a process of its own, so that a comparator of `alembic_postgresql_enum` never sees a
project that does not import it. Here, what the projects of this process import is recorded; while
the code of one runs, what libraries of the others registered is taken away. Outside it all stays:
the program around may import such a library too, and it would not register anything again.

What the program itself has imported stays in force for all: `alembic` called in it would see that.
"""

import builtins
import importlib._bootstrap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from headway.isolation.running import in_project, patched

INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
OURS = f"{Path(__file__).parents[1]}{os.sep}"
BUILT_ON = sys.stdlib_module_names | {"sqlalchemy", "alembic", "headway"}
"""What these register is in force for everyone."""

Modules = WeakSet[ModuleType]


class Registered(Protocol):
    def put(self) -> None: ...
    def take(self) -> None: ...


_imports: WeakKeyDictionary[ModuleType, Modules] = WeakKeyDictionary()
"""Top-level module -> those that it imports, of all that were loaded while a project ran."""
_registered: list[tuple[ModuleType, Registered]] = []
"""What libraries registered, in that order."""
_hidden: set[ModuleType] = set()
"""Libraries whose registrations are taken away at present."""


def add(library: ModuleType, entries: list[Any]) -> None:
    """Record what a library has registered now."""
    _registered.extend((library, one) for one in entries)


@contextmanager
def in_force_for(imported: Modules) -> Iterator[None]:
    """While this lasts, only what these modules import, and so on, has its registrations."""
    before = frozenset(_hidden)
    _hide(_not_reached(imported))
    try:
        yield
    finally:
        _hide(before)


@contextmanager
def noted_imports(imported: Modules, notice: Callable[[], None]) -> Iterator[None]:
    """Record what the project's code imports. Scripts, which are no modules, add to `imported`.

    `notice` is called before what another project's library registered comes into force.
    """
    load, find = builtins.__import__, importlib._bootstrap._gcd_import  # type: ignore[attr-defined]  # noqa: SLF001

    def note(top: str, importer: Any) -> None:
        target = sys.modules.get(top)
        if target is None or top in BUILT_ON or not in_project():
            return
        module = _module_of(importer)
        known = imported if module is None else _imports.setdefault(module, WeakSet())
        if module is target or target in known:
            return
        known.add(target)
        if _hidden and (now := _not_reached(imported)) != _hidden:
            notice()  # what was registered until now is the project's
            _hide(now)
            notice()

    def imported_by_statement(
        name: str,
        globals: Any = None,  # noqa: A002  # the names that callers may give
        locals: Any = None,  # noqa: A002
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        module = load(name, globals, locals, fromlist, level)
        if not level:
            note(name.partition(".")[0], globals or _caller(sys._getframe(1)))  # noqa: SLF001
        return module

    def imported_by_call(name: str, *arguments: Any, **options: Any) -> Any:
        module = find(name, *arguments, **options)
        note(name.partition(".")[0], _caller(sys._getframe(1)))  # noqa: SLF001
        return module

    with (
        patched(builtins, "__import__", imported_by_statement),
        # FRAGILE: private. What `import_module` calls, wherever it was imported from.
        patched(importlib._bootstrap, "_gcd_import", imported_by_call),  # noqa: SLF001
    ):
        yield


@contextmanager
def followed_loads(loading: Callable[[ModuleType, Callable[[], None]], None]) -> Iterator[None]:
    """Pass each module that a project's code loads, and what executes it, to `loading`.

    A script is none: it is executed each time, and is not in `sys.modules`.
    """

    def executing(execute: Callable[..., None]) -> Callable[..., None]:
        def execute_followed(loader: Any, module: ModuleType) -> None:
            name = getattr(module.__spec__, "name", "")
            top = name.partition(".")[0]
            if top in BUILT_ON or sys.modules.get(name) is not module or not in_project():
                execute(loader, module)
                return
            _imports.setdefault(sys.modules.get(top, module), WeakSet())
            loading(module, lambda: execute(loader, module))

        return execute_followed

    with ExitStack() as stack:
        for loader in (SourceFileLoader, SourcelessFileLoader):
            stack.enter_context(patched(loader, "exec_module", executing(loader.exec_module)))
        yield


def is_installed(module: ModuleType) -> bool:
    """True for a module of an installed package, False for a file of somebody's own."""
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(part in place for part in INSTALLED for place in places)


def top_level(module: ModuleType) -> ModuleType:
    return sys.modules.get(module.__name__.partition(".")[0], module)


def _hide(wanted: frozenset[ModuleType]) -> None:
    if wanted == _hidden:
        return
    # All are taken away first, latest first: a later one may have replaced an earlier one.
    for library, one in reversed(_registered):
        if library not in _hidden:
            one.take()
    _hidden.clear()
    _hidden.update(wanted)
    for library, one in _registered:
        if library not in _hidden:
            one.put()


def _not_reached(imported: Modules) -> frozenset[ModuleType]:
    """The libraries that registered something and that none of these modules imports."""
    libraries = frozenset(library for library, _ in _registered)
    if not libraries:
        return libraries
    todo, reached = list(imported), set(imported)
    while todo:
        module = todo.pop()
        if module not in _imports and not is_installed(module):
            return frozenset()  # the program loaded it: what it imports is not known
        new = set(_imports.get(module, ())) - reached
        reached |= new
        todo += new
    return libraries - reached


def _module_of(namespace: Any) -> ModuleType | None:
    """The top-level module whose code this is; None for a script."""
    name = str((namespace or {}).get("__name__", ""))
    module = sys.modules.get(name)
    if module is None or vars(module) is not namespace:
        return None
    return top_level(module)


def _caller(frame: FrameType | None) -> Any:
    """The namespace that called Python's own library to import something."""
    while frame and _top(frame.f_globals) in sys.stdlib_module_names:
        frame = frame.f_back
    return frame.f_globals if frame else None


def _top(namespace: Any) -> str:
    return str(namespace.get("__name__", "")).partition(".")[0]
