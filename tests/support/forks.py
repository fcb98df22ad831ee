"""Python processes that need not import: forked by one that has done it.

Most of what a short command costs is the import of SQLAlchemy, Alembic, Flask and this project.
Where a test starts Python by `subprocess`, a process that has imported them (`tests/support/
forked.py`) is forked instead, with the arguments, folder, environment and open files that were
asked for. What comes of it is a process like any other: a child of the test's, with a number of its
own, waited for, signalled and killed.

What might differ from an interpreter that has just been started is started: with other options, or
with other variables that are read at a start. Modules in front that hide some that are imported
already make it a process with fewer of them, or a start. Two differences stay: a process has more
modules than it has imported, and another `/proc/…/cmdline`. Tests about those ask for real starts;
and what is not started by a test, but by a process that a test started, always is one.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.forked import FOLLOWED, HEAD, STAGES, folders_in_front

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("forked.py")
READ_AT_START = (
    *("PYTHON", "LC_", "LANG", "LD_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_"),
    *("SQLALCHEMY_", "DISABLE_SQLALCHEMY_", "PSYCOPG_", "PROMETHEUS_", "FORCE_COLOR", "NO_COLOR"),
)
"""Beginnings of variables that must be those of the process that is forked."""
NOT_MODULES = ("pytest", "mypy", "venv", "pip", "compileall")
"""Modules that look at what has been imported before them, or use none of it."""
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
USUAL: dict[str, object] = {
    "close_fds": True,
    "shell": False,
    "restore_signals": True,
    "process_group": -1,
    **dict.fromkeys(("executable", "preexec_fn", "gid", "gids", "uid")),
}
"""What Python is started with here; other processes are started as they are asked for."""
PR_SET_CHILD_SUBREAPER = 36


class Stage:
    """A process that has imported so much, and is forked."""

    def __init__(self) -> None:
        self.connection, self.theirs = socket.socketpair()
        self.modules: set[str] = set()

    def fork(self, files: Sequence[int], *asked: Any) -> int:
        """The number of a child of this process, which has these files and does what is asked."""
        text = json.dumps([os.getpid(), *asked]).encode()
        with _adopting():
            socket.send_fds(self.connection, [str(len(text)).ljust(HEAD).encode()], files)
            self.connection.sendall(text)
            return int(self.connection.recv(HEAD))

    def is_hidden_by(self, modules: set[str]) -> bool:
        """True if one of these has the name of one that was imported."""
        if not self.modules:
            with self.connection.dup() as connection, connection.makefile() as told:
                self.modules = set(json.loads(told.readline()))
        return bool(self.modules & modules)


class Forks:
    """`subprocess` that forks while `on` is True, where that does the same as a start.

    `count` is how often it has done so.
    """

    def __init__(self) -> None:
        self.on = False
        self.count = 0
        self.lock = threading.Lock()
        self.stages: list[Stage] = []

    def begin(self) -> None:
        """From now on, in this process; elsewhere than on Linux all is started."""
        if sys.platform != "linux":
            return
        self.read = _read_at_start(os.environ)
        self.stages = [Stage() for _ in STAGES]
        numbers = [one.theirs.fileno() for one in self.stages]
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(ROOT), *map(str, numbers)],
            env={k: v for k, v in os.environ.items() if k not in FOLLOWED},
            pass_fds=numbers,
        )
        for one in self.stages:
            one.theirs.close()
        self.start = subprocess.Popen._execute_child  # type: ignore[attr-defined]
        names = self.start.__code__.co_varnames[1 : self.start.__code__.co_argcount]

        def execute(process: Any, *values: Any) -> None:
            given = dict(zip(names, values, strict=True))
            if not (pid := self._fork(given)):
                self.start(process, *values)
                return
            process.pid, process._child_created = pid, True
            process._close_pipe_fds(*(given[name] for name in PIPES))

        subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]

    def end(self) -> None:
        """Start everything again."""
        if not self.stages:
            return
        subprocess.Popen._execute_child = self.start  # type: ignore[attr-defined]
        for one in self.stages:
            one.connection.close()
        self.process.wait()

    def _fork(self, given: Mapping[str, Any]) -> int | None:
        """The number of a process that does what is asked for; None if it must be started."""
        if not self.on or any(given[name] != value for name, value in USUAL.items()):
            return None
        environment = dict(os.environ if given["env"] is None else given["env"])
        folder = Path.cwd() / (given["cwd"] or "")
        command = _told_to_python(given["args"], environment)
        if not command or not folder.is_dir() or self.read != _read_at_start(environment):
            return None
        found = [given["p2cread"], given["c2pwrite"], given["errwrite"]]
        files = [number if file == -1 else file for number, file in enumerate(found)]
        numbers = [0, 1, 2, *given["pass_fds"]]
        asked = (numbers, given["start_new_session"], given["umask"], command)
        front = {str(folder), *folders_in_front(command, str(folder), environment)}
        is_here = str(ROOT) in front
        modules = {name for one in front - {str(ROOT)} for name in _modules_in(Path(one))}
        with self.lock:
            for stage in reversed(self.stages[: _stage(command, is_here) + 1]):
                if not stage.is_hidden_by(modules):
                    self.count += 1
                    return stage.fork([*files, *numbers[3:]], *asked, str(folder), environment)
        return None


def _told_to_python(args: Any, environment: Mapping[str, str]) -> list[str] | None:
    """What Python is told by a command: `-c`, `-m` or a file, then arguments. None if it is not."""
    program, *rest = [os.fsdecode(arg) for arg in ([args] if isinstance(args, str) else args)]
    found = program if "/" in program else shutil.which(program, path=environment.get("PATH"))
    path, python = Path(found or "/"), Path(sys.executable)
    if path.parent != python.parent or not path.is_file():
        return None
    if path.name not in ("python", "python3", python.name):
        with path.open("rb") as file:
            is_script = file.readline().strip() == f"#!{sys.executable}".encode()
        return [str(path), *rest] if is_script else None
    if len(rest) > 1 and rest[0] in ("-c", "-m"):
        return None if rest[1] in NOT_MODULES else rest
    return rest if rest and not rest[0].startswith("-") else None


def _stage(command: Sequence[str], is_here: bool) -> int:
    """How much a command is going to import: less than it may never be noticed, more might be.

    `is_here` is True where `app` is this project's, not another one's or none.
    """
    names = Path(command[0]).name if command[0] not in ("-c", "-m") else command[1]
    is_of_app = "app" in names or names in ("flask", "gunicorn")
    if is_here and is_of_app and "app.fleet.isolation" not in names:
        return list(STAGES).index("app")
    return list(STAGES).index("headway" if is_of_app or "headway" in names else "others")


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    names = [k for k in environment if k.startswith(READ_AT_START) and k not in FOLLOWED]
    return {name: environment[name] for name in names}


def _modules_in(folder: Path) -> set[str]:
    """The modules that Python finds in a folder."""
    if not folder.is_dir():
        return set()
    found = [(path, *path.name.partition(".")) for path in folder.iterdir()]
    return {name for path, name, dot, _ in found if dot or (path / "__init__.py").exists()}


@contextmanager
def _adopting() -> Iterator[None]:
    """Orphans among the processes below this one become its children."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)
