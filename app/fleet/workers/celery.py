"""Workers on Celery: a broker distributes the runs to any number of machines.

A message holds only the id of a run. The catalog decides what is due and which worker has it: a
lost message is sent again, and a repeated one finds that the run is taken.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from billiard import current_process
from billiard.util import set_pdeathsig
from celery import Celery, signals
from flask import Flask
from kombu.connection import Connection
from kombu.exceptions import KombuError
from sqlalchemy.exc import SQLAlchemyError

from app.errors import BrokerUnreachable
from app.extensions import db
from app.fleet.projects import scripts
from app.fleet.runs import claims
from app.fleet.workers import registry
from app.fleet.workers.periodic import LOAD, PERIODIC_TASKS, PeriodicTask, load_due
from app.fleet.workers.worker import WorkerLoop, WorkerProcess
from app.settings import Settings
from headway.errors import HeadwayError, SettingInvalid
from headway.parent import when_orphaned

log = logging.getLogger(__name__)

QUEUE = "headway"
TASK = "headway.run"
LOAD_TASK = "headway.load"
AHEAD = 200
"""How many runs are sent at once."""
AGAIN_SECONDS = 30.0
"""A run that no worker took is sent again after this time."""
RESEND_SECONDS = 3.0
"""A run that no worker took is sent again after this time if the queue is empty."""
BURST_SECONDS, FOLLOW_SECONDS = 1.0, 0.05
NAME_SECONDS = 20.0
"""How long a process that has a message waits for its registration as a worker."""


def celery_for(app: Flask, *, state: Callable[[], str]) -> Celery:
    """The Celery app of a Flask app: its broker, its tasks, and a worker in each child process.

    Raises SettingInvalid if there is no broker.
    """
    settings: Settings = app.extensions["headway"]
    if not settings.broker_url:
        raise SettingInvalid(
            "HEADWAY_BROKER_URL is not set. Set it to the URL of Redis or RabbitMQ: "
            "redis://host:6379/0, amqp://user:password@host:5672/"
        )
    celery = Celery("headway", broker=settings.broker_url, set_as_current=False)
    celery.conf.update(CONFIGURATION)
    worker = _CeleryWorker(app, celery, state)

    @celery.task(name=TASK)  # type: ignore[untyped-decorator]
    def run(run_id: int) -> None:
        worker.run(run_id)

    @celery.task(name=LOAD_TASK)  # type: ignore[untyped-decorator]
    def load() -> None:
        worker.load()

    signals.worker_process_init.connect(worker.begin, weak=False)
    for ended in (signals.worker_process_shutdown, signals.worker_shutdown):
        ended.connect(worker.end, weak=False)
    signals.worker_init.connect(_refuse_threads, weak=False)
    return celery


CONFIGURATION: dict[str, Any] = {
    "task_default_queue": QUEUE,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_proc_alive_timeout": 60.0,
    # Whoever reaches the broker could end the workers, or read what they hold.
    "worker_enable_remote_control": False,
    "worker_send_task_events": True,
    "task_send_sent_event": True,
    # A migration does not end because the broker does.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_transport_options": {
        "visibility_timeout": 24 * 3600,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "max_retries": 1,
    },
    "broker_connection_timeout": 5,
}


class _CeleryWorker:
    """The signal handlers and tasks of one Celery worker; each child has a copy of this."""

    def __init__(self, app: Flask, celery: Celery, state: Callable[[], str]) -> None:
        self.app, self.celery, self.state = app, celery, state
        self.process: WorkerProcess | None = None
        self.loop: WorkerLoop | None = None

    def begin(self, **_: object) -> None:
        """In a new child: open its own connections and start its heartbeat."""
        with self.app.app_context():
            db.engine.dispose(close=False)  # those of the parent are not ours to close
        publisher = Publisher(self.celery)
        self.process = WorkerProcess(
            self.app,
            engine=registry.CELERY,
            state=self.state,
            outdated=_end_all,
            tasks=(
                *PERIODIC_TASKS,
                PeriodicTask("publish", 0.25, publisher.publish),
                PeriodicTask("publish load", 2.0, publisher.publish_load),
            ),
        )
        self.process.start()
        self.loop = WorkerLoop(self.process, threading.Event())
        if current_process().daemon:
            _outlive(self.process)

    def end(self, **_: object) -> None:
        """In a child that ends and has no run."""
        if self.process:
            self.process.end()

    def load(self) -> None:
        """Read the scripts of the projects that are due. No migration runs in this child now."""
        assert self.process is not None  # noqa: S101  # the child has begun
        with self.app.app_context(), self.process.heartbeat.keeping(LOAD) as held:
            if held:
                load_due()

    def run(self, run_id: int) -> None:
        """Execute runs that are due, unless this one was claimed already."""
        process, loop = self.process, self.loop
        assert process is not None  # noqa: S101  # the child has begun
        assert loop is not None  # noqa: S101
        deadline = time.monotonic() + NAME_SECONDS
        while (name := process.name) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if name is None:
            return  # it is sent again
        try:
            with self.app.app_context():
                is_pending = claims.is_pending(run_id)
            if is_pending:
                loop.take_and_run(name)
                loop.let_go(name)  # the next message may be long in coming
        except (HeadwayError, SQLAlchemyError) as error:
            log.warning("run %s cannot be taken: %s", run_id, error)


class Publisher:
    """Sends the runs that are due to the broker, and remembers what it sent."""

    def __init__(self, celery: Celery) -> None:
        self.celery = celery
        self.sent: dict[int, float] = {}
        self.load_at = 0.0

    def publish_load(self) -> None:
        """Send a task that reads changed scripts, if there are any. Raises BrokerUnreachable."""
        now = time.monotonic()
        if now < self.load_at or not scripts.due():
            return
        with self.celery.connection_for_write() as connection, _reaching(connection):
            connection.ensure_connection(max_retries=1, timeout=5)
            self.celery.send_task(LOAD_TASK, connection=connection, retry=False)
        self.load_at = now + AGAIN_SECONDS

    def publish(self) -> None:
        """Send each run that is due and not sent yet, and those that become due within a second.

        No more runs are due than may run at once, so fast workers need the next ones soon. Raises
        BrokerUnreachable.
        """
        until = time.monotonic() + BURST_SECONDS
        with self.celery.connection_for_write() as connection, _reaching(connection):
            while due := claims.next_ids(AHEAD):
                self._send(connection, due)
                if time.monotonic() > until:
                    return
                time.sleep(FOLLOW_SECONDS)

    def _send(self, connection: Connection, due: list[int]) -> None:
        now = time.monotonic()
        self.sent = {run: at for run, at in self.sent.items() if now - at < AGAIN_SECONDS}
        fresh = [run for run in due if run not in self.sent]
        overdue = [run for run in due if now - self.sent.get(run, now) > RESEND_SECONDS]
        if not fresh and not overdue:
            return
        connection.ensure_connection(max_retries=1, timeout=5)  # type: ignore[no-untyped-call]
        if overdue and _waiting(connection) == 0:
            fresh += overdue
        with self.celery.amqp.Producer(connection) as producer:
            for run in fresh:
                self.celery.send_task(TASK, (run,), producer=producer, retry=False)
                self.sent[run] = now


@contextmanager
def _reaching(connection: Connection) -> Iterator[None]:
    try:
        yield
    except (*connection.connection_errors, *connection.channel_errors, KombuError) as error:
        # Its words name a host and a port, and never a password.
        raise BrokerUnreachable(f"The broker does not answer: {error}") from error


def _waiting(connection: Connection) -> int:
    """The number of messages in the queue."""
    with connection.channel() as channel:  # type: ignore[no-untyped-call]
        try:
            return int(channel.queue_declare(QUEUE, passive=True).message_count)
        except (*connection.channel_errors, KeyError):
            return 0  # there is no queue yet


def _end_all() -> None:
    """A newer release is deployed: end this worker; its supervisor starts the new one."""
    os.kill(os.getppid() if current_process().daemon else os.getpid(), signal.SIGTERM)


def _outlive(process: WorkerProcess) -> None:
    """In a child: finish the current run even if the main process of Celery ends."""
    # A signal to the whole process group is meant for the main process, which informs us.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):  # not on Linux
        set_pdeathsig(signal.SIGTERM)  # Celery has its children killed when it is

    def end() -> None:
        while process.busy:
            time.sleep(0.1)
        process.end()
        os._exit(0)

    when_orphaned(os.getppid(), end)


def _refuse_threads(sender: Any, **_: object) -> None:
    pool = getattr(sender, "pool_cls", None)
    kind = getattr(pool, "__module__", str(pool)).rpartition(".")[2]
    if kind not in ("prefork", "solo"):
        raise SystemExit(
            f"Alembic migrates one database at a time in a process, and the pool `{kind}` runs "
            "several. Use --pool=prefork."
        )
