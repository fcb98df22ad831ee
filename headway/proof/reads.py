"""What the code of revisions reads beside its arguments, recorded while it runs.

A recording of one database serves another only if it would be the same there, whatever the URL, the
environment, the clock, random numbers and files are. Calls that read those are watched; a call that
is not understood counts as one of them.
"""

import _random
import builtins
import enum
import gc
import io
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import alembic
import sqlalchemy
from sqlalchemy.sql.visitors import Visitable

from headway.isolation.files import Files
from headway.isolation.running import patched
from headway.proof.names import LIBRARIES, unfixed

NONDETERMINISTIC = {
    *("time", "posix", "nt", "_socket", "_ssl", "_posixsubprocess", "_winapi", "select", "_uuid"),
    *("_sqlite3", "sqlite3", "mmap", "fcntl", "resource", "pwd", "grp", "_locale", "_ctypes", "gc"),
    *("_thread", "_asyncio", "signal", "sys", "_io", "io", "_scproxy", "marshal", "_random"),
}
"""Modules in C whose functions read the machine's state."""
HARMLESS = {
    "_path_normpath",
    "fspath",
    "get_ident",
    "allocate_lock",
    "_getframe",
    "intern",
    "exc_info",
    "text_encoding",
}
OF_LIBRARIES = {*HARMLESS, "perf_counter", "perf_counter_ns", "monotonic", "getpid"}
"""Functions that SQLAlchemy and Alembic call to measure themselves."""
BY_REVISIONS = {
    *("id", "hash", "globals", "vars", "locals", "dir", "__import__", "exec", "eval", "compile"),
    *("input", "breakpoint", "getattr"),
}
"""Built-in functions whose result may differ between runs, or is no name in the code."""
CLOCK = {"now", "today", "utcnow", "fromtimestamp", "astimezone", "timestamp"}
DRIVERS = ("psycopg", "psycopg2", "psycopg_binary", "psycopg_pool", "pymysql", "MySQLdb", "sqlite3")
QUIET = ("logging", "warnings", "linecache", "traceback", "tracemalloc", "weakref")
READING = {"r", "rt", "tr", "rb", "br"}


class CodeKind(enum.Enum):
    """Whose code runs."""

    OWN = enum.auto()  # a revision's
    LIBRARY = enum.auto()  # Alembic's, SQLAlchemy's, ours
    DRIVER = enum.auto()
    STANDARD = enum.auto()
    ENVIRON = enum.auto()  # os.environ's
    QUIET = enum.auto()  # what asks and tells nobody: importing, logging, warnings
    OTHER = enum.auto()  # the application's, or another package's


