"""Claims: which runs are next, and which worker has them. Safe with any number of workers.

A lock on one row of the catalog serialises claims, so that the limits of a rollout and of a
server hold exactly. A worker executes one run at a time, so these limits count workers: however
many runs one has claimed, it is at work on one database.
"""

import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.rollouts.rules import windows
from app.fleet.runs.tasks import Task
from app.models import BEGUN, ENDED_STAGES, Database, Kind, Lease, Rollout, Run, Stage, State
from app.models.columns import rare

CLAIMABLE = (Stage.PENDING, Stage.RUNNING, Stage.UNDOING)
"""Stages in which runs may begin; in PENDING only those of a rehearsal."""
PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Seconds, at most, before each try to claim while others do."""
SHARE = 8
"""So many runs a worker may claim even if it leaves none to others."""
AHEAD = 100
"""How many further runs to read to find one whose server is not busy."""
MOST_COUNTED = 2_000
"""Of more that are due, sixteen workers may each claim as many as a claim may have."""


@dataclass
class _Room:
    """Which workers are at work where, and the databases that have a run."""

    on_server: dict[str | None, set[str]] = field(default_factory=lambda: defaultdict(set))
    in_rollout: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    databases: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Due:
    """What could begin of a rollout."""

    rollout: int
    concurrency: int
    per_server: int
    runs: list[tuple[int, str | None, int]]
    """Run, server, database: in order, the first of those that are due."""
    many: int
    """How many are due, up to MOST_COUNTED."""


@repeated
def claim(worker: str, limit: int) -> list[int]:
    """Claim up to `limit` runs that are due. Returns their ids in order; they are `running`.

    All are of one server, or files, so that other workers have the other servers; and they are a
    share of what is due, so that each worker has some. [] too where others keep claiming.
    """
    if not (due := _due(limit)):
        return []
    for pause in PAUSES:
        time.sleep(pause * random.random())  # noqa: S311  # no secret: so that not all come at once
        with writing() as session:
            if _lock(session):
                chosen = _chosen(due, _running(session, worker), worker, limit)
                return _claim_rows(session, chosen, worker) if chosen else []
    return []


def is_pending(run_id: int) -> bool:
    """True if no worker has claimed a run, and it has not ended."""
    found = db.session.scalar(select(Run.state).where(Run.id == run_id))
    db.session.rollback()
    return found == State.PENDING


def next_ids(limit: int) -> list[int]:
    """The ids of runs that are due, in order, without claiming them."""
    if not (due := _due(limit)):
        return []
    found = _chosen(due, _running(db.session, None), None, limit)
    db.session.rollback()
    return found


@repeated
def release(worker: str, runs: Sequence[int] | None = None) -> int:
    """Make claimed runs of a worker pending again: these, or all. Returns how many."""
    mine = [Run.worker == worker, Run.state == State.RUNNING]
    if runs is not None:
        mine.append(Run.id.in_(runs))
    ended = select(Rollout.id).where(Rollout.stage.in_(ENDED_STAGES))
    with writing() as session:
        session.execute(
            update(Run)
            .where(*mine, Run.rollout_id.in_(ended))
            .values(state=State.CANCELLED, worker=None, finished_at=datetime.now(UTC))
            .execution_options(synchronize_session=False)
        )
        done = session.execute(
            update(Run)
            .where(*mine)
            .values(state=State.PENDING, worker=None, started_at=None)
            .execution_options(synchronize_session=False)
        )
    return int(done.rowcount)  # type: ignore[attr-defined]


class NotBegun:
    """The runs that a worker process has claimed and not begun. Safe between threads."""

    def __init__(self) -> None:
        self._next: list[Task] = []
        self._unreleased: list[int] = []
        self._lock = threading.Lock()
        self._releasing = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._next or self._unreleased)

    @property
    def rollouts(self) -> set[int]:
        """The rollouts of which there are some."""
        with self._lock:
            return {task.rollout.id for task in self._next}

    def claim(self, worker: str, limit: int) -> bool:
        """Claim up to `limit` runs; False if none is due."""
        claimed = claim(worker, limit)
        tasks = Task.read(claimed, worker) if claimed else []
        with self._lock:
            self._next += tasks
        return bool(claimed)

    def begin(self) -> Task | None:
        """The next run, which its caller alone may execute; None if there is none."""
        with self._lock:
            return self._next.pop(0) if self._next else None

    def release(self, worker: str) -> None:
        """Make them pending again, for other workers.

        From now on none of them is begun here. Raises the errors of the catalog: then call it
        again. One call at a time: a late one would release what was claimed again since.
        """
        with self._releasing:
            with self._lock:  # not held while the catalog answers: `begin` must not wait for it
                self._unreleased += [task.run.id for task in self._next]
                self._next = []
                runs = tuple(self._unreleased)
            if runs:
                release(worker, runs)
            with self._lock:
                self._unreleased = [run for run in self._unreleased if run not in runs]

    def forget(self) -> None:
        """Begin and release none of them: their worker is reported lost under its old name."""
        with self._lock:
            self._next, self._unreleased = [], []


def _lock(session: CatalogSession) -> bool:
    """Lock against other claims until the transaction ends. False if another has the lock.

    On SQLite a writing session has it already. Elsewhere whoever has it waits for nothing but the
    catalog; on PostgreSQL nobody queues for it, since a queue is served at the pace of its slowest.
    """
    skips = db.engine.dialect.name == "postgresql"
    row = select(Lease.name).where(Lease.name == "claim")
    if session.scalar(row.with_for_update(skip_locked=skips)) is not None:
        return True
    if session.scalar(row) is None:
        try:
            with session.begin_nested():
                session.execute(
                    insert(Lease).values(name="claim", holder="", until=datetime.now(UTC))
                )
        except IntegrityError:  # another was the first of all
            return False
        return True
    return False


def _due(limit: int) -> list[_Due]:
    """What could begin. Read without a lock: who claims it meanwhile is seen under the lock."""
    rollouts = db.session.scalars(
        select(Rollout)
        .where(Rollout.stage.in_(CLAIMABLE))
        .order_by(Rollout.id)
        .execution_options(populate_existing=True)
    ).all()
    found, seen = [], 0
    for rollout in rollouts:
        if seen < AHEAD and (runs := _runs_due(rollout, AHEAD + limit)):
            many = _count_due(rollout) if len(runs) >= AHEAD else len(runs)
            found.append(_Due(rollout.id, rollout.concurrency, rollout.per_server, runs, many))
            seen += len(runs)
    db.session.rollback()
    return found


def _runs_due(rollout: Rollout, limit: int) -> list[tuple[int, str | None, int]]:
    now = datetime.now(UTC)
    if windows.closed_reason(rollout.window, now):
        return []
    rows = db.session.execute(
        select(Run.id, Run.server, Run.database_id, Database.pin_until, Database.retired_at)
        .join(Database, Database.id == Run.database_id)
        .where(
            *_of_wave(rollout),
            or_(Run.retry_at.is_(None), Run.retry_at <= now),
        )
        .order_by(Run.wave, Run.seq)
        .limit(limit)
    )
    found = []
    for run_id, server, database_id, pin_until, retired_at in rows:
        pinned = pin_until and pin_until > now and not rollout.by_hand
        if not (retired_at or pinned) or rollout.stage == Stage.PENDING:
            found.append((run_id, server, database_id))  # the others: advance cancels them
    return found


def _count_due(rollout: Rollout) -> int:
    """How many runs of a rollout are pending, up to MOST_COUNTED, with those that wait."""
    some = select(Run.id).where(*_of_wave(rollout)).limit(MOST_COUNTED).subquery()
    return db.session.scalar(select(func.count()).select_from(some)) or 0


def _of_wave(rollout: Rollout) -> list[ColumnElement[bool]]:
    """The pending runs of its waves so far; while it is undone, only its undo runs."""
    pending = [
        Run.rollout_id == rollout.id,
        Run.state == State.PENDING,
        Run.wave <= rollout.wave,
    ]
    return [*pending, Run.kind == Kind.UNDO] if rollout.stage == Stage.UNDOING else pending


def _chosen(due: Sequence[_Due], room: _Room, worker: str | None, limit: int) -> list[int]:
    """Runs that a worker may take; those that any may, in order, for None."""
    found: dict[int, str | None] = {}
    for one in due:
        others = len(room.in_rollout[one.rollout])
        if others >= one.concurrency:
            continue
        share = max(SHARE, math.ceil(one.many / (2 * (others + 1))))
        most = min(limit, len(found) + (limit if worker is None else share))
        for run_id, server, database_id in one.runs:
            if len(found) >= most:
                break
            is_full = server is not None and len(room.on_server[server]) >= one.per_server
            is_elsewhere = worker is not None and found and server not in found.values()
            if is_full or is_elsewhere or database_id in room.databases:
                continue
            room.databases.add(database_id)
            found[run_id] = server
    return list(found)


def _running(session: CatalogSession, me: str | None) -> _Room:
    """What other workers have begun; and the databases of runs whose outcome is not known yet."""
    columns = (Run.server, Run.database_id, Run.state, Run.worker, Run.rollout_id)
    room = _Room()
    for server, database_id, state, worker, rollout in session.execute(
        select(*columns).where(rare(Run.state.in_(BEGUN)))
    ):
        room.databases.add(database_id)
        if state == State.RUNNING and worker not in (None, me):
            room.on_server[server].add(worker)
            room.in_rollout[rollout].add(worker)
    return room


def _claim_rows(session: CatalogSession, runs: Sequence[int], worker: str) -> list[int]:
    """Claim these. Returns those that were still pending: one may have been cancelled since."""
    done = session.execute(
        update(Run)
        .where(Run.id.in_(runs), Run.state == State.PENDING)
        .values(state=State.RUNNING, worker=worker, started_at=datetime.now(UTC), retry_at=None)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount == len(runs):  # type: ignore[attr-defined]
        return list(runs)
    mine = select(Run.id).where(Run.id.in_(runs), Run.state == State.RUNNING, Run.worker == worker)
    ours = set(session.scalars(mine))
    return [run for run in runs if run in ours]
