"""Claims: which run is next, and which worker has it. Safe with any number of workers.

A lock on one row of the catalog serialises claims, so that the limits of a rollout and of a
server hold exactly. A claim is two short queries and an update.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.rollouts import windows
from app.models import BEGUN, Database, Kind, Lease, Rollout, Run, Stage, State

CLAIMABLE = (Stage.PENDING, Stage.RUNNING, Stage.UNDOING)
"""Stages in which runs may begin; in PENDING only those of a rehearsal."""
AHEAD = 200
"""How many further runs to read to find one whose server is not busy."""


@dataclass
class _Room:
    """The number of runs on each server, against its limit, and the databases that have one."""

    per_server: Counter[str | None] = field(default_factory=Counter)
    databases: set[int] = field(default_factory=set)

    def take(self, server: str | None, database_id: int, most: int) -> bool:
        """True if a run of this database may begin, which is then counted."""
        if database_id in self.databases:
            return False
        if server is not None and self.per_server[server] >= most:
            return False
        self.per_server[server] += 1
        self.databases.add(database_id)
        return True


@repeated
def claim(worker: str, limit: int) -> list[int]:
    """Claim up to `limit` runs that are due. Returns their ids in order; they are `running`."""
    if not _anything_due():
        return []
    with writing() as session:
        _one_at_a_time(session)
        chosen = _due(session, limit)
        return [run for run in chosen if _claim_row(session, run, worker)]


@repeated
def take(run_id: int, worker: str) -> bool:
    """Claim one run; False if it is not due, is claimed already, or its server is busy."""
    with writing() as session:
        _one_at_a_time(session)
        run = session.get(Run, run_id, populate_existing=True)
        if run is None or run.state != State.PENDING:
            return False
        rollout = session.get_one(Rollout, run.rollout_id, populate_existing=True)
        if rollout.stage not in CLAIMABLE or run.wave > rollout.wave:
            return False
        if run.id not in _due_of(session, rollout, _running(session), 1, Run.id == run.id):
            return False
        return _claim_row(session, run_id, worker)


def next_ids(limit: int) -> list[int]:
    """The ids of runs that are due, in order, without claiming them."""
    found = _due(db.session, limit)
    db.session.rollback()
    return found


@repeated
def release(worker: str, runs: Sequence[int] | None = None) -> int:
    """Make claimed runs of a worker pending again: these, or all. Returns how many."""
    mine = [Run.worker == worker, Run.state == State.RUNNING]
    if runs is not None:
        mine.append(Run.id.in_(runs))
    ended = select(Rollout.id).where(Rollout.stage.in_([one for one in Stage if one.is_final]))
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
        self._next: list[int] = []
        self._unreleased: list[int] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._next or self._unreleased)

    def claim(self, worker: str, limit: int) -> bool:
        """Claim up to `limit` runs; False if none is due."""
        claimed = claim(worker, limit)
        with self._lock:
            self._next += claimed
        return bool(claimed)

    def begin(self) -> int | None:
        """The next run, which its caller alone may execute; None if there is none."""
        with self._lock:
            return self._next.pop(0) if self._next else None

    def release(self, worker: str) -> None:
        """Make them pending again, for other workers.

        From now on none of them is begun here. Raises the errors of the catalog: then call it
        again.
        """
        with self._lock:  # not held while the catalog answers: `begin` must not wait for it
            self._unreleased += self._next
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


def _one_at_a_time(session: CatalogSession) -> None:
    """Lock against other claims. On SQLite a writing session has done that already."""
    row = select(Lease.name).where(Lease.name == "claim").with_for_update()
    if session.scalar(row) is None:
        try:
            with session.begin_nested():
                session.execute(
                    insert(Lease).values(name="claim", holder="", until=datetime.now(UTC))
                )
        except IntegrityError:  # another was the first of all
            session.scalar(row)


def _anything_due() -> bool:
    """A quick check without a lock, for an idle fleet."""
    query = (
        select(Run.id)
        .join(Rollout, Rollout.id == Run.rollout_id)
        .where(Rollout.stage.in_(CLAIMABLE), Run.state == State.PENDING, Run.wave <= Rollout.wave)
        .limit(1)
    )
    found = db.session.scalar(query)
    db.session.rollback()
    return found is not None


def _due(session: CatalogSession, limit: int) -> list[int]:
    rollouts = session.scalars(
        select(Rollout)
        .where(Rollout.stage.in_(CLAIMABLE))
        .order_by(Rollout.id)
        .execution_options(populate_existing=True)
    ).all()
    room = _running(session) if rollouts else _Room()
    found: list[int] = []
    for rollout in rollouts:
        if len(found) < limit:
            found += _due_of(session, rollout, room, limit - len(found))
    return found


def _due_of(
    session: CatalogSession,
    rollout: Rollout,
    room: _Room,
    limit: int,
    *only: ColumnElement[bool],
) -> list[int]:
    now = datetime.now(UTC)
    if windows.closed_reason(rollout.window, now):
        return []
    running = session.scalar(
        select(func.count()).where(Run.rollout_id == rollout.id, Run.state == State.RUNNING)
    )
    limit = min(limit, rollout.concurrency - (running or 0))
    if limit <= 0:
        return []
    rows = session.execute(
        select(Run.id, Run.server, Run.database_id, Database.pin_until, Database.retired_at)
        .join(Database, Database.id == Run.database_id)
        .where(
            Run.rollout_id == rollout.id,
            Run.state == State.PENDING,
            Run.wave <= rollout.wave,
            or_(Run.retry_at.is_(None), Run.retry_at <= now),
            *_kinds(rollout),
            *only,
        )
        .order_by(Run.wave, Run.seq)
        .limit(AHEAD + limit)
    )
    found: list[int] = []
    for run_id, server, database_id, pin_until, retired_at in rows:
        pinned = pin_until and pin_until > now and not rollout.by_hand
        if (retired_at or pinned) and rollout.stage != Stage.PENDING:
            continue  # advance cancels it
        if room.take(server, database_id, rollout.per_server):
            found.append(run_id)
        if len(found) == limit:
            break
    return found


def _kinds(rollout: Rollout) -> list[ColumnElement[bool]]:
    """While a rollout is undone, only its undo runs may begin."""
    return [Run.kind == Kind.UNDO] if rollout.stage == Stage.UNDOING else []


def _running(session: CatalogSession) -> _Room:
    begun = select(Run.server, Run.database_id, Run.state).where(Run.state.in_(BEGUN))
    room = _Room()
    for server, database_id, state in session.execute(begun):
        room.databases.add(database_id)  # also one whose outcome is not known yet
        room.per_server[server] += state == State.RUNNING
    return room


def _claim_row(session: CatalogSession, run_id: int, worker: str) -> bool:
    done = session.execute(
        update(Run)
        .where(Run.id == run_id, Run.state == State.PENDING)
        .values(state=State.RUNNING, worker=worker, started_at=datetime.now(UTC), retry_at=None)
        .execution_options(synchronize_session=False)
    )
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]
