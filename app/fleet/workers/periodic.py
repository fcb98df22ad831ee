"""Chores: what has to be done for the whole fleet, by one worker at a time.

Every worker does them in threads of its own, under a lease each: where one dies in the middle,
another goes on some seconds later.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from app.extensions import db
from app.fleet import webhooks
from app.fleet.core import leases
from app.fleet.projects import scripts
from app.fleet.refresh import refresh
from app.fleet.rollouts import advance
from app.fleet.workers import lost_runs
from app.fleet.workers.heartbeat import Heartbeat
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

ELSEWHERE_SECONDS = 1.0
"""How often to ask whether the one that does it has stopped."""
AWAY_SECONDS = 5.0
"""How long to leave it alone after an error."""
LOAD = "load"


@dataclass(frozen=True)
class PeriodicTask:
    """Something to do every so often."""

    name: str
    every: float
    work: Callable[[], object]


def advance_rollouts() -> None:
    """Find out what became of the runs whose worker is gone, then take each rollout a step on."""
    db.session.rollback()  # what was read before is not what is there now
    lost_runs.resolve_lost()
    advance.advance()


def refresh_due() -> None:
    """Ask the databases of each project that is due where they stand, and those that are new."""
    for project_id in refresh.due():
        refresh.refresh(project_id)
    for project_id, ids in refresh.never_probed().items():
        refresh.refresh(project_id, ids)


def load_due() -> None:
    """Read the scripts of each project whose files changed.

    Not in a thread: the project's code runs, and that happens where the migrations do.
    """
    for project_id in scripts.due():
        scripts.load(project_id)


PERIODIC_TASKS = (
    PeriodicTask("tick", 0.5, advance_rollouts),
    PeriodicTask("refresh", 2.0, refresh_due),
    PeriodicTask("webhooks", 2.0, webhooks.deliver),
)


class PeriodicThread(threading.Thread):
    """Does one chore again and again while this worker has the lease."""

    def __init__(self, task: PeriodicTask, heartbeat: Heartbeat, ended: threading.Event) -> None:
        super().__init__(name=task.name, daemon=True)
        self.task, self.heartbeat, self.ended = task, heartbeat, ended
        self.last_problem = ""

    def run(self) -> None:
        """Until this process ends."""
        pause = 0.1
        while not self.ended.wait(pause):
            try:
                with self.heartbeat.app.app_context():
                    pause = self._once()
                self._log_problem("")
            except (HeadwayError, SQLAlchemyError) as error:
                self._log_problem(str(error))
                pause = AWAY_SECONDS
            except Exception:
                log.exception("%s failed; tried again", self.task.name)
                pause = AWAY_SECONDS

    def _log_problem(self, words: str) -> None:
        """Log what is in the way once, and when it no longer is."""
        if words and words != self.last_problem:
            log.warning("%s: %s Tried again until it goes well.", self.task.name, words)
        elif self.last_problem and not words:
            log.info("%s goes well again", self.task.name)
        self.last_problem = words

    def _once(self) -> float:
        with self.heartbeat.keeping(self.task.name) as held:
            if not held:
                return ELSEWHERE_SECONDS
            self.task.work()
        return self.task.every


def give_back(tasks: tuple[PeriodicTask, ...], worker: str) -> None:
    """Let another worker do them at once."""
    for task in tasks:
        leases.give_back(task.name, worker)
    leases.give_back(LOAD, worker)
