"""Workers: the processes that take runs. Each says that it is alive, or is believed to be gone."""

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
"""After so long without a beat a worker is gone, and what it was doing is looked at."""
FRESH_SECONDS = LOST_SECONDS / 2
"""A worker that has not been heard for so long begins nothing new."""
KEPT = timedelta(days=7)
"""How long a worker that is gone stays in the list."""


class Life(StrEnum):
    """What is known of a worker."""

    ALIVE = "alive"
    SILENT = "silent"  # nobody knows why; what it had in its hands is looked at
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class WorkerInfo:
    """A worker, as it was just seen."""

    id: int
    name: str
    host: str
    pid: int
    release: str
    engine: str
    done: int
    """How many runs it has done."""
    state: Life
    started_at: datetime
    beat_at: datetime

    @classmethod
    def of(cls, worker: Worker, since: datetime) -> "WorkerInfo":
        """Alive if it was heard since."""
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
    """A name for this process that no other has, or will have."""
    return f"{platform.node()[:100] or 'localhost'}-{os.getpid()}-{secrets.token_hex(3)}"


def register(name: str, engine: str, *, replaces: str | None = None) -> None:
    """This process is a worker from now on; the one it replaces is known to be dead."""
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
    """Say that this worker is alive, and how many runs it has done. False if nobody knows it."""
    with in_passing() as connection:
        updated = connection.execute(
            update(Worker)
            .where(Worker.name == name, Worker.stopped_at.is_(None))
            .values(beat_at=clock(connection), done=done)
        )
        return bool(updated.rowcount)


def stop(name: str, done: int = 0) -> None:
    """This worker has ended, on purpose: nothing is left in its hands."""
    with in_passing() as connection:
        now = clock(connection)
        ended = update(Worker).where(Worker.name == name, Worker.stopped_at.is_(None))
        connection.execute(ended.values(stopped_at=now, beat_at=now, done=done))


def gone(names: Collection[str]) -> list[str]:
    """Those of these workers that have ended, have not been heard for long, or are not known."""
    alive = select(Worker.name).where(
        Worker.name.in_(names), Worker.stopped_at.is_(None), Worker.beat_at >= _alive_since()
    )
    return sorted(set(names) - set(db.session.scalars(alive)))


def list_workers(
    actor: Actor, *, limit: int, after: int | None = None, gone: bool = False
) -> tuple[list[WorkerInfo], int | None]:
    """A page of those that are alive, and what to send as `after` for the next one.

    With `gone`, also those that were, for a week.
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
    """How many there are, for the metrics."""
    query = select(func.count()).where(
        Worker.stopped_at.is_(None), Worker.beat_at >= _alive_since()
    )
    return db.session.scalar(query) or 0


def _alive_since() -> datetime:
    return clock(db.session.connection()) - timedelta(seconds=LOST_SECONDS)
