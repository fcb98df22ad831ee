"""What belongs to the process and not to a project that ran in it."""

import asyncio
import builtins
import contextlib
import datetime as dt
import gc
import locale
import logging
import os
import random
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import alembic.autogenerate.api
import alembic.autogenerate.compare
import alembic.autogenerate.render
import alembic.config
import alembic.context
import alembic.ddl.impl
import alembic.op
import alembic.operations
import sqlalchemy as sa
from alembic.operations import BatchOperations, Operations
from alembic.script import ScriptDirectory
from alembic.util import langhelpers
from sqlalchemy import event
from sqlalchemy.sql import visitors

PLACES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (builtins, ("open", "print", "input", "__import__", "exec", "compile")),
    (time, ("time", "time_ns", "monotonic", "sleep", "localtime", "gmtime", "strftime")),
    (dt, ("datetime", "date")),
    (random, ("random", "randint", "randrange", "choice", "seed", "Random", "SystemRandom")),
    (secrets, ("token_hex", "token_bytes", "token_urlsafe", "choice", "randbelow")),
    (uuid, ("uuid1", "uuid4", "uuid5", "UUID")),
    (os, ("urandom", "getenv", "environ", "open", "listdir", "stat", "_exit", "system")),
    (socket, ("socket", "create_connection", "getaddrinfo")),
    (sqlite3, ("connect", "Connection")),
    (subprocess, ("Popen", "run")),
    (threading, ("Thread", "excepthook")),
    (threading.Thread, ("start", "run", "join")),
    (asyncio, ("run", "new_event_loop", "get_running_loop")),
    (logging, ("basicConfig", "lastResort", "getLogger", "raiseExceptions")),
    (warnings, ("warn", "showwarning", "formatwarning")),
    (sa, ("create_engine", "engine_from_config", "text")),
    (sa.Engine, ("connect", "begin", "raw_connection", "dispose", "execution_options")),
    (sa.Connection, ("execute", "exec_driver_sql", "commit", "begin", "execution_options")),
    (sa.Table, ("create", "drop", "__new__")),
    (sa.MetaData, ("create_all", "drop_all", "reflect")),
    (Path, ("open", "read_text", "read_bytes", "exists", "stat", "iterdir")),
    (Operations, ("execute", "get_bind", "run_async", "batch_alter_table", "invoke")),
    (ScriptDirectory, ("from_config", "run_env", "get_revision")),
    (alembic.config.Config, ("get_main_option", "get_section", "set_main_option")),
    (sys, ("excepthook", "displayhook", "stdout", "stderr", "breakpointhook", "unraisablehook")),
)


