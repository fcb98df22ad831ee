"""Advance the active rollouts. Workers call this periodically.

Here a wave opens, soaks or waits for approval, a gate halts the rollout, and a failed canary is
undone.
"""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update

from app.extensions import db
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.counts import label_counts, positions, tallies
from app.fleet.rollouts import announcements, approvals, retries
from app.fleet.rollouts import undo as rollouts_undo
from app.fleet.rollouts.crud import any_run, find, latest_runs
from app.fleet.rollouts.progress import first_failure
from app.fleet.rollouts.rules import windows
from app.fleet.rollouts.rules.gates import Gate, Next
from app.models import (
    BEGUN,
    DRAFT_LASTS,
    UNENDED,
    Database,
    Kind,
    Rollout,
    Run,
    Stage,
    State,
    Strategy,
)

ACTIVE = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING, Stage.UNDOING, Stage.HALTED)
ENDED = {
    Stage.SUCCEEDED: "rollout.finished",
    Stage.FAILED: "rollout.failed",
    Stage.UNDONE: "rollout.undone",
    Stage.CANCELLED: "rollout.cancelled",
}


def advance() -> None:
    """Advance every active rollout by one step."""
    db.session.rollback()  # read fresh data
    for rollout_id in _active():
        step(rollout_id)


def _active() -> list[int]:
    expired = and_(
        Rollout.stage == Stage.PENDING, Rollout.updated_at < datetime.now(UTC) - DRAFT_LASTS
    )
    query = select(Rollout.id).where(or_(Rollout.stage.in_(ACTIVE), expired)).order_by(Rollout.id)
    found = list(db.session.scalars(query))
    db.session.rollback()
    return found


@repeated
def step(rollout_id: int) -> None:
    """Advance one rollout as far as possible without waiting for a run."""
    with writing() as session:
        rollout = find(session, rollout_id, lock=True)
        if rollout.stage == Stage.WAITING and rollout.resumes_as:
            return  # nothing has begun: an approval lets it
        if rollout.stage == Stage.UNDOING:
            _step_back(session, rollout)
        elif rollout.stage == Stage.HALTED:
            rollouts_undo.retreat(session, rollout)
        elif rollout.stage == Stage.PENDING:
            _expire(session, rollout)
        elif rollout.stage in ACTIVE and not _halt_if_too_many(session, rollout):
            _step_on(session, rollout)


@repeated
def judge(rollout_id: int) -> None:
    """After a failure, halt a rollout at once if its gate does not allow more."""
    with writing() as session:
        rollout = find(session, rollout_id, lock=True)
        if rollout.stage == Stage.RUNNING:
            _halt_if_too_many(session, rollout)


def go_on_after(run: Run) -> None:
    """Advance the rollout of a run at once if it waited only for this run."""
    beside = (Run.rollout_id == run.rollout_id, Run.kind == run.kind, Run.wave <= run.wave)
    is_last = not any_run(db.session, *beside, Run.state.in_(UNENDED))
    db.session.rollback()
    if is_last:
        step(run.rollout_id)


def finish(session: CatalogSession, rollout: Rollout, stage: Stage, reason: str | None) -> None:
    """End a rollout and release its databases."""
    rollout.stage, rollout.reason = stage, reason
    rollout.finished_at = datetime.now(UTC)
    tallies.settle(session, rollout.id)
    if rollout.kind == Kind.CREATE:
        _retire_unmade(session, rollout)
    session.execute(
        update(Database)
        .where(Database.rollout_id == rollout.id)
        .values(rollout_id=None)
        .execution_options(synchronize_session=False)
    )
    if rollout.started_at is not None:
        announcements.announce(session, ENDED[stage], rollout)


def _expire(session: CatalogSession, rollout: Rollout) -> None:
    """Cancel a draft that nobody used in time, so that old drafts cannot be started by mistake."""
    if rollout.expires_at and rollout.expires_at <= datetime.now(UTC):
        retries.cancel_pending(session, rollout)
        reason = f"This draft was not started within {DRAFT_LASTS.days} days."
        finish(session, rollout, Stage.CANCELLED, reason)


def _halt_if_too_many(session: CatalogSession, rollout: Rollout) -> bool:
    failed = retries.count(session, rollout, Run.state == State.FAILED)
    allowed = Gate.of(rollout.gate).allowed(sum(rollout.sizes[: rollout.wave + 1]))
    if failed <= allowed:
        return False
    first = _first_failure(rollout, rollout.kind)
    if rollout.kind == Kind.CREATE:  # a name must not be taken by what is not there
        finish(session, rollout, Stage.CANCELLED, f"Its database was not created. {first}")
        return True
    if _is_single(session, rollout):
        finish(session, rollout, Stage.FAILED, first)
        return True
    rollout.stage = Stage.HALTED
    wave = (
        f" up to wave {rollout.wave + 1} of {len(rollout.sizes)}" if len(rollout.sizes) > 1 else ""
    )
    rollout.reason = (
        f"{failed} of {sum(rollout.sizes)} failed{wave} ({allowed} allowed). First failure: {first}"
    )
    announcements.announce(session, "rollout.halted", rollout)
    return True


def _is_single(session: CatalogSession, rollout: Rollout) -> bool:
    """True for a run on one database that somebody asked for: nothing waits for its end.

    What an application begins by opening a database stays halted, so that not each open tries
    again what has just failed.
    """
    if not rollout.by_hand or sum(rollout.sizes) != 1:
        return False
    database = select(Database.strategy).join(Run, Run.database_id == Database.id)
    found = session.scalar(database.where(Run.rollout_id == rollout.id).limit(1))
    return found != Strategy.ON_OPEN


