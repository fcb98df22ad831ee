"""Attempts: runs made again, left out, or not begun."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select, update

from app.fleet.core.transactions import CatalogSession
from app.fleet.rollouts import start
from app.models import Database, Kind, Rollout, Run, State
from headway.errors import DatabaseMoved


def latest(rollout: Rollout, kind: str | None = None) -> tuple[ColumnElement[bool], ...]:
    """The last attempt on each of its databases, of its own kind or of this one."""
    return (
        Run.rollout_id == rollout.id,
        Run.kind == (kind or rollout.kind),
        Run.replaced_by.is_(None),
    )


def count(session: CatalogSession, rollout: Rollout, *which: ColumnElement[bool]) -> int:
    """How many of a rollout's runs, attempts that were repeated not counted."""
    return session.scalar(select(func.count()).where(*latest(rollout), *which)) or 0


def retry_failed(session: CatalogSession, rollout: Rollout) -> int:
    """The failed ones once more, and those of a canary that was taken back."""
    some = (Run.state == State.FAILED) | _taken_back(rollout)
    return _replace(session, rollout, *latest(rollout), some)


def retry_undo(session: CatalogSession, rollout: Rollout) -> int:
    """Those once more that could not be taken back."""
    return _replace(session, rollout, *latest(rollout, Kind.UNDO), Run.state == State.FAILED)


def _taken_back(rollout: Rollout) -> ColumnElement[bool]:
    undo = select(Run.undoes).where(
        Run.rollout_id == rollout.id, Run.kind == Kind.UNDO, Run.state == State.SUCCEEDED
    )
    return Run.id.in_(undo.scalar_subquery())


def _replace(session: CatalogSession, rollout: Rollout, *which: ColumnElement[bool]) -> int:
    """New attempts in the place of these runs, which stay as they ended; how many."""
    old = session.scalars(select(Run).where(*which)).all()
    for run in old:
        new = Run(
            rollout_id=run.rollout_id,
            database_id=run.database_id,
            kind=run.kind,
            wave=run.wave,
            seq=run.seq,
            server=run.server,
            undoes=run.undoes,
            before=_planned_from(session, run),
            aim=run.aim,
        )
        session.add(new)
        session.flush()
        run.replaced_by = new.id
    if old:
        start.hold(session, rollout)
    return len(old)


def _planned_from(session: CatalogSession, run: Run) -> str | None:
    """Where the next attempt expects its database: where this rollout left it.

    One that was found elsewhere is shown to a person; tried again, it goes on from there.
    """
    if run.undoes:
        return None  # an undo knows from the run that it takes back
    if run.problem == DatabaseMoved.slug():
        return session.get_one(Database, run.database_id).current
    left = select(Run.after).where(
        Run.rollout_id == run.rollout_id,
        Run.database_id == run.database_id,
        Run.kind.in_((run.kind, Kind.UNDO)),
        Run.after.is_not(None),
    )
    after = session.scalar(left.order_by(Run.id.desc()).limit(1))
    return run.before if after is None else after


def leave_out(session: CatalogSession, rollout: Rollout) -> None:
    """Go on without those that failed: so many may, from now on.

    What had succeeded and went back with the canary is done again.
    """
    failed = count(session, rollout, Run.state == State.FAILED)
    rollout.gate = rollout.gate | {"failures": max(rollout.gate["failures"], failed)}
    well = (Run.state == State.SUCCEEDED, _taken_back(rollout))
    _replace(session, rollout, *latest(rollout), *well)


def cancel_pending(session: CatalogSession, rollout: Rollout) -> None:
    """Begin none of those that wait."""
    session.execute(
        update(Run)
        .where(Run.rollout_id == rollout.id, Run.state == State.PENDING)
        .values(state=State.CANCELLED, finished_at=datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
