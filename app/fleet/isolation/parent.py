"""Start and call the child process that runs projects' code.

The service never imports that code itself: what a revision or an env.py does to its process
(patches, listeners, a pragma on every engine, `os._exit`) happens in a process that has no
connection, key or setting of the catalog. A service process has one child; if the child ends, it
is started again when it is next needed. Another, started with the first refresh, probes databases.
"""

import atexit
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any

from app.fleet.core.places import REACHING
from app.fleet.isolation.child import BESIDE, MAIN
from app.fleet.isolation.environment import arguments, environment
from headway.errors import HeadwayError, ProcessEnded

log = logging.getLogger(__name__)

Callback = Callable[..., object]
NOTHING: Mapping[str, Callback] = MappingProxyType({})
START = "from app.fleet.isolation.child import main; main()"
AFTER_KILL_SECONDS = 5.0
OWNERS_ONLY = 0o077
PROBES_MEMORY = 512 * 2**20
"""Bytes that the probes of one child may take beyond what its code does, its threads included."""
ISOLATED_MEMORY = 100 * 2**20
"""The same for a process of `call_isolated`."""


def call(
    name: str,
    *arguments: object,
    concurrent: bool = False,
    answers: Mapping[str, Callback] = NOTHING,
) -> Any:
    """Run a request (`requests.Requests`) in the child, and return its result.

    Raises the HeadwayError that the child raised, and ProcessEnded if the child ended.
    `concurrent` is for read-only requests: they do not wait for a migration, and are repeated once
    if the child ended. `answers` are the callbacks of the request; what one returns or raises is
    returned or raised in the child.
    """
    if not concurrent:
        with _child.main, _child.channel(MAIN) as channel:
            return _exchange(channel, name, arguments, answers)
    try:
        with _child.channel(BESIDE) as channel:
            return _exchange(channel, name, arguments, answers)
    except ProcessEnded:
        with _child.channel(BESIDE) as channel:
            return _exchange(channel, name, arguments, answers)


def probe(name: str, *arguments: object) -> Any:
    """Run a request in the child that probes many databases, and return its result.

    That child has a limit of memory, and is ended with whatever hangs in it: `end_probes`. Raises
    the HeadwayError that it raised, and ProcessEnded.
    """
    with _prober.main, _prober.channel(MAIN) as channel:
        return _exchange(channel, name, arguments, NOTHING)


def stream(name: str, *arguments: object) -> Generator[tuple[str, Any]]:
    """Like `probe`, in parts: yields ("one", part) for each, then ("done", result)."""
    with _prober.channel(BESIDE) as channel:
        channel.send((name, arguments))
        while True:
            kind, value = channel.receive()
            if kind == "failed":
                raise value
            yield kind, value
            if kind == "done":
                return


def call_isolated(name: str, *arguments: object, seconds: float, late: HeadwayError) -> Any:
    """Run a request in a process of its own, which is killed after so many seconds.

    For what reaches a server, or reads files, while its caller waits: a web process does one at a
    time. Raises `late` after that time, ServerBusy if another request has the place, ProcessEnded,
    and the HeadwayError that the process raised.
    """
    with REACHING.take():
        rang = threading.Event()
        process = _Process(ISOLATED_MEMORY)

        def end() -> None:
            rang.set()
            process.kill()

        alarm = threading.Timer(seconds, end)
        alarm.daemon = True
        alarm.start()
        try:
            with closing(process.open(MAIN).connection) as connection:
                return _exchange(_Channel(connection, process), name, arguments, NOTHING)
        except ProcessEnded as error:
            raise (late if rang.is_set() else error) from None
        finally:
            alarm.cancel()
            process.kill()
            process.close()


def start() -> None:
    """Start the child now, so that the first request does not wait for it."""
    with _child.starting:
        _child.running()


def end() -> None:
    """End both children, even during a request, which then raises ProcessEnded."""
    _child.end()
    _prober.end()


def end_probes() -> None:
    """End the child that probes, with all that hangs in it. The next probe starts another."""
    with _prober.starting:
        _prober.end()
        if _prober.process:
            _prober.process.ended.wait(AFTER_KILL_SECONDS)
            _prober.process.close()
            _prober.process = None


