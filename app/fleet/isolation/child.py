"""The child process that runs projects' code, without access to the catalog.

Its parent (`parent`) starts it with no setting, key or connection of Headway's own, and sends
requests over sockets: one socket for migrations, served one after the other in the main thread,
and any number for read-only requests, each served in a thread. The child ends with its parent.
"""

import ctypes
import json
import logging
import os
import pickle
import re
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app.fleet.isolation.requests import Requests
from headway.dialects import ambient
from headway.error_text import visible
from headway.errors import (
    DiskFull,
    HeadwayError,
    MigrationFailed,
    ProcessEnded,
    ScriptsUnreadable,
)
from headway.execution.failures import reason
from headway.scripts.environment import PASSWORD

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
FIRST_TO_KILL = "600"
"""For oom_score_adj: when memory runs out, the kernel should end this process, not its parent."""
MAIN, BESIDE = b"m", b"b"
NO_ROOM = re.compile(r"disk is full|No space left on device|[Dd]isk full", re.ASCII)
"""Messages of SQLite, PostgreSQL and MariaDB for a full disk."""
READING = ("describe", "environment_uses", "records", "sql")
"""Requests about the scripts themselves."""


class Channel:
    """A socket to the parent: it receives requests and sends their results."""

    memory = 0
    """How many bytes requests of this process may take; 0 for any, and once that is set."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def limit_memory(self) -> None:
        """Let allocations fail beyond the limit: the project's code has been loaded."""
        if not Channel.memory or sys.platform != "linux":
            return
        pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stacks
        most = pages * resource.getpagesize() + Channel.memory
        resource.setrlimit(
            resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1])
        )
        Channel.memory = 0

    def serve(self) -> None:
        """Serve requests until the parent closes the socket."""
        while True:
            try:
                name, arguments = self.connection.recv()
            except (EOFError, OSError):
                return
            answer = self._execute(name, arguments)
            try:
                self.send(*answer)
            except OSError:  # the caller has gone
                return

    def send(self, kind: str, value: object) -> None:
        """Send a message. Raises OSError if the parent has closed the socket."""
        self.connection.send((kind, value))

    def ask(self, name: str, *arguments: object) -> Any:
        """Call back into the parent during a request: its result. Raises what the parent raises."""
        try:
            self.send("ask", (name, arguments))
            answer, error = self.connection.recv()
        except (EOFError, OSError):
            os._exit(1)  # the parent has gone
        if error is not None:
            raise error
        return answer

    def tell(self, name: str, *arguments: object) -> None:
        """Call back into the parent, which does not answer."""
        try:
            self.send("tell", (name, arguments))
        except OSError:
            os._exit(1)

    def _execute(self, name: str, arguments: Sequence[Any]) -> tuple[str, object]:
        try:
            return "done", getattr(Requests(self), name)(*arguments)
        except HeadwayError as error:
            return "failed", _picklable(_as_memory_full(error) or _as_disk_full(error) or error)
        except (Exception, SystemExit) as error:  # a project's code may raise anything
            log.exception("%s failed", name)
            if name in READING:
                return "failed", ScriptsUnreadable(_describe_unreadable(error))
            full = _as_memory_full(error) or _as_disk_full(error)
            return "failed", full or MigrationFailed(f"{type(error).__name__}: {reason(error)}.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _as_memory_full(error: BaseException) -> ProcessEnded | None:
    """A ProcessEnded if this process had too little memory; else None."""
    if any(isinstance(cause, MemoryError) for cause in _causes(error)):
        return ProcessEnded("What was asked for did not fit into the memory of the process.")
    return None


def _as_disk_full(error: BaseException) -> DiskFull | None:
    """A DiskFull with the same statements if a full disk caused this error; else None."""
    for cause in _causes(error):
        if NO_ROOM.search(str(getattr(cause, "orig", None) or cause)):
            sentence = str(error) if isinstance(error, HeadwayError) else f"{reason(error)}."
            disk_full = DiskFull(f"There is no disk space left for the database. {sentence}")
            disk_full.sent = getattr(error, "sent", ())
            return disk_full
    return None


def _picklable(error: HeadwayError) -> HeadwayError:
    """The error itself if it can be pickled; else its message and statements as text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # the values of a project's own classes
        bare = type(error)(str(error))
        bare.sent = tuple(map(str, error.sent))
        return bare
    return error


def _describe_unreadable(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return (
            f"A script ended the program ({error.code}). While it is loaded, a script must only "
            "define things."
        )
    words = " ".join(str(error).split()).rstrip(".")
    sentence = f"The scripts cannot be read: {type(error).__name__}: {words}."
    return PASSWORD.sub(r"\1***@", sentence)


def main() -> None:
    """Serve the parent until it ends.

    Arguments: the control socket, the parent's process id, the log level, the log format, and how
    many bytes requests may take (0: any).
    """
    control, parent, log_level, log_format, memory = sys.argv[1:]
    del sys.argv[1:]  # which an env.py may read
    _die_with(int(parent))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        # A signal to the whole process group is meant for the parent: what runs here is finished.
        signal.signal(number, lambda *_: None)
    _configure_logging(log_level, log_format)
    ambient.refuse()
    Channel.memory = int(memory)
    ready = threading.Event()
    first: list[Connection] = []
    listener = partial(_listen, socket.socket(fileno=int(control)), first, ready)
    threading.Thread(target=listener, name="control", daemon=True).start()
    ready.wait()
    Channel(first[0]).serve()
    os._exit(0)  # do not wait for threads that the project has left behind


def _listen(control: socket.socket, first: list[Connection], ready: threading.Event) -> None:
    while True:
        try:
            kind, handles, _, _ = socket.recv_fds(control, 1, 1)
        except OSError:
            kind, handles = b"", []
        if not kind:
            os._exit(1)  # the parent is gone
        for handle in handles:
            os.set_inheritable(handle, False)
            connection = Connection(handle)
            if kind == MAIN:
                first.append(connection)
                ready.set()
            else:
                serve = Channel(connection).serve
                threading.Thread(target=serve, name="looks", daemon=True).start()


def _die_with(parent: int) -> None:
    """End when the parent does, even if it is killed and this process hangs in a driver."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            Path("/proc/self/oom_score_adj").write_text(FIRST_TO_KILL)
        except OSError:
            log.debug("oom_score_adj cannot be set")
    if os.getppid() != parent:
        os._exit(1)


class _Lines(logging.Formatter):
    """Formats log lines as the parent does."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self.is_json = log_format == "json"

    def format(self, record: logging.LogRecord) -> str:
        now = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event = PASSWORD.sub(r"\1***@", super().format(record))
        level = record.levelname.lower()
        if self.is_json:
            line = {"event": event, "level": level, "logger": record.name, "timestamp": now}
            return json.dumps(line)
        return visible(f"{now} [{level:<8}] {event} [{record.name}]")


def _configure_logging(log_level: str, log_format: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines(log_format))
    logging.basicConfig(level=log_level.upper(), handlers=[handler])
    for name in ("alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)
