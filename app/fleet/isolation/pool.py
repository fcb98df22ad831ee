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
class Question(Generic[T]):
    """Somebody to be asked."""

    key: int
    server: str | None
    """Those with the same one are not asked all at once; None for a file."""
    ask: Callable[[], T]


@dataclass(frozen=True)
class Silence:
    """Nobody answered."""

    seconds: float
    asked: bool
    """False if the server had been given up on before."""


Answer = tuple[int, T | Silence | Exception]


class Round(Generic[T]):
    """Threads, and what is known about servers; good for many calls of `ask`."""

    def __init__(
        self, *, at_once: int = AT_ONCE, per_server: int = PER_SERVER, seconds: float = SECONDS
    ) -> None:
        self.at_once, self.per_server, self.seconds = at_once, per_server, seconds
        self.silent: dict[str, int] = {}
        """Server -> how many were silent since it last answered."""
        self._idle: list[_Asker[T]] = []
        self._busy: dict[_Asker[T], _Job[T]] = {}
        self._queues: dict[str | None, deque[Question[T]]] = {}
        self._answers: SimpleQueue[tuple[_Asker[T], T | Exception]] = SimpleQueue()

    def ask(self, questions: Iterable[Question[T]]) -> Iterator[Answer[T]]:
        """Each key once, with what was answered, the error that was raised, or Silence."""
        for question in questions:
            self._queues.setdefault(question.server, deque()).append(question)
        try:
            while self._queues or self._busy:
                yield from self._give_up()
                self._hand_out()
                if self._busy:
                    yield from self._heard()
        finally:
            self._stop()

    def _hand_out(self) -> None:
        for server in list(self._queues):
            while len(self._busy) < self.at_once and server in self._queues:
                if server is not None and self._asking(server) >= self.per_server:
                    break
                asker = self._idle.pop() if self._idle else _Asker(self._answers)
                job = self._busy[asker] = _Job(self._take(server))
                asker.jobs.put(list(job.left))
        # The next time another server comes first, so that one with many holds no other up.
        for server in list(self._queues)[:1]:
            self._queues[server] = self._queues.pop(server)

    def _take(self, server: str | None) -> deque[Question[T]]:
        queue = self._queues[server]
        # A few for each thread, and at the end one: the last must not wait behind each other.
        share = max(1, min(HANDFUL, len(queue) // self.at_once)) if server is None else 1
        taken = deque(queue.popleft() for _ in range(share))
        if not queue:
            del self._queues[server]
        return taken

    def _asking(self, server: str) -> int:
        return sum(job.left[0].server == server for job in self._busy.values())

    def _heard(self) -> Iterator[Answer[T]]:
        oldest = min(job.began for job in self._busy.values())
        try:
            asker, said = self._answers.get(
                timeout=max(0.01, oldest + self.seconds - time.monotonic())
            )
        except Empty:
            yield from self._leave_behind()
            return
        if (job := self._busy.get(asker)) is None:
            return  # it was left behind
        question, took = job.left.popleft(), time.monotonic() - job.began
        job.began = time.monotonic()
        if not job.left:
            self._idle.append(asker)
            del self._busy[asker]
        self._note(question.server, silent=took > self.seconds * SLOW)
        yield question.key, said

    def _leave_behind(self) -> Iterator[Answer[T]]:
        now = time.monotonic()
        for asker, job in list(self._busy.items()):
            if now - job.began < self.seconds:
                continue
            asker.is_left = True
            del self._busy[asker]
            question = job.left.popleft()
            if job.left:
                self._queues.setdefault(question.server, deque()).extendleft(reversed(job.left))
            self._note(question.server, silent=True)
            yield question.key, Silence(self.seconds, asked=True)

    def _note(self, server: str | None, *, silent: bool) -> None:
        if server is not None:
            self.silent[server] = self.silent.get(server, 0) + 1 if silent else 0

    def _give_up(self) -> Iterator[Answer[T]]:
        """Those on servers that nobody hears anything from."""
        for server in [name for name, count in self.silent.items() if count >= STRIKES]:
            for question in self._queues.pop(server, ()):
                yield question.key, Silence(self.seconds, asked=False)

    def _stop(self) -> None:
        self._queues.clear()
        for asker in self._busy:
            asker.is_left = True
        for asker in [*self._idle, *self._busy]:
            asker.jobs.put([])
        self._idle, self._busy = [], {}


@dataclass
class _Job(Generic[T]):
    left: deque[Question[T]]
    began: float = field(default_factory=time.monotonic)


class _Asker(threading.Thread, Generic[T]):
    """One thread. A daemon: what hangs must not keep the process from ending."""

    def __init__(self, answers: "SimpleQueue[tuple[_Asker[T], T | Exception]]") -> None:
        super().__init__(name="asking", daemon=True)
        self.jobs: SimpleQueue[list[Question[T]]] = SimpleQueue()
        self.answers = answers
        self.is_left = False
        self.start()

    def run(self) -> None:
        """Until it is given nothing, or left behind."""
        while questions := self.jobs.get():
            for question in questions:
                if self.is_left:
                    return
                self.answers.put((self, self._ask(question)))

    def _ask(self, question: Question[T]) -> T | Exception:
        try:
            return question.ask()
        except Exception as error:  # noqa: BLE001  # one that fails must not stop the others
            return error
