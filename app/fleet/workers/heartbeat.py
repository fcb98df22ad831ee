"""A worker's heartbeat: it registers the worker and keeps it known as alive in the catalog."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.fleet.core import leases
from app.fleet.workers import registry
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

AT_HEAD = "head"
AGAIN_SECONDS = 0.5
"""Pause after a heartbeat that failed."""
LEASE_SECONDS = 10.0


def seconds() -> float:
    """A monotonic clock that also runs while the machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Heartbeat(threading.Thread):
    """Registers this process as a worker once the catalog is at head, and beats until it ends.

    `state` returns the state of the catalog, or raises. If it is not at the head of this release
    any more, `outdated` is called: a process of the new release should take over.
    """

    def __init__(
        self,
        app: Flask,
        *,
        engine: str,
        name: str,
        replaces: str | None,
        state: Callable[[], str],
        outdated: Callable[[], object],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.app, self.engine, self.state, self.outdated = app, engine, state, outdated
        self.worker = name
        self.replaces = replaces
        self.done = 0
        """The number of runs that this process has finished."""
        self.ended = threading.Event()
        self.registered = False
        self.last_beat_at = float("-inf")
        self.leases: set[str] = set()
        self.is_unreachable = False
        self.last_state = AT_HEAD
        self._naming = threading.Lock()

    @property
    def is_recent(self) -> bool:
        """True while this worker cannot be reported lost; only then may it begin a run."""
        return self.registered and seconds() - self.last_beat_at < registry.FRESH_SECONDS

    def run(self) -> None:
        """Send heartbeats until `end` is called."""
        pause = 0.0
        while not self.ended.wait(pause):
            try:
                with self.app.app_context():
                    pause = self._beat()
                self._log_contact(True)
            except (HeadwayError, SQLAlchemyError) as error:
                self._log_contact(False, error)
                pause = AGAIN_SECONDS

    def end(self) -> None:
        """Record that this worker has ended. Raises if the catalog cannot be reached."""
        self.ended.set()
        self.join(5)
        if self.registered:
            registry.stop(self.worker, self.done)

    def rename(self) -> None:
        """Continue under a new name, so that the runs of the old name are inspected as lost."""
        with self._naming:
            if self.registered:  # else no run was taken under this name
                self.registered = False
                self.replaces, self.worker = self.worker, registry.new_name()

    @contextmanager
    def keeping(self, lease: str) -> Iterator[bool]:
        """Take a lease and renew it until the block ends. False if another worker has it."""
        held = self.is_recent and leases.hold(lease, self.worker, LEASE_SECONDS)
        if held:
            self.leases.add(lease)
        try:
            yield held
        finally:
            self.leases.discard(lease)

    def _beat(self) -> float:
        if (state := self.state()) == AT_HEAD:
            self.last_state = state
        if not self.registered:
            return self._register(state)
        if state != AT_HEAD:
            self._log_state("the catalog is not at the head of this release any more: %s", state)
            self.outdated()
        now = seconds()
        if not registry.beat(self.worker, self.done):
            log.warning("worker %s was reported lost", self.worker)
            self.rename()
            return 0.0
        self.last_beat_at = now
        for lease in tuple(self.leases):
            leases.hold(lease, self.worker, LEASE_SECONDS)
        return registry.BEAT_SECONDS

    def _register(self, state: str) -> float:
        if state != AT_HEAD:
            self._log_state("waiting for the catalog, which is %s", state)
            return AGAIN_SECONDS * 2
        with self._naming:
            now = seconds()
            try:
                registry.register(self.worker, self.engine, replaces=self.replaces)
            except IntegrityError:  # it was written, and only the answer was lost
                self.worker = registry.new_name()
                return AGAIN_SECONDS
            self.last_beat_at, self.registered, self.replaces = now, True, None
        log.info("worker %s is ready", self.worker)
        return registry.BEAT_SECONDS

    def _log_state(self, words: str, state: str) -> None:
        """Log a state of the catalog once."""
        if state != self.last_state:
            self.last_state = state
            log.warning(words, state)

    def _log_contact(self, reached: bool, error: Exception | None = None) -> None:
        """Log when the catalog cannot be reached, and when it can again."""
        if (
            error
            and not self.is_unreachable
            and seconds() - self.last_beat_at > registry.BEAT_SECONDS * 2
        ):
            self.is_unreachable = True
            log.warning("this worker cannot reach the catalog: %s", type(error).__name__)
        if reached and self.is_unreachable:
            self.is_unreachable = False
            log.info("this worker reaches the catalog again")
