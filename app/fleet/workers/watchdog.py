"""The watchdog: a run that takes longer than its rollout allows is ended, with its process.

Nothing less ends it for sure: a revision may wait for ever, in Python or in a driver. That is the
process that runs the project's code; the worker goes on. What the run left is then seen by
looking at the database.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from flask import Flask

from app.fleet.isolation import parent
from app.fleet.runs import execute
from app.fleet.workers import registry

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
LAST_WORDS = 5.0
"""How long the catalog may take to be told."""
END_SECONDS = 10.0
"""How long the worker may take to go on, once what it waits for was ended."""
EXIT = 1


class Watchdog(threading.Thread):
    """Watches the runs that this process does, until it has done its last."""

    def __init__(
        self, app: Flask, ended: threading.Event, release: Callable[[str], object]
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.app, self.ended, self.release = app, ended, release

    def run(self) -> None:
        """Look, again and again."""
        while not self.ended.wait(LOOK_SECONDS):
            now = execute.current_run
            if now is not None and time.monotonic() > now.ends_at:
                self._end(now)

    def _end(self, over: execute.CurrentRun) -> None:
        log.error("run %s takes longer than its rollout allows: ending it", over.run_id)
        # In a thread: a catalog that does not answer must not keep the run alive.
        self._tell(lambda: execute.note_timeout(over.run_id, over.worker))
        if execute.current_run is not over:
            return  # it has just ended by itself
        parent.end()
        patience = time.monotonic() + END_SECONDS
        while execute.current_run is over:
            if time.monotonic() > patience:  # it does not wait for the process that was ended
                self._tell(lambda: self._leave(over.worker))
                os._exit(EXIT)
            time.sleep(LOOK_SECONDS / 5)

    def _tell(self, words: Callable[[], object]) -> None:
        def tell() -> None:
            with self.app.app_context():
                words()

        last = threading.Thread(target=tell, daemon=True)
        last.start()
        last.join(LAST_WORDS)

    def _leave(self, worker: str) -> None:
        self.release(worker)
        registry.stop(worker)
