"""The watchdog looks after a run that takes long.

After a second it releases the runs that the worker has claimed and not begun, so that they wait
for no other database. Past the limit of the rollout it ends the child process that runs the
project's code, because a revision may wait for ever in Python or in a driver. The worker
continues, and the lost run is then recovered by inspecting its database.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.fleet.isolation import parent
from app.fleet.runs import execute
from app.fleet.runs.claims import NotBegun
from app.fleet.workers import registry
from headway.errors import HeadwayError
from headway.execution.failures import reason

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
RELEASE_SECONDS = 1.0
"""How long those that are claimed may wait for a run: as much work as one claim takes."""
LAST_WORDS = 5.0
"""How long a last write to the catalog may take."""
END_SECONDS = 10.0
"""How long the worker may take to continue after the child was ended."""
EXIT = 1


class Watchdog(threading.Thread):
    """Watches the runs of this process until it ends."""

    def __init__(self, app: Flask, ended: threading.Event, not_begun: NotBegun) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.app, self.ended, self.not_begun = app, ended, not_begun
        self.releasing: threading.Thread | None = None

    def run(self) -> None:
        """Check the current run every LOOK_SECONDS."""
        while not self.ended.wait(LOOK_SECONDS):
            now = execute.current_run
            if now is None:
                continue
            if time.monotonic() > now.ends_at:
                self._end(now)
            elif self.not_begun and time.monotonic() > now.began_at + RELEASE_SECONDS:
                self._release(now.worker)

    def _release(self, worker: str) -> None:
        """Release them, one try at a time; the next follows where the catalog refuses."""
        if self.releasing is None or not self.releasing.is_alive():
            self.releasing = self._begin(lambda: self._try_release(worker))

    def _try_release(self, worker: str) -> None:
        try:
            self.not_begun.release(worker)
        except (HeadwayError, SQLAlchemyError) as error:
            log.warning("runs not begun cannot be released yet: %s", reason(error))

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
            with self.app.app_context():
                words()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return thread

    def _leave(self, worker: str) -> None:
        self.not_begun.release(worker)
        registry.stop(worker)