def state(projects: Path) -> dict[str, Any]:
    """A picture of this process; two of them are equal where nothing was left behind."""
    return {
        "events": dict(_events()),
        "compilers": dict(_compilers(projects)),
        "alembic": dict(_alembic()),
        "logging": dict(_logging()),
        "environ": dict(os.environ),
        "modules": sorted(name for name, module in _modules() if _is_in(module, projects)),
        "path": list(sys.path),
        "finders": [repr(one) for one in (*sys.meta_path, *sys.path_hooks)],
        "cwd": os.getcwd(),  # noqa: PTH109
        "warnings": [repr(one) for one in warnings.filters],
        "threads": sorted(one.name for one in threading.enumerate()),
        "loop": _loop(),
        "places": {
            f"{getattr(owner, '__name__', owner)}.{name}": id(vars(owner).get(name))
            for owner, names in PLACES
            for name in names
        },
        "signals": {one.name: str(signal.getsignal(one)) for one in _signals()},
        "numbers": [sys.getrecursionlimit(), _umask(), gc.isenabled(), socket.getdefaulttimeout()],
        "locale": locale.setlocale(locale.LC_ALL),
        "zone": time.tzname,
        "trace": [repr(sys.gettrace()), repr(sys.getprofile())],
        "files": sorted(_open_files(projects)),
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was, one line each."""
    return [line for name in before for line in _lines(name, before[name], after[name])]


def _lines(name: str, one: Any, two: Any) -> Iterator[str]:
    if one == two:
        return
    if isinstance(one, list) and isinstance(two, list):
        gone, new = [x for x in one if x not in two], [x for x in two if x not in one]
        yield f"{name}: gone {gone!r:.300}, new {new!r:.300}"
        return
    if isinstance(one, dict):
        for key in sorted({*one, *two}, key=str):
            if isinstance(one.get(key), list) and isinstance(two.get(key), list):
                yield from _lines(f"{name}: {key}", one[key], two[key])
            elif one.get(key) != two.get(key):
                yield f"{name}: {key} was {one.get(key)!r:.200} and is {two.get(key)!r:.300}"
    else:
        yield f"{name}: was {one!r:.300} and is {two!r:.400}"


def _subclasses(base: type) -> Iterator[type]:
    seen: set[type] = set()
    waiting = [base]
    while waiting:
        for one in type.__subclasses__(waiting.pop()):
            if one not in seen:
                seen.add(one)
                waiting.append(one)
                yield one


def _events() -> Iterator[tuple[str, list[str]]]:
    """Listeners on SQLAlchemy's classes, its own left out."""
    for events in _subclasses(event.base.Events):
        dispatch = getattr(events, "dispatch", None)
        for name in getattr(dispatch, "_event_names", ()):
            levels = getattr(getattr(dispatch, name, None), "_clslevel", {})
            for listeners in list(levels.values()):
                theirs = [_name_of(one) for one in listeners]
                theirs = [one for one in theirs if not one.startswith(("sqlalchemy.", "flask_sq"))]
                if theirs:
                    yield f"{events.__name__}.{name}", sorted(set(theirs))


def _name_of(listener: Any) -> str:
    """What was given to SQLAlchemy, which wraps some."""
    for cell in getattr(listener, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an empty cell
            inner = cell.cell_contents
            if callable(inner) and not str(inner.__module__).startswith("sqlalchemy"):
                return f"{inner.__module__}.{getattr(inner, '__qualname__', inner)}"
    return f"{getattr(listener, '__module__', '')}.{getattr(listener, '__qualname__', listener)}"


def _compilers(projects: Path) -> Iterator[tuple[str, str]]:
    for one in _subclasses(visitors.Visitable):
        if not one.__module__.startswith(("sqlalchemy", "alembic")):
            continue
        own = vars(one)
        found = own.get("_compiler_dispatcher")
        if found is not None:
            yield f"{one.__module__}.{one.__name__}", str(sorted(map(str, found.specs)))
        elif "_compiler_dispatch" in own:
            plain = own["_compiler_dispatch"]
            if getattr(plain, "__module__", "").startswith("sqlalchemy.ext"):
                yield f"{one.__module__}.{one.__name__}", repr(plain)


def _alembic() -> Iterator[tuple[str, Any]]:
    for owner in (alembic.autogenerate.api, alembic.autogenerate.compare, Operations):
        for name, value in vars(owner).items():
            if isinstance(value, langhelpers.Dispatcher):
                yield f"{owner.__name__}.{name}", sorted(map(str, value._registry))
    for module in [m for n, m in _modules() if n.startswith("alembic.")]:
        for name, value in list(vars(module).items()):
            if isinstance(value, langhelpers.Dispatcher):
                yield f"{module.__name__}.{name}", _registered(value)
    for one in (Operations, BatchOperations):
        yield one.__name__, sorted(vars(one))
    for proxy in (alembic.op, alembic.context):
        names = sorted(name for name in vars(proxy) if not name.startswith("__"))
        yield proxy.__name__, [name for name in names if name != "_proxy"]
        yield f"{proxy.__name__}._proxy", type(getattr(proxy, "_proxy", None)).__name__
    yield "implementations", sorted((k, v.__name__) for k, v in alembic.ddl.impl._impls.items())


def _registered(one: Any) -> list[str]:
    return sorted(
        f"{key}: {[getattr(f, '__module__', '?') for f in (v if isinstance(v, list) else [v])]}"
        for key, v in one._registry.items()
    )


def _logging() -> Iterator[tuple[str, Any]]:
    known = logging.root.manager.loggerDict
    loggers = {k: v for k, v in known.items() if isinstance(v, logging.Logger)}
    loggers.pop("own", None)  # the projects' own
    for name, one in {"root": logging.root, **loggers}.items():
        picture = (one.level, one.disabled, one.propagate, _kinds(one.handlers), len(one.filters))
        if picture != (0, False, True, [], 0):  # one that is new and does nothing
            yield name, picture
    yield "disable", logging.root.manager.disable
    yield "class", logging.getLoggerClass().__name__


def _kinds(handlers: list[logging.Handler]) -> list[str]:
    return [f"{type(one).__name__} {id(one)} {one.level}" for one in handlers]


def _modules() -> list[tuple[str, ModuleType]]:
    return [(name, module) for name, module in list(sys.modules.items()) if module is not None]


def _is_in(module: ModuleType, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}")


def _loop() -> str:
    try:
        return repr(asyncio.get_running_loop())
    except RuntimeError:
        return type(asyncio.get_event_loop_policy()).__name__


def _signals() -> list[signal.Signals]:
    return [signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1]


def _umask() -> int:
    now = os.umask(0o22)
    os.umask(now)
    return now


def _open_files(folder: Path) -> Iterator[str]:
    """Files of the folder that this process has open; not its own templates, which it locks."""
    gc.collect()
    for one in Path("/proc/self/fd").glob("*"):
        try:
            name = str(one.readlink())
        except OSError:
            continue
        if name.startswith(f"{folder}{os.sep}") and "headway-templates-" not in name:
            yield name
