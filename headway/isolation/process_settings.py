"""Process settings of a project: hooks, signals, the locale, limits.

They are in force while its code runs. The program's are restored at the end.
"""

import gc
import locale
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import alembic.context
import alembic.op

Kept = dict[str, Any]
"""The project's settings by name, while its code is not running."""
STATUS = Path("/proc/self/status")


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _umask() -> int | None:
    """The umask, read without setting it; None if that is not possible."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return None


def _set_umask(value: int | None) -> None:
    if value is not None:
        os.umask(value)


SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "excepthook": _attribute(sys, "excepthook"),
    "displayhook": _attribute(sys, "displayhook"),
    "unraisablehook": _attribute(sys, "unraisablehook"),
    "stderr": _attribute(sys, "stderr"),
    "thread excepthook": _attribute(threading, "excepthook"),
    "temporary files": _attribute(tempfile, "tempdir"),
    "recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
    "garbage": (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    "garbage thresholds": (gc.get_threshold, lambda given: gc.set_threshold(*given)),
    "sockets": (socket.getdefaulttimeout, socket.setdefaulttimeout),
    "locale": (
        lambda: locale.setlocale(locale.LC_ALL),
        lambda given: locale.setlocale(locale.LC_ALL, given),
    ),
    "umask": (_umask, _set_umask),
}
PROXIES = (alembic.op, alembic.context)
"""FRAGILE: private in Alembic, which leaves `_proxy` of a run that failed in place."""


@contextmanager
def own_settings(kept: Kept) -> Iterator[None]:
    """While this lasts, the project's settings are in force, and changes are recorded."""
    before, signals = {name: get() for name, (get, _) in SETTINGS.items()}, _signals()
    proxies = [vars(module).get("_proxy") for module in PROXIES]
    for name, value in kept.items():
        _set(name, value)
    try:
        yield
    finally:
        for name, (get, _) in SETTINGS.items():
            now, old = get(), before[name]
            if now is not old and now != old:
                kept[name] = now
                _set(name, old)
            else:
                kept.pop(name, None)  # it has set it back
        _restore(signals)
        for module, proxy in zip(PROXIES, proxies, strict=True):
            vars(module)["_proxy"] = proxy


def _set(name: str, value: Any) -> None:
    with suppress(Exception):  # a limit below where the program is, a locale that is gone
        SETTINGS[name][1](value)


def _signals() -> dict[int, Any]:
    """The handlers of this process, which only its main thread may set."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _restore(signals: dict[int, Any]) -> None:
    for number, handler in signals.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)