_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_LIBRARY = (
    _OURS,
    *(f"{Path(str(module.__file__)).parent}{os.sep}" for module in (alembic, sqlalchemy)),
)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass
class Reads:
    """Watches code of these files in this thread, and records what it reads."""

    own: frozenset[str]
    connected: bool = False
    """True if it runs on a database, which it may query."""
    why: str | None = None
    """The first value read that may differ the next time."""
    files: Files = field(default_factory=Files)
    """Files that it read: the result is valid while they are unchanged."""
    _kinds: dict[int, CodeKind] = field(default_factory=dict)
    _codes: dict[int, tuple[CodeType, dict[str, Any], CodeKind]] = field(default_factory=dict)
    _kept: list[CodeType] = field(default_factory=list)
    """Keeps code objects alive, so that no other gets their id."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch this thread meanwhile."""
        before, thread = sys.getprofile(), threading.get_ident()

        def opened(original: Callable[..., Any]) -> Callable[..., Any]:
            def opening(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
                if threading.get_ident() == thread:
                    self._opened(file, mode, sys._getframe(1))  # noqa: SLF001
                return original(file, mode, *args, **options)

            return opening

        with patched(builtins, "open", opened(builtins.open)), patched(io, "open", opened(io.open)):
            sys.setprofile(self._event)
            try:
                yield
            finally:
                sys.setprofile(before)
        self._check_names()

    def note(self, what: str) -> None:
        """Record the first read."""
        self.why = self.why or what

    def note_use(self, frame: FrameType, what: str) -> None:
        """Record that a revision uses something that differs for each database."""
        if self._kind(frame) is CodeKind.OWN:
            self._note_read(frame, what)

    def _event(self, frame: FrameType, event: str, function: Any) -> None:
        if self.why is not None:
            return
        if event == "call":
            kind = self._kind(frame)
            if kind is CodeKind.ENVIRON:
                self._note_read(frame, "os.environ")
            elif kind is CodeKind.OWN or (kind is CodeKind.OTHER and self._is_construct(frame)):
                self._codes.setdefault(id(frame.f_code), (frame.f_code, frame.f_globals, kind))
            elif kind is CodeKind.OTHER:
                self._note_read(frame, f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")
        elif event == "c_call" and self._is_nondeterministic(frame, function):
            self._note_read(frame, _name_of(function))

    def _is_nondeterministic(self, frame: FrameType, function: Any) -> bool:
        name, module = function.__name__, getattr(function, "__module__", None)
        if module in NONDETERMINISTIC and name not in HARMLESS:
            return not (_resolves(frame, name) or self._measures(frame, name))
        if module == "builtins":
            return name in BY_REVISIONS and self._kind(frame) is CodeKind.OWN
        owner = getattr(function, "__self__", None)
        if name in CLOCK:
            return isinstance(owner, date) or (isinstance(owner, type) and issubclass(owner, date))
        return isinstance(owner, _random.Random)

    def _measures(self, frame: FrameType, name: str) -> bool:
        mine = frame.f_code.co_filename.startswith(_OURS)  # opening a file, which is noted
        return mine or (name in OF_LIBRARIES and self._kind(frame) is CodeKind.LIBRARY)

    def _note_read(self, frame: FrameType | None, what: str) -> None:
        """Record a read, unless its result cannot show in the SQL."""
        while frame is not None:
            kind = self._kind(frame)
            if kind is CodeKind.OWN:
                place = f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
                self.note(f"{place}, reads {what}")
                return
            if kind is CodeKind.QUIET or frame.f_code.co_name == "__del__" or _collects(frame):
                return
            if kind is CodeKind.DRIVER and self.connected and self._is_library(frame.f_back):
                return
            frame = frame.f_back

    def _is_library(self, frame: FrameType | None) -> bool:
        return frame is not None and self._kind(frame) is CodeKind.LIBRARY

    def _is_construct(self, frame: FrameType) -> bool:
        """True for a method of a type or construct for SQLAlchemy: its result is in the SQL."""
        code, caller = frame.f_code, frame.f_back
        if code.co_name.startswith("<") and caller and id(caller.f_code) in self._codes:
            return True  # a comprehension in such a method
        first = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        kind = first if isinstance(first, type) else type(first)
        if not issubclass(kind, enum.Enum | Visitable) or not Path(code.co_filename).is_file():
            return False
        self.files.add(code.co_filename)
        return True

    def _opened(self, file: Any, mode: str, frame: FrameType) -> None:
        if self._kind(frame) is CodeKind.QUIET:
            return
        path = os.fspath(file) if isinstance(file, str | os.PathLike) else None
        if mode in READING and isinstance(path, str) and Path(path).is_absolute():
            noted = self.files.add(path)
            if noted:
                return
        self._note_read(frame, f"the file {path or file!r}")

    def _check_names(self) -> None:
        for code, names, kind in list(self._codes.values()):
            own = kind is CodeKind.OWN
            if self.why is None and (
                name := unfixed(code, names, own=own, connected=self.connected and own)
            ):
                place = f"{Path(code.co_filename).name}, line {code.co_firstlineno}"
                self.note(f"{place}, uses {name}")

    def _kind(self, frame: FrameType) -> CodeKind:
        code = frame.f_code
        known = self._kinds.get(id(code))
        if known is None:
            known = self._kinds[id(code)] = self._kind_of(code, frame.f_globals)
            self._kept.append(code)
        return known

    def _kind_of(self, code: CodeType, names: dict[str, Any]) -> CodeKind:
        file, module = code.co_filename, str(names.get("__name__", ""))
        top, is_made = module.partition(".")[0], file.startswith("<")  # `exec`, no file
        if file in self.own or (is_made and names.get("__file__") in self.own):
            return CodeKind.OWN
        if file.startswith(_LIBRARY) or (is_made and top in LIBRARIES):
            return CodeKind.LIBRARY
        if is_made and "__name__" not in names and code.co_name.startswith("_generated_"):
            return CodeKind.LIBRARY  # SQLAlchemy writes the methods that walk its constructs
        if top in DRIVERS:
            return CodeKind.DRIVER
        if _is_standard(file, module):
            return _kind_of_standard(code, file, top)
        return CodeKind.OTHER


def _kind_of_standard(code: CodeType, file: str, top: str) -> CodeKind:
    if code.co_qualname.startswith("_Environ."):
        return CodeKind.ENVIRON
    quiet = top in QUIET or file.startswith("<frozen importlib")
    return CodeKind.QUIET if quiet else CodeKind.STANDARD


def _is_standard(file: str, module: str) -> bool:
    if file.startswith("<"):  # made while it ran
        top = module.partition(".")[0]
        return top in sys.stdlib_module_names or module.startswith("namedtuple_")
    return file.startswith(_STANDARD) and not any(part in file for part in _INSTALLED)


def _collects(frame: FrameType) -> bool:
    """True for what the garbage collector calls, wherever the program happens to be."""
    return any(getattr(one, "__code__", None) is frame.f_code for one in gc.callbacks)


def _resolves(frame: FrameType, name: str) -> bool:
    """True for calls of `Path.resolve`: a script may find its own path."""
    if frame.f_globals.get("__name__") == os.path.__name__:
        return name in ("lstat", "readlink")
    return name == "stat" and bool(frame.f_back and frame.f_back.f_code.co_name == "resolve")


def _name_of(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):
        return f"{owner.__name__}.{function.__name__}"
    module = getattr(function, "__module__", None) or type(owner).__name__
    return f"{module}.{function.__name__}"
