"""Periodic tasks for the whole fleet, each done by one worker at a time.

Every worker has a thread for each task, and a lease decides which worker does it. If that worker
dies, another takes over some seconds later.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from app.extensions import db
from app.fleet import webhooks
from app.fleet.core import leases
from app.fleet.core.transactions import writing
from app.fleet.counts import label_counts, tallies
from app.fleet.projects import scripts
from app.fleet.refresh import refresh
from app.fleet.rollouts import advance
from app.fleet.workers import lost_runs
from app.fleet.workers.heartbeat import Heartbeat
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

ELSEWHERE_SECONDS = 1.0
"""How often to try for the lease while another worker has it."""
AWAY_SECONDS = 5.0
"""Pause after an error."""
LOAD = "load"


@dataclass(frozen=True)
class PeriodicTask:
    """A function to call every `every` seconds."""

    name: str
    every: float
    work: Callable[[], object]


def advance_rollouts() -> None:
    """Recover lost runs, then advance each rollout one step."""
    db.session.rollback()  # read fresh data
    lost_runs.resolve_lost()
    advance.advance()
    tallies.settle_all()


def refresh_due() -> None:
    """Refresh the databases of each project that is due, and those that were never probed."""
    for project_id in refresh.due():
        refresh.refresh(project_id)
        with writing() as session:
            label_counts.settle(session, project_id)
    for project_id, ids in refresh.never_probed().items():
        refresh.refresh(project_id, ids)


def load_due() -> None:
    """Read the scripts of each project whose files changed.

    Not in a thread: it runs the project's code, which must not run beside a migration.
    """
    for project_id in scripts.due():
        scripts.load(project_id)


PERIODIC_TASKS = (
    PeriodicTask("tick", 0.5, advance_rollouts),
    PeriodicTask("refresh", 2.0, refresh_due),
    PeriodicTask("webhooks", 2.0, webhooks.deliver),
)


class PeriodicThread(threading.Thread):
    """Repeats one task while this worker has its lease."""

    def __init__(self, task: PeriodicTask, heartbeat: Heartbeat, ended: threading.Event) -> None:
        super().__init__(name=task.name, daemon=True)
        self.task, self.heartbeat, self.ended = task, heartbeat, ended
        self.last_problem = ""

    def run(self) -> None:
        """Repeat the task until this process ends."""
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
        """Log a problem once, and when it is over."""
        if words and words != self.last_problem:
            log.warning("%s: %s It is tried again.", self.task.name, words)
        elif self.last_problem and not words:
            log.info("%s succeeds again", self.task.name)
        self.last_problem = words

    def _once(self) -> float:
        with self.heartbeat.keeping(self.task.name) as held:
            if not held:
                return ELSEWHERE_SECONDS
            self.task.work()
        return self.task.every


def give_back(tasks: tuple[PeriodicTask, ...], worker: str) -> None:
    """Release the leases of these tasks, so that another worker can take them at once."""
    for task in tasks:
        leases.give_back(task.name, worker)
    leases.give_back(LOAD, worker)