def _retire_unmade(session: CatalogSession, rollout: Rollout) -> None:
    """A database that was not made is no member: its name and URL are free for another try."""
    unmade = select(Run.database_id).where(
        *latest_runs(rollout), Run.state != State.SUCCEEDED, Run.before.is_(None)
    )
    found = session.scalars(select(Database).where(Database.id.in_(unmade)).with_for_update()).all()
    left = [positions.place_of(database) for database in found]
    with label_counts.kept(session, [database.id for database in found]):
        for database in found:
            positions.retire(session, database)
        session.flush()
    positions.shift(session, left=left)


def _first_failure(rollout: Rollout, kind: str) -> str:
    # Webhooks and viewers are told this, and no text of a database.
    first = first_failure(announcements.READER, rollout, kind)
    return f"{first.database}: {first.error}" if first else ""


def _step_on(session: CatalogSession, rollout: Rollout) -> None:
    if _goes_on(session, rollout, *latest_runs(rollout), Run.wave <= rollout.wave):
        rollout.reason = windows.closed_reason(rollout.window, datetime.now(UTC))
        return
    now = datetime.now(UTC)
    rollout.wave_done_at = rollout.wave_done_at or now
    is_last = rollout.wave + 1 >= len(rollout.sizes)
    follows = Gate.of(rollout.gate).after_wave(
        failed=retries.count(session, rollout, Run.state == State.FAILED),
        begun=sum(rollout.sizes[: rollout.wave + 1]),
        done_at=rollout.wave_done_at,
        approved=rollout.wave in approvals.given_to(session, rollout),
        is_last=is_last,
        now=now,
    )
    if follows is Next.SOAK:
        rollout.stage = Stage.SOAKING
        rollout.reason = f"Wave {rollout.wave + 1} is done and soaks."
    elif follows is Next.APPROVAL:
        _wait(session, rollout)
    elif follows is Next.OPEN and is_last:
        finish(session, rollout, Stage.SUCCEEDED, None)
    elif follows is Next.OPEN:
        rollout.stage, rollout.reason, rollout.wave_done_at = Stage.RUNNING, None, None
        rollout.wave += 1


def _wait(session: CatalogSession, rollout: Rollout) -> None:
    if rollout.stage == Stage.WAITING:
        return
    rollout.stage = Stage.WAITING
    rollout.reason = (
        f"Wave {rollout.wave + 1} is done. Another account than {rollout.by_name} has to approve "
        "the next one."
    )
    announcements.announce(session, "rollout.waiting", rollout)


def _goes_on(session: CatalogSession, rollout: Rollout, *runs: ColumnElement[bool]) -> bool:
    """True while some of these runs have not ended."""
    # One query for all states: two queries could both miss a run that is claimed in between.
    still = (*runs, Run.state.in_(UNENDED))
    if not any_run(session, *still):
        return False
    if any_run(session, *runs, Run.state.in_(BEGUN)):
        return True
    # Nothing runs and something waits: perhaps for databases that were pinned or retired since.
    pending = (*runs, Run.state == State.PENDING)
    return not _left_out(session, rollout, *pending) or any_run(session, *still)


def _left_out(session: CatalogSession, rollout: Rollout, *pending: ColumnElement[bool]) -> int:
    """Cancel those of these runs whose database is pinned or retired now. Returns how many."""
    now = datetime.now(UTC)
    pinned = false() if rollout.by_hand else Database.pin_until > now
    out = select(Run.id, Database.retired_at, Database.pin_reason)
    gone = session.execute(
        out.join(Database, Database.id == Run.database_id).where(
            *pending, pinned | Database.retired_at.is_not(None)
        )
    ).all()
    for run_id, retired_at, reason in gone:
        why = "Retired." if retired_at else f"Pinned: {reason}"
        session.execute(
            update(Run)
            .where(Run.id == run_id, Run.state == State.PENDING)
            .values(state=State.CANCELLED, error=why, finished_at=now)
        )
    return len(gone)


def _step_back(session: CatalogSession, rollout: Rollout) -> None:
    undo = latest_runs(rollout, Kind.UNDO)
    if _goes_on(session, rollout, *undo):
        return
    # Runs that were active when the undo was requested are undone too, once they have ended.
    if any_run(session, *latest_runs(rollout), Run.state.in_(BEGUN)):
        return
    if rollout.resumes_as != Stage.HALTED:  # a canary's later waves wait for a person
        retries.cancel_pending(session, rollout)
    if rollouts_undo.take_back(session, rollout):
        return
    how_many = select(func.count()).where(*undo)
    failed = session.scalar(how_many.where(Run.state == State.FAILED)) or 0
    left = "The canary was undone."
    if failed:
        left = (
            f"{failed} of {session.scalar(how_many)} could not be undone. First failure: "
            f"{_first_failure(rollout, Kind.UNDO)}"
        )
    if rollout.resumes_as == Stage.HALTED:
        rollout.stage, rollout.resumes_as = Stage.HALTED, None
        rollout.reason = f"{rollout.reason or 'It halted.'} {left}"
        announcements.announce(session, "rollout.halted", rollout)
    elif failed:
        rollout.stage, rollout.resumes_as, rollout.reason = Stage.HALTED, Stage.UNDOING, left
        announcements.announce(session, "rollout.halted", rollout)
    else:
        cancelled = select(func.count()).where(*undo, Run.state == State.CANCELLED)
        some = session.scalar(cancelled)
        why = f"{some} not undone, because pinned or retired since." if some else None
        finish(session, rollout, Stage.UNDONE, why)
