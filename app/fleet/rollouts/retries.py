"""Further attempts of runs, and the cancelling of pending ones."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, select, update

from app.fleet.core.transactions import CatalogSession
from app.fleet.counts import tallies
from app.fleet.rollouts import start
from app.fleet.rollouts.crud import latest_runs
from app.models import Database, Kind, Rollout, Run, State
from headway.errors import DatabaseMoved


def count(session: CatalogSession, rollout: Rollout, *which: ColumnElement[bool]) -> int:
    """The number of last attempts of a rollout that meet these conditions."""
    return session.scalar(select(func.count()).where(*latest_runs(rollout), *which)) or 0


def retry_failed(session: CatalogSession, rollout: Rollout) -> int:
    """Add a new attempt for each failed run, and for runs of a canary that was undone."""
    some = (Run.state == State.FAILED) | _taken_back(rollout)
    return _replace(session, rollout, *latest_runs(rollout), some)


def retry_undo(session: CatalogSession, rollout: Rollout) -> int:
    """Add a new attempt for each undo run that failed."""
    return _replace(session, rollout, *latest_runs(rollout, Kind.UNDO), Run.state == State.FAILED)


def _taken_back(rollout: Rollout) -> ColumnElement[bool]:
    undo = select(Run.undoes).where(
        Run.rollout_id == rollout.id, Run.kind == Kind.UNDO, Run.state == State.SUCCEEDED
    )
    return Run.id.in_(undo.scalar_subquery())


def _replace(session: CatalogSession, rollout: Rollout, *which: ColumnElement[bool]) -> int:
    """Add a new attempt for each of these runs, which keep their results. Returns how many."""
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
            attempt=run.attempt + 1,
            first_attempt=run.attempt + 1,
            before=_planned_from(session, run),
            aim=run.aim,
        )
        session.add(new)
        session.flush()
        run.replaced_by = new.id
    if old:
        session.flush()
        tallies.settle(session, rollout.id)
        start.hold(session, rollout)
    return len(old)


def _planned_from(session: CatalogSession, run: Run) -> str | None:
    """The revisions at which the next attempt expects its database: where this rollout left it.

    After DatabaseMoved, which a person has seen, the next attempt starts from the present ones.
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
    """Continue without the failed databases: raise the gate's limit to their number.

    Databases that had succeeded and were undone with the canary are migrated again.
    """
    failed = count(session, rollout, Run.state == State.FAILED)
    rollout.gate = rollout.gate | {"failures": max(rollout.gate["failures"], failed)}
    well = (Run.state == State.SUCCEEDED, _taken_back(rollout))
    _replace(session, rollout, *latest_runs(rollout), *well)


def cancel_pending(session: CatalogSession, rollout: Rollout) -> None:
    """Cancel the pending runs of a rollout."""
    session.execute(
        update(Run)
        .where(Run.rollout_id == rollout.id, Run.state == State.PENDING)
        .values(state=State.CANCELLED, finished_at=datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
