"""A thread pool whose calls time out.

A thread that hangs cannot be ended; it is abandoned and another takes its place, so that other
calls never wait for it. The pool knows nothing about databases.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

AT_ONCE = 16
PER_SERVER = 4
SECONDS = 10.0
"""How long a call may take."""
SLOW = 0.4
"""Share of SECONDS from which a call counts as a timeout when its server is judged."""
STRIKES = 3
"""After this many consecutive timeouts of a server, its remaining calls are skipped."""
HANDFUL = 8
"""How many calls without a server (files) a thread gets at a time."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """A function to call in a thread."""

    key: int
    server: str | None
    """Calls with the same server are limited by `per_server`; None for a file."""
    function: Callable[[], T]


@dataclass(frozen=True)
class TimedOut:
    """The result of a call that did not return in time."""

    seconds: float
    was_called: bool
    """False if the call was skipped because its server did not answer others."""


Answer = tuple[int, T | TimedOut | Exception]


class Pool(Generic[T]):
    """Worker threads, and the timeouts of each server. `run` may be called repeatedly."""

    def __init__(
        self, *, at_once: int = AT_ONCE, per_server: int = PER_SERVER, seconds: float = SECONDS
    ) -> None:
        self.at_once, self.per_server, self.seconds = at_once, per_server, seconds
        self.timeouts: dict[str, int] = {}
        """Server -> the number of timeouts since it last answered."""
        self._idle: list[_WorkerThread[T]] = []
        self._busy: dict[_WorkerThread[T], _Assignment[T]] = {}
        self._queues: dict[str | None, deque[Call[T]]] = {}
        self._answers: SimpleQueue[tuple[_WorkerThread[T], T | Exception]] = SimpleQueue()

    def run(self, calls: Iterable[Call[T]]) -> Iterator[Answer[T]]:
        """Yield each key once, with the result, the exception that was raised, or TimedOut."""
        for call in calls:
            self._queues.setdefault(call.server, deque()).append(call)
        try:
            while self._queues or self._busy:
                yield from self._skip_silent_servers()
                self._assign()
                if self._busy:
                    yield from self._next_answer()
        finally:
            self._stop()

    def _assign(self) -> None:
        for server in list(self._queues):
            while len(self._busy) < self.at_once and server in self._queues:
                if server is not None and self._running_on(server) >= self.per_server:
                    break
                thread = self._idle.pop() if self._idle else _WorkerThread(self._answers)
                job = self._busy[thread] = _Assignment(self._take(server))
                thread.jobs.put(list(job.left))
        # The next time another server comes first, so that one with many holds no other up.
        for server in list(self._queues)[:1]:
            self._queues[server] = self._queues.pop(server)

    def _take(self, server: str | None) -> deque[Call[T]]:
        queue = self._queues[server]
        # A few for each thread, and at the end one: the last must not wait behind each other.
        share = max(1, min(HANDFUL, len(queue) // self.at_once)) if server is None else 1
        taken = deque(queue.popleft() for _ in range(share))
        if not queue:
            del self._queues[server]
        return taken

    def _running_on(self, server: str) -> int:
        return sum(job.left[0].server == server for job in self._busy.values())

    def _next_answer(self) -> Iterator[Answer[T]]:
        oldest = min(job.began for job in self._busy.values())
        try:
            thread, answer = self._answers.get(
                timeout=max(0.01, oldest + self.seconds - time.monotonic())
            )
        except Empty:
            yield from self._time_out()
            return
        if (job := self._busy.get(thread)) is None:
            return  # it was abandoned
        call, took = job.left.popleft(), time.monotonic() - job.began
        job.began = time.monotonic()
        if not job.left:
            self._idle.append(thread)
            del self._busy[thread]
        self._count_timeout(call.server, timed_out=took > self.seconds * SLOW)
        yield call.key, answer

    def _time_out(self) -> Iterator[Answer[T]]:
        now = time.monotonic()
        for thread, job in list(self._busy.items()):
            if now - job.began < self.seconds:
                continue
            thread.is_abandoned = True
            del self._busy[thread]
            call = job.left.popleft()
            if job.left:
                self._queues.setdefault(call.server, deque()).extendleft(reversed(job.left))
            self._count_timeout(call.server, timed_out=True)
            yield call.key, TimedOut(self.seconds, was_called=True)

    def _count_timeout(self, server: str | None, *, timed_out: bool) -> None:
        if server is not None:
            self.timeouts[server] = self.timeouts.get(server, 0) + 1 if timed_out else 0

    def _skip_silent_servers(self) -> Iterator[Answer[T]]:
        """Yield TimedOut for the waiting calls of servers that do not answer."""
        for server in [name for name, count in self.timeouts.items() if count >= STRIKES]:
            for call in self._queues.pop(server, ()):
                yield call.key, TimedOut(self.seconds, was_called=False)

    def _stop(self) -> None:
        self._queues.clear()
        for thread in self._busy:
            thread.is_abandoned = True
        for thread in [*self._idle, *self._busy]:
            thread.jobs.put([])
        self._idle, self._busy = [], {}


@dataclass
class _Assignment(Generic[T]):
    left: deque[Call[T]]
    began: float = field(default_factory=time.monotonic)


class _WorkerThread(threading.Thread, Generic[T]):
    """One thread. A daemon, so that a call that hangs does not keep the process from ending."""

    def __init__(self, answers: "SimpleQueue[tuple[_WorkerThread[T], T | Exception]]") -> None:
        super().__init__(name="pool-worker", daemon=True)
        self.jobs: SimpleQueue[list[Call[T]]] = SimpleQueue()
        self.answers = answers
        self.is_abandoned = False
        self.start()

    def run(self) -> None:
        """Work until the thread gets an empty list, or is abandoned."""
        while calls := self.jobs.get():
            for call in calls:
                if self.is_abandoned:
                    return
                self.answers.put((self, self._call(call)))

    def _call(self, call: Call[T]) -> T | Exception:
        try:
            return call.function()
        except Exception as error:  # noqa: BLE001  # one that fails must not stop the others
            return error
