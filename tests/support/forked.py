"""The program that is forked instead of starting Python: see `tests/support/forks.py`.

`python forked.py ROOT SOCKET…` imports, in stages, and a process of each stage waits at its socket
to be told what to be, and forks. It runs no thread, has opened nothing, and has imported nothing
that reads the environment: no metrics, no Celery.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = (
    *("sqlalchemy.orm", "sqlalchemy.dialects.sqlite.pysqlite", "sqlite3", "psycopg", "pymysql"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.mysql.pymysql"),
    *("alembic.autogenerate", "alembic.command", "flask.cli", "flask_sqlalchemy", "flask_migrate"),
    *("apiflask", "pydantic", "structlog", "rich.console", "rich.table", "cryptography.fernet"),
    *("argon2", "multiprocessing.connection", "markdown_it", "httpx", "flask_wtf", "zxcvbn"),
    *("email_validator", "flask_swagger_ui", "wsgiref.simple_server", "logging.config", "resource"),
)
STAGES = {
    "others": (),
    "headway": ("headway",),
    "app": ("app.boot", "app.catalog", "app.cli", "app.fleet", "app.logs", "app.models"),
}
"""Packages of this project that each stage has imported, besides those of the one before."""
LEFT_OUT = ("app.fleet.workers.celery", "headway.pytest_", "headway.flask.child")
FOLLOWED = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""Of the variables that Python reads when it starts, those that are read again here."""
HEAD = 20
"""Bytes; how long is what follows."""
HIGH = 500
"""Numbers of files that nobody asks for."""


def folders_in_front(
    command: Sequence[str], folder: str, environment: Mapping[str, str]
) -> list[str]:
    """Where Python looks for modules first: beside the program, then in PYTHONPATH."""
    is_file = command[0] not in ("-c", "-m")
    first = Path(folder, command[0]).resolve().parent if is_file else Path(folder)
    paths = environment.get("PYTHONPATH")
    return [
        str(Path(folder, path)) for path in (first, *(paths.split(os.pathsep) if paths else ()))
    ]


def _import(stage: str, root: str) -> None:
    """Import what it has besides the stage before it."""
    if stage == "others":
        # Alembic's plugins, of which this project is one, wait until it is known which one is.
        found, metadata.entry_points = metadata.entry_points, lambda **_: ()  # type: ignore[assignment, misc]
        importlib.import_module("alembic.runtime.plugins")
        metadata.entry_points = found  # type: ignore[misc]
        for name in MODULES:
            importlib.import_module(name)
    else:
        sys.path.insert(0, root)
        if stage == "headway":
            _find_plugins()
        for name in STAGES[stage]:
            _import_all(name)
        del sys.path[0]
    assert not {"prometheus_client", "celery"} & set(sys.modules), "they read the environment"
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread does not survive a fork"


def _import_all(name: str) -> None:
    module = importlib.import_module(name)
    for one in pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}."):
        if not one.name.startswith(LEFT_OUT):
            _import_all(one.name)


def _find_plugins() -> None:
    sys.modules["alembic.runtime.plugins"]._setup()


def _leave(modules: Sequence[str]) -> None:
    """At the very end: what was there before is not taken apart, which takes longer than to fork."""
    left = [sys.modules.pop(name, None) for name in modules]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(left))


def _wait(connection: socket.socket) -> tuple[list[int], list[Any]]:
    """In each process that comes of this one: its files, and what was asked for."""
    while True:
        try:
            head, files, _, _ = socket.recv_fds(connection, HEAD, 20)
        except ConnectionResetError:  # with what was told here not read
            head = b""
        if not head:
            os._exit(0)
        text = bytearray()
        while len(text) < int(head):
            text += connection.recv(int(head) - len(text))
        if not (between := os.fork()):
            if os.fork():
                os._exit(0)  # the other one, an orphan now, is a child of the process that asked
            parent, *asked = json.loads(text)
            while os.getppid() != parent:
                time.sleep(0.0002)
            return files, asked
        os.waitpid(between, 0)
        for file in files:
            os.close(file)


def _become(connection: socket.socket, stage: str, paths: Sequence[str]) -> list[str]:
    """Be what an interpreter is before it runs what it is told to; that."""
    files, (numbers, is_session, umask, command, folder, environment) = _wait(connection)
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, HIGH) for file in (*files, connection)]
    for file in files:
        os.close(file)
    connection.close()
    for file, number in zip(moved, numbers, strict=False):
        os.dup2(file, number)
        os.close(file)
    if is_session:
        os.setsid()
    if umask >= 0:
        os.umask(umask)
    os.write(moved[-1], str(os.getpid()).encode())
    os.close(moved[-1])
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number, getattr(sys, name), bool(environment.get("PYTHONUNBUFFERED")))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = [command[0], *command[2 if command[0] in ("-c", "-m") else 1 :]]
    sys.orig_argv = [sys.executable, *command]
    first, *more = dict.fromkeys(folders_in_front(command, folder, environment))
    sys.path[:] = ["" if command[0] == "-c" else first, *more, *(p for p in paths if p not in more)]
    importlib.invalidate_caches()
    sys.modules["__main__"] = ModuleType("__main__")
    vars(sys.modules["__main__"]).update(__annotations__={}, __builtins__=__builtins__)
    if stage == "others":
        _find_plugins()
    return command  # type: ignore[no-any-return]


def _stream(number: int, old: Any, at_once: bool) -> io.TextIOWrapper:
    """A standard stream, as Python opens it."""
    raw: Any = io.FileIO(number, "w" if number else "r", closefd=False)
    raw.name = old.name
    reads: Any = io.BufferedWriter if number else io.BufferedReader
    stream: Any = io.TextIOWrapper(
        raw if number and at_once else reads(raw),
        encoding=old.encoding,
        errors=old.errors,
        newline="\n",
        line_buffering=not at_once and (number == 2 or raw.isatty()),
        write_through=at_once,
    )
    stream.mode = old.mode
    return stream  # type: ignore[no-any-return]


def _serve(connections: Sequence[socket.socket], root: str) -> list[str]:
    """Fork a process for each stage; in each process that comes of one, what it is told."""
    paths, before, imported = sys.path[1:], set(sys.modules), []
    atexit.register(lambda: _leave(imported))
    for connection, stage in zip(connections, STAGES, strict=True):
        _import(stage, root)
        if connection is connections[-1] or os.fork():
            break
    for other in connections:
        if other is not connection:
            other.close()
    imported += sorted(set(sys.modules) - before)
    names = sorted({name.partition(".")[0] for name in sys.modules})
    try:
        connection.sendall(f"{json.dumps(names)}\n".encode())
    except BrokenPipeError:  # the tests have ended already
        os._exit(0)
    gc.collect()
    gc.freeze()
    return _become(connection, stage, paths)


if __name__ == "__main__":
    _command = _serve([socket.socket(fileno=int(number)) for number in sys.argv[2:]], sys.argv[1])
    _main = vars(sys.modules["__main__"])
    if _command[0] == "-m":
        runpy._run_module_as_main(_command[1])
    elif _command[0] == "-c":
        exec(compile(_command[1], "<string>", "exec"), _main)
    else:
        _loader = SourceFileLoader("__main__", _command[0])
        _main.update(__file__=_command[0], __cached__=None, __loader__=_loader)
        exec(compile(Path(_command[0]).read_bytes(), _command[0], "exec"), _main)
