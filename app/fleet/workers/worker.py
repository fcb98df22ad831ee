"""A worker: it takes runs and executes them one after the other until it is stopped."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.fleet.isolation import parent
from app.fleet.runs import claims, execute
from app.fleet.runs.results import Unwritten
from app.fleet.runs.tasks import Task
from app.fleet.workers import registry
from app.fleet.workers.heartbeat import Heartbeat
from app.fleet.workers.periodic import (
    LOAD,
    PERIODIC_TASKS,
    PeriodicTask,
    PeriodicThread,
    give_back,
    load_due,
)
from app.fleet.workers.watchdog import Watchdog
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.25
AWAY_SECONDS = (0.5, 1.0, 2.0, 5.0)
BATCH = 50
BATCH_SECONDS = 2.0
"""How much work one claim takes, estimated from the duration of recent runs."""
GOODBYES = 3
IDLE_PASSES = 3
LOAD_SECONDS = 2.0


class WorkerProcess:
    """This process as a worker: its heartbeat, its watchdog and its periodic tasks."""

    def __init__(
        self,
        app: Flask,
        *,
        engine: str,
        state: Callable[[], str],
        outdated: Callable[[], object],
        name: str | None = None,
        replaces: str | None = None,
        tasks: Sequence[PeriodicTask] = PERIODIC_TASKS,
    ) -> None:
        self.app = app
        self.heartbeat = Heartbeat(
            app,
            engine=engine,
            name=name or registry.new_name(),
            replaces=replaces,
            state=state,
            outdated=outdated,
        )
        self.tasks = tuple(tasks)
        self.not_begun, self.unwritten = claims.NotBegun(), Unwritten()
        self.busy = False
        self.ended = threading.Event()
        self._ending = threading.RLock()

    def start(self) -> None:
        """Start the threads. Runs can be taken once `name` is not None."""
        with self.app.app_context():
            parent.start()
        self.heartbeat.start()
        Watchdog(self).start()
        for task in self.tasks:
            PeriodicThread(task, self.heartbeat, self.ended).start()

    @property
    def name(self) -> str | None:
        """The name under which to claim runs; None while none may be claimed."""
        name = self.heartbeat.worker
        return name if self.heartbeat.is_recent and name == self.heartbeat.worker else None

    def execute(self, task: Task) -> bool:
        """Execute a claimed run, and write its result now or soon. False if that failed."""
        self.busy = True
        try:
            with self.app.app_context():
                if result := execute.execute_task(task):
                    self.unwritten.add(result)
                if self.unwritten.is_due:
                    self.write()
                if result:
                    execute.explain(result)
        except Exception:
            log.exception("run %s was left in the middle", task.run.id)
            self.lose()
            return False
        finally:
            self.busy = False
        return True

    def write(self) -> None:
        """Write the results of runs that have ended. Raises the errors of the catalog."""
        self.heartbeat.done += self.unwritten.write()

    @property
    def keeps_others_waiting(self) -> bool:
        """True if runs are claimed and not begun, or results not written."""
        return bool(self.not_begun or self.unwritten)

    def let_go(self, name: str) -> None:
        """Write the results, and release the runs that are not begun. Raises as `write`."""
        self.write()
        self.not_begun.release(name)

    def lose(self) -> None:
        """Take a new name: the old one is reported lost, and the databases of its runs are asked.

        For when it is unknown what the catalog knows of them.
        """
        self.not_begun.forget()
        self.unwritten.forget()
        self.heartbeat.rename()

    def take(self, name: str, limit: int) -> bool:
        """Claim up to `limit` runs; False if none is due. Raises the errors of the catalog.

        Results that wait are written where no run of their rollout could be claimed: then they may
        be the last of a wave.
        """
        with self.rename_on_failure(), self.app.app_context():
            claimed = self.not_begun.claim(name, limit)
            if self.unwritten.rollouts - self.not_begun.rollouts:
                self.write()
            return claimed

    @contextmanager
    def rename_on_failure(self) -> Iterator[None]:
        """Take a new worker name if the block fails: it may have claimed runs unnoticed."""
        try:
            yield
        except BaseException:
            self.lose()
            raise

    def end(self) -> None:
        """Release the runs that are not begun, and record that this worker has ended."""
        with self._ending:  # a second caller waits until the first is done
            if not self.ended.is_set():
                self.ended.set()
                self._say_goodbye()

    def _say_goodbye(self) -> None:
        for _ in range(GOODBYES):
            with suppress(HeadwayError, SQLAlchemyError), self.app.app_context():
                self.let_go(self.heartbeat.worker)
                give_back(self.tasks, self.heartbeat.worker)
                self.heartbeat.end()
                return
            time.sleep(0.5)
        log.warning("the end of worker %s could not be recorded", self.heartbeat.worker)


class WorkerLoop:
    """The loop of an embedded worker."""

    def __init__(self, process: WorkerProcess, stop: threading.Event) -> None:
        self.process, self.stop = process, stop
        self.average = BATCH_SECONDS
        self.away = 0
        self.load_at = 0.0

    def run(self) -> None:
        """Claim and execute runs until `stop` is set."""
        while not self.stop.is_set():
            pause = IDLE_SECONDS
            try:
                if (name := self.process.name) and self.take_and_run(name):
                    pause = 0.0
                self.away = 0
            except (HeadwayError, SQLAlchemyError) as error:
                if not self.away:
                    log.warning("nothing can be taken: %s", str(error).partition("\n")[0])
                pause = AWAY_SECONDS[min(self.away, len(AWAY_SECONDS) - 1)]
                self.away += 1
            self.stop.wait(pause)

    def take_and_run(self, name: str) -> bool:
        """Claim some runs and execute them; False if none was due."""
        process = self.process
        with process.app.app_context():
            self._load_due()
        some = process.take(name, self._size())
        while not self.stop.is_set() and process.name == name:
            if (task := process.not_begun.begin()) is None:
                break
            began = time.monotonic()
            process.execute(task)
            self.average += (time.monotonic() - began - self.average) * 0.3
        if process.not_begun:
            self.let_go(name)
        return some

    def let_go(self, name: str) -> None:
        """Keep nothing that others may wait for: results, and runs that are not begun."""
        process = self.process
        if process.keeps_others_waiting:
            with process.rename_on_failure(), process.app.app_context():
                process.let_go(name)

    def _size(self) -> int:
        return max(1, min(BATCH, int(BATCH_SECONDS / max(self.average, 0.01))))

    def _load_due(self) -> None:
        if time.monotonic() < self.load_at:
            return
        with self.process.heartbeat.keeping(LOAD) as held:
            if held:
                load_due()
        self.load_at = time.monotonic() + LOAD_SECONDS


def work_once(process: WorkerProcess, stop: threading.Event) -> int:
    """Do all that is due now, periodic tasks too. Returns the number of finished runs."""
    loop, quiet = WorkerLoop(process, stop), 0
    while quiet < IDLE_PASSES and not stop.is_set():
        if (name := process.name) is None:
            stop.wait(0.05)
            continue
        with process.app.app_context():
            for work in (load_due, *(chore.work for chore in PERIODIC_TASKS)):
                work()
        quiet = 0 if loop.take_and_run(name) else quiet + 1
    return process.heartbeat.done
