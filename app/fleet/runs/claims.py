"""Claims: which runs are next, and which worker has them. Safe with any number of workers.

A lock on one row of the catalog serialises claims, so that the limits of a rollout and of a
server hold exactly. A worker executes one run at a time, so these limits count workers: however
many runs one has claimed, it is at work on one database.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.rollouts import windows
from app.fleet.runs.tasks import Task
from app.models import BEGUN, Database, Kind, Lease, Rollout, Run, Stage, State

CLAIMABLE = (Stage.PENDING, Stage.RUNNING, Stage.UNDOING)
"""Stages in which runs may begin; in PENDING only those of a rehearsal."""
AHEAD = 200
"""How many further runs to read to find one whose server is not busy."""


@dataclass
class _Room:
    """Which workers are at work where, and the databases that have a run."""

    on_server: dict[str | None, set[str]] = field(default_factory=lambda: defaultdict(set))
    in_rollout: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    databases: set[int] = field(default_factory=set)


@repeated
def claim(worker: str, limit: int) -> list[int]:
    """Claim up to `limit` runs that are due. Returns their ids in order; they are `running`.

    Several are of one server, or of files, so that other workers have the other servers.
    """
    if not _anything_due():
        return []
    with writing() as session:
        _one_at_a_time(session)
        chosen = _due(session, worker, limit)
        return _claim_rows(session, chosen, worker) if chosen else []


def is_pending(run_id: int) -> bool:
    """True if no worker has claimed a run, and it has not ended."""
    found = db.session.scalar(select(Run.state).where(Run.id == run_id))
    db.session.rollback()
    return found == State.PENDING


def next_ids(limit: int) -> list[int]:
    """The ids of runs that are due, in order, without claiming them."""
    found = _due(db.session, None, limit)
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
        self._next: list[Task] = []
        self._unreleased: list[int] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._next or self._unreleased)

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
        again.
        """
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


def _due(session: CatalogSession, worker: str | None, limit: int) -> list[int]:
    rollouts = session.scalars(
        select(Rollout)
        .where(Rollout.stage.in_(CLAIMABLE))
        .order_by(Rollout.id)
        .execution_options(populate_existing=True)
    ).all()
    room = _running(session, worker) if rollouts else _Room()
    found: dict[int, str | None] = {}
    for rollout in rollouts:
        if len(found) < limit:
            _add_due(session, rollout, room, found, worker=worker, limit=limit)
    return list(found)


def _add_due(
    session: CatalogSession,
    rollout: Rollout,
    room: _Room,
    found: dict[int, str | None],
    *,
    worker: str | None,
    limit: int,
) -> None:
    """Add the runs of a rollout that a worker may take, with their servers, up to a limit.

    For None those that any worker may take.
    """
    now = datetime.now(UTC)
    at_work = len(room.in_rollout[rollout.id])
    if windows.closed_reason(rollout.window, now) or at_work >= rollout.concurrency:
        return
    rows = session.execute(
        select(Run.id, Run.server, Run.database_id, Database.pin_until, Database.retired_at)
        .join(Database, Database.id == Run.database_id)
        .where(
            Run.rollout_id == rollout.id,
            Run.state == State.PENDING,
            Run.wave <= rollout.wave,
            or_(Run.retry_at.is_(None), Run.retry_at <= now),
            *_kinds(rollout),
        )
        .order_by(Run.wave, Run.seq)
        .limit(AHEAD + limit)
    )
    for run_id, server, database_id, pin_until, retired_at in rows:
        pinned = pin_until and pin_until > now and not rollout.by_hand
        if (retired_at or pinned) and rollout.stage != Stage.PENDING:
            continue  # advance cancels it
        is_full = server is not None and len(room.on_server[server]) >= rollout.per_server
        if is_full or database_id in room.databases:
            continue
        if worker is not None and found and server not in found.values():
            continue
        room.databases.add(database_id)
        found[run_id] = server
        if len(found) == limit:
            return


def _kinds(rollout: Rollout) -> list[ColumnElement[bool]]:
    """While a rollout is undone, only its undo runs may begin."""
    return [Run.kind == Kind.UNDO] if rollout.stage == Stage.UNDOING else []


def _running(session: CatalogSession, me: str | None) -> _Room:
    """What other workers have begun; and the databases of runs whose outcome is not known yet."""
    columns = (Run.server, Run.database_id, Run.state, Run.worker, Run.rollout_id)
    room = _Room()
    for server, database_id, state, worker, rollout in session.execute(
        select(*columns).where(Run.state.in_(BEGUN))
    ):
        room.databases.add(database_id)
        if state == State.RUNNING and worker not in (None, me):
            room.on_server[server].add(worker)
            room.in_rollout[rollout].add(worker)
    return room


def _claim_rows(session: CatalogSession, runs: Sequence[int], worker: str) -> list[int]:
    """Claim these. Returns those that were still pending: one may have been cancelled since."""
    still = select(Run.id).where(Run.id.in_(runs), Run.state == State.PENDING).with_for_update()
    mine = set(session.scalars(still))
    session.execute(
        update(Run)
        .where(Run.id.in_(mine), Run.state == State.PENDING)
        .values(state=State.RUNNING, worker=worker, started_at=datetime.now(UTC), retry_at=None)
        .execution_options(synchronize_session=False)
    )
    return [run for run in runs if run in mine]
