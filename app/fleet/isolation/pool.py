"""Asking many at once, in threads: whoever does not answer in time is left alone.

Knows nothing of databases. A thread that hangs cannot be ended; it is left behind, and another
takes its place, so that the others never wait for it.
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
"""How long one may take to answer."""
SLOW = 0.4
"""Who takes this part of it counts as silent when its server is given up on."""
STRIKES = 3
"""So many silent ones, with no answer between them, and the rest of a server is not asked."""
HANDFUL = 8
"""So many without a server (files) are handed to a thread at a time."""


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """Somebody to be asked."""

    key: int
    server: str | None
    """Those with the same one are not asked all at once; None for a file."""
    function: Callable[[], T]


@dataclass(frozen=True)
class TimedOut:
    """Nobody answered."""

    seconds: float
    was_called: bool
    """False if the server had been given up on before."""


Answer = tuple[int, T | TimedOut | Exception]


class Pool(Generic[T]):
    """Threads, and what is known about servers; good for many calls of `ask`."""

    def __init__(
        self, *, at_once: int = AT_ONCE, per_server: int = PER_SERVER, seconds: float = SECONDS
    ) -> None:
        self.at_once, self.per_server, self.seconds = at_once, per_server, seconds
        self.timeouts: dict[str, int] = {}
        """Server -> how many were silent since it last answered."""
        self._idle: list[_WorkerThread[T]] = []
        self._busy: dict[_WorkerThread[T], _Assignment[T]] = {}
        self._queues: dict[str | None, deque[Call[T]]] = {}
        self._answers: SimpleQueue[tuple[_WorkerThread[T], T | Exception]] = SimpleQueue()

    def run(self, calls: Iterable[Call[T]]) -> Iterator[Answer[T]]:
        """Each key once, with what was answered, the error that was raised, or Silence."""
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
            return  # it was left behind
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
        """Those on servers that nobody hears anything from."""
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
    """One thread. A daemon: what hangs must not keep the process from ending."""

    def __init__(self, answers: "SimpleQueue[tuple[_WorkerThread[T], T | Exception]]") -> None:
        super().__init__(name="pool-worker", daemon=True)
        self.jobs: SimpleQueue[list[Call[T]]] = SimpleQueue()
        self.answers = answers
        self.is_abandoned = False
        self.start()

    def run(self) -> None:
        """Until it is given nothing, or left behind."""
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
