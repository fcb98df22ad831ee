"""The watchdog ends a run that takes longer than its rollout allows.

It ends the child process that runs the project's code, because a revision may wait for ever in
Python or in a driver. The worker continues, and the lost run is then recovered by inspecting its
database.
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
"""How long a last write to the catalog may take."""
END_SECONDS = 10.0
"""How long the worker may take to continue after the child was ended."""
EXIT = 1


class Watchdog(threading.Thread):
    """Watches the runs of this process until it ends."""

    def __init__(
        self, app: Flask, ended: threading.Event, release: Callable[[str], object]
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.app, self.ended, self.release = app, ended, release

    def run(self) -> None:
        """Check the current run every LOOK_SECONDS."""
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
            if time.monotonic() > patience:  # it hangs elsewhere
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
