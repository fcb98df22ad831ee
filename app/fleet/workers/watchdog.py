"""The watchdog looks after a run that takes long.

After a second it releases the runs that the worker has claimed and not begun, and writes the
results that wait, so that neither waits for another database. Past the limit of the rollout it
ends the child process that runs the project's code, because a revision may wait for ever in
Python or in a driver. The worker continues, and the lost run is then recovered by inspecting its
database.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.fleet.isolation import parent
from app.fleet.runs import execute
from app.fleet.workers import registry
from headway.errors import HeadwayError
from headway.execution.failures import reason

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
LET_GO_SECONDS = 1.0
"""How long a run may keep others, and results, waiting."""
LAST_WORDS = 5.0
"""How long a last write to the catalog may take."""
END_SECONDS = 10.0
"""How long the worker may take to continue after the child was ended."""
EXIT = 1


class Watched(Protocol):
    """A worker's process, as the watchdog sees it."""

    app: Flask
    ended: threading.Event

    @property
    def keeps_others_waiting(self) -> bool:
        """True if runs are claimed and not begun, or results not written."""

    def let_go(self, name: str) -> None:
        """Write the results, and release the runs that are not begun."""


class Watchdog(threading.Thread):
    """Watches the runs of this process until it ends."""

    def __init__(self, process: Watched) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.process = process
        self.letting_go: threading.Thread | None = None

    def run(self) -> None:
        """Check the current run every LOOK_SECONDS."""
        while not self.process.ended.wait(LOOK_SECONDS):
            now = execute.current_run
            if now is None:
                continue
            if time.monotonic() > now.ends_at:
                self._end(now)
            elif time.monotonic() > now.began_at + LET_GO_SECONDS:
                self._let_go(now.worker)

    def _let_go(self, worker: str) -> None:
        """One try at a time; the next follows where the catalog refuses."""
        is_at_it = self.letting_go is not None and self.letting_go.is_alive()
        if self.process.keeps_others_waiting and not is_at_it:
            self.letting_go = self._begin(lambda: self._try_to_let_go(worker))

    def _try_to_let_go(self, worker: str) -> None:
        try:
            self.process.let_go(worker)
        except (HeadwayError, SQLAlchemyError) as error:
            log.warning("runs cannot be released or written yet: %s", reason(error))

    def _end(self, over: execute.CurrentRun) -> None:
        log.error("run %s takes longer than its rollout allows: ending it", over.run_id)
        self._write(lambda: execute.note_timeout(over.run_id, over.worker))
        if execute.current_run is not over:
            return  # it has just ended by itself
        parent.end()
        patience = time.monotonic() + END_SECONDS
        while execute.current_run is over:
            if time.monotonic() > patience:  # it hangs elsewhere
                self._write(lambda: self._leave(over.worker))
                os._exit(EXIT)
            time.sleep(LOOK_SECONDS / 5)

    def _write(self, words: Callable[[], object]) -> None:
        self._begin(words).join(LAST_WORDS)

    def _begin(self, words: Callable[[], object]) -> threading.Thread:
        """In a thread: a catalog that does not answer must not keep a run alive."""

        def write() -> None:
            with self.process.app.app_context():
                words()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    def _leave(self, worker: str) -> None:
        self.process.let_go(worker)
        registry.stop(worker)
