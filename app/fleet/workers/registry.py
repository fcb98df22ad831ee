"""The register of workers: which processes take runs, and which of them are alive."""

import os
import platform
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, insert, select, update

from app.extensions import db
from app.fleet.core.leases import clock
from app.fleet.core.pagination import page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import in_passing
from app.models import Worker
from app.settings import RELEASE

EMBEDDED, CELERY = "embedded", "celery"
BEAT_SECONDS = 3.0
LOST_SECONDS = 20.0
"""A worker without a heartbeat for this time is lost, and its runs are inspected."""
FRESH_SECONDS = LOST_SECONDS / 2
"""A worker whose last heartbeat is older begins no run."""
KEPT = timedelta(days=7)
"""How long an ended worker stays in the list."""


class Life(StrEnum):
    """The state of a worker."""

    ALIVE = "alive"
    SILENT = "silent"  # no heartbeat for LOST_SECONDS; its runs are inspected
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class WorkerInfo:
    """A worker and its state at the moment of the query."""

    id: int
    name: str
    host: str
    pid: int
    release: str
    engine: str
    done: int
    """The number of runs it has finished."""
    state: Life
    started_at: datetime
    beat_at: datetime

    @classmethod
    def of(cls, worker: Worker, since: datetime) -> "WorkerInfo":
        """From a row: alive if its last heartbeat is not older than `since`."""
        ended = Life.STOPPED if worker.stopped_at else Life.SILENT
        return cls(
            id=worker.id,
            name=worker.name,
            host=worker.host,
            pid=worker.pid,
            release=worker.release,
            engine=worker.engine,
            done=worker.done,
            state=ended if worker.stopped_at or worker.beat_at < since else Life.ALIVE,
            started_at=worker.started_at,
            beat_at=worker.beat_at,
        )


def new_name() -> str:
    """A unique name for a worker in this process."""
    return f"{platform.node()[:100] or 'localhost'}-{os.getpid()}-{secrets.token_hex(3)}"


def register(name: str, engine: str, *, replaces: str | None = None) -> None:
    """Register this process as a worker; the one that it replaces is marked as stopped."""
    with in_passing() as connection:
        now = clock(connection)
        if replaces:
            dead = update(Worker).where(Worker.name == replaces, Worker.stopped_at.is_(None))
            connection.execute(dead.values(stopped_at=now))
        connection.execute(delete(Worker).where(Worker.beat_at < now - KEPT))
        connection.execute(
            insert(Worker).values(
                name=name,
                host=platform.node()[:255],
                pid=os.getpid(),
                release=RELEASE,
                engine=engine,
                started_at=now,
                beat_at=now,
            )
        )


def beat(name: str, done: int = 0) -> bool:
    """Store a heartbeat and the number of finished runs. False if the worker is not registered."""
    with in_passing() as connection:
        updated = connection.execute(
            update(Worker)
            .where(Worker.name == name, Worker.stopped_at.is_(None))
            .values(beat_at=clock(connection), done=done)
        )
        return bool(updated.rowcount)


def stop(name: str, done: int = 0) -> None:
    """Record that this worker has ended and has no run."""
    with in_passing() as connection:
        now = clock(connection)
        ended = update(Worker).where(Worker.name == name, Worker.stopped_at.is_(None))
        connection.execute(ended.values(stopped_at=now, beat_at=now, done=done))


def gone(names: Collection[str]) -> list[str]:
    """Which of these workers have stopped, are lost, or are not registered; sorted."""
    alive = select(Worker.name).where(
        Worker.name.in_(names), Worker.stopped_at.is_(None), Worker.beat_at >= _alive_since()
    )
    return sorted(set(names) - set(db.session.scalars(alive)))


def list_workers(
    actor: Actor, *, limit: int, after: int | None = None, gone: bool = False
) -> tuple[list[WorkerInfo], int | None]:
    """A page of the workers that are alive, and the `after` of the next page.

    With `gone`, also those that ended within the last week.
    """
    actor.require("workers.read")
    since = _alive_since()
    query = select(Worker).order_by(Worker.id)
    if after is not None:
        query = query.where(Worker.id > after)
    if not gone:
        query = query.where(Worker.stopped_at.is_(None), Worker.beat_at >= since)
    found, following = page_of(query, limit)
    return [WorkerInfo.of(one, since) for one in found], following


def count_alive() -> int:
    """The number of workers that are alive."""
    query = select(func.count()).where(
        Worker.stopped_at.is_(None), Worker.beat_at >= _alive_since()
    )
    return db.session.scalar(query) or 0


def _alive_since() -> datetime:
    return clock(db.session.connection()) - timedelta(seconds=LOST_SECONDS)