class _Channel:
    """A socket to one child process."""

    def __init__(self, connection: Connection, process: "_Process") -> None:
        self.connection, self.process = connection, process

    def send(self, message: object) -> None:
        """Send a message. Raises ProcessEnded."""
        try:
            self.connection.send(message)
        except OSError:
            raise ProcessEnded(self.process.describe_end()) from None

    def receive(self) -> tuple[str, Any]:
        """The next message. Raises ProcessEnded."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            raise ProcessEnded(self.process.describe_end()) from None
        return kind, value


def _exchange(
    channel: _Channel,
    name: str,
    arguments: tuple[object, ...],
    answers: Mapping[str, Callback],
) -> Any:
    channel.send((name, arguments))
    while True:
        kind, value = channel.receive()
        if kind == "failed":
            raise value
        if kind == "done":
            return value
        callback, given = value
        if kind == "tell":
            answers[callback](*given)
            continue
        answer, refusal = None, None
        try:
            answer = answers[callback](*given)
        except HeadwayError as error:
            refusal = error
        channel.send((answer, refusal))


class _Process:
    """A child process and the sockets to it.

    `memory`: bytes that its requests may take beyond what its code does; 0 for any number.
    """

    def __init__(self, memory: int = 0) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.idle: dict[bytes, list[_Channel]] = {MAIN: [], BESIDE: []}
        self.popen: subprocess.Popen[bytes] | None = None
        self.failure: Exception | None = None
        self.control, self.theirs = socket.socketpair()
        self.environment, self.arguments = environment(), (*arguments(), str(memory))
        # The kernel ends the child when the *thread* that started it ends.
        threading.Thread(target=self._start_and_wait, name="project-process", daemon=True).start()
        self.began.wait()
        if self.failure:
            raise self.failure

    def _start_and_wait(self) -> None:
        """Start the process, and wait until it has ended."""
        try:
            self.popen = subprocess.Popen(  # noqa: S603  # ourselves
                [sys.executable, "-c", START, str(self.theirs.fileno()), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a project prints is for the log
                pass_fds=(self.theirs.fileno(),),
                env=self.environment,
                umask=OWNERS_ONLY,  # of the members that it makes
            )
        except Exception as error:  # noqa: BLE001  # it is raised where it was to be started
            self.failure = error
            return
        finally:
            self.theirs.close()
            self.began.set()
        self.popen.wait()
        self.ended.set()

    def open(self, kind: bytes) -> _Channel:
        """A new socket to the child. Raises ProcessEnded."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self.control, [kind], [theirs.fileno()])
        except OSError:
            ours.close()
            raise ProcessEnded(self.describe_end()) from None
        return _Channel(Connection(ours.detach()), self)

    def kill(self) -> None:
        if self.popen:
            self.popen.kill()

    def describe_end(self) -> str:
        """A sentence about how the process ended."""
        self.ended.wait(AFTER_KILL_SECONDS)
        code = self.popen.returncode if self.popen else None
        how = "" if code is None else f" (exit code {code})"
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            how = f" (signal {-code}, {name}{MEMORY if -code == signal.SIGKILL else ''})"
        return (
            f"The process that did this ended before its work was done{how}. The log has its last "
            "messages."
        )

    def close(self) -> None:
        for channels in self.idle.values():
            while channels:
                channels.pop().connection.close()
        self.control.close()


MEMORY = ": killed, perhaps because memory ran out"


class _Child:
    """The child of this process. It is started when it is first needed, and again if it ended."""

    def __init__(self, memory: int = 0) -> None:
        self.starting = threading.RLock()
        self.main = threading.Lock()
        """Held during a migration: Alembic runs one at a time in a process."""
        self.memory = memory
        self.process: _Process | None = None
        self.owner = 0

    def running(self) -> _Process:
        """The running process. The caller holds the lock `starting`."""
        process = self.process
        if process and self.owner == os.getpid() and not process.ended.is_set():
            return process
        if process and self.owner == os.getpid():
            process.close()
        # A fork's parent has a child of its own, whose sockets this process only lets go.
        self.process, self.owner = _Process(self.memory), os.getpid()
        return self.process

    @contextmanager
    def channel(self, kind: bytes) -> Iterator[_Channel]:
        """A socket for one request. After an unfinished request it is not used again."""
        with self.starting:
            process = self.running()
            channel = process.idle[kind].pop() if process.idle[kind] else process.open(kind)
        try:
            yield channel
        except HeadwayError as error:
            if isinstance(error, ProcessEnded):
                channel.connection.close()
            else:
                process.idle[kind].append(channel)
            raise
        except BaseException:
            channel.connection.close()
            if kind == MAIN:  # its caller does not wait for the migration any more
                process.kill()
            raise
        process.idle[kind].append(channel)

    def end(self) -> None:
        process = self.process
        if process and self.owner == os.getpid():
            process.kill()


_child = _Child()
_prober = _Child(PROBES_MEMORY)
atexit.register(end)
