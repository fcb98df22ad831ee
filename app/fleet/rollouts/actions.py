"""Actions on a rollout: start, pause, resume, retry, cancel, undo, approve, rehearse.

Each checks the stage of the rollout and makes its change in one transaction. All raise
RolloutNotFound and RolloutRefused. With an idempotency `key`, an equal request is done once.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from app.errors import RolloutRefused
from app.extensions import db
from app.fleet.core import idempotency
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.rollouts import advance, announcements, approvals, crud, retries
from app.fleet.rollouts import start as rollouts_start
from app.fleet.rollouts import undo as rollouts_undo
from app.models import BEGUN, Kind, Rollout, Run, Stage, State

UNDER_WAY = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING)


def start_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Start a rollout: choose its databases, divide them into waves, and open the first wave."""

    def start(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "start", Stage.PENDING)
        rollouts_start.start(session, rollout)
        if rollout.stage == Stage.RUNNING:
            announcements.announce(session, "rollout.started", rollout)

    return _change(actor, rollout_id, "started", start, key)


def pause_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Pause a rollout: no further run begins; active runs are finished."""

    def pause(_: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "pause", *UNDER_WAY, Stage.UNDOING)
        if approvals.is_before_begin(rollout):
            raise RolloutRefused(
                f"No run of rollout {rollout.id} has begun. To end the rollout, use `cancel`."
            )
        rollout.resumes_as = rollout.resumes_as or rollout.stage
        rollout.stage, rollout.reason = Stage.PAUSED, f"Paused by {actor.name}."

    return _change(actor, rollout_id, "paused", pause, key)


def resume_rollout(
    actor: Actor, rollout_id: int, *, skip_failed: bool = False, key: str | None = None
) -> Rollout:
    """Resume a paused or halted rollout. Failed databases are tried again, or left out."""

    def resume(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "resume", Stage.PAUSED, Stage.HALTED)
        paused, to = rollout.stage == Stage.PAUSED, rollout.resumes_as
        rollout.resumes_as = Stage.HALTED if paused and to == Stage.HALTED else None
        rollout.stage = _resumed(paused, to)
        rollout.reason, rollout.wave_done_at = None, None if not paused else rollout.wave_done_at
        if rollout.stage == Stage.UNDOING:
            retries.retry_undo(session, rollout)
        elif skip_failed:
            retries.leave_out(session, rollout)
        elif retries.retry_failed(session, rollout):
            # The wave soaked or waited for approval; now it has runs again.
            rollout.stage, rollout.wave_done_at = Stage.RUNNING, None
        if rollout.resumes_as is None:  # else its canary goes back by itself
            approvals.begin(session, rollout, Stage(rollout.stage))

    return _change(actor, rollout_id, "resumed", resume, key, skip_failed)


def retry_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Try the failed databases of a rollout again, also after its end."""

    def retry(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "retry", Stage.HALTED, Stage.SUCCEEDED, Stage.FAILED)
        if rollout.resumes_as == Stage.UNDOING:
            rollout.resumes_as = None
            retries.retry_undo(session, rollout)
            approvals.begin(session, rollout, Stage.UNDOING)
            return
        if not retries.retry_failed(session, rollout):
            raise RolloutRefused(f"Nothing failed in rollout {rollout.id}.")
        rollout.wave_done_at = rollout.finished_at = None
        approvals.begin(session, rollout, Stage.RUNNING)

    return _change(actor, rollout_id, "retried", retry, key)


def cancel_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Cancel a rollout: no further run begins. Finished runs stay; `undo` reverts them."""

    def cancel(session: CatalogSession, rollout: Rollout) -> None:
        if Stage(rollout.stage).is_final:
            raise RolloutRefused(f"Rollout {rollout.id} has ended: it is {rollout.stage}.")
        if _is_creating(session, rollout):
            raise RolloutRefused(
                "Its database is being created, and that cannot be interrupted. Let it end; "
                "then drop the database."
            )
        retries.cancel_pending(session, rollout)
        advance.finish(session, rollout, Stage.CANCELLED, f"Cancelled by {actor.name}.")

    return _change(actor, rollout_id, "cancelled", cancel, key)


def undo_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Undo a rollout: return every database to its earlier revision, or to its snapshot."""

    def undo(session: CatalogSession, rollout: Rollout) -> None:
        if rollout.stage in (Stage.PENDING, Stage.UNDOING, Stage.UNDONE):
            raise RolloutRefused(
                f"There is nothing to undo: the rollout is {Stage(rollout.stage).predicate}."
            )
        if rollout.kind not in rollouts_undo.BACK:
            hint = " Drop the database." if rollout.kind == Kind.CREATE else ""
            raise RolloutRefused(
                f"A {rollout.kind} changes no revision, so it cannot be undone.{hint}"
            )
        retries.cancel_pending(session, rollout)
        back = rollouts_undo.take_back(session, rollout, again=True)
        back += retries.retry_undo(session, rollout)
        if not back and not retries.count(session, rollout, Run.state.in_(BEGUN)):
            raise RolloutRefused("The rollout changed no database, or all changes are undone.")
        rollouts_start.hold(session, rollout)
        rollout.resumes_as = rollout.finished_at = None
        approvals.begin(session, rollout, Stage.UNDOING, undo_by=actor)

    return _change(actor, rollout_id, "undone", undo, key)


def approve_rollout(
    actor: Actor, rollout_id: int, *, wave: int | None = None, key: str | None = None
) -> Rollout:
    """Approve the next wave, or the beginning where the project requires it.

    Another account has to do it than the one that asked for it. `wave` is the number of the
    finished wave, from 1, as the caller saw it; 0 before anything begins. RolloutRefused if
    another wave waits by now. Raises ApprovalRefused.
    """

    def approve(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "approve", Stage.WAITING)
        approvals.approve(session, actor, rollout, wave)
        if rollout.stage == Stage.RUNNING:
            announcements.announce(session, "rollout.started", rollout)

    return _change(actor, rollout_id, "approved", approve, key, wave)


def rehearse_rollout(
    actor: Actor, rollout_id: int, *, sample: int | None = None, key: str | None = None
) -> Rollout:
    """Rehearse a rollout on copies: on `sample` databases of each plan, or on every database."""

    def rehearse(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "rehearse", Stage.PENDING)
        if rollout.kind not in REHEARSED:
            raise RolloutRefused(f"A {rollout.kind} cannot be rehearsed.")
        if not rollouts_start.rehearse(session, rollout, sample):
            raise RolloutRefused("No database takes part, so there is nothing to rehearse.")
        rollout.updated_at = datetime.now(UTC)  # a draft that is rehearsed is still wanted

    return _change(actor, rollout_id, "rehearsed", rehearse, key, sample)


def _change(
    actor: Actor,
    rollout_id: int,
    word: str,
    change: Callable[[CatalogSession, Rollout], None],
    key: str | None,
    *more: object,
) -> Rollout:
    """Make a change once for a request, and return the rollout as it is now."""
    request = idempotency.Request(actor=actor, key=key, about=(word, [rollout_id, *more]))

    @repeated
    def once() -> Rollout:
        actor.require("rollouts.change")
        with writing() as session:
            rollout = crud.find(session, rollout_id, lock=True)
            actor.require("rollouts.change", rollout.project_id)
            # Under the lock of the rollout: the second of two requests at once waits.
            if request.made() is None:
                details = _details(session, rollout, word, more)
                stage, allowed = rollout.stage, rollout.gate.get("failures")
                change(session, rollout)
                request.remember(session, rollout.id)
                details["stage"] = [stage, rollout.stage]
                if allowed != rollout.gate.get("failures"):
                    details["allowed_failures"] = [allowed, rollout.gate.get("failures")]
                crud.record(session, actor, word, rollout, **details)
        return rollout

    return once()


def _details(
    session: CatalogSession, rollout: Rollout, word: str, more: tuple[object, ...]
) -> dict[str, object]:
    """What is to be known of an action beside what it changes."""
    if word == "approved":
        return {"wave": 0 if approvals.is_before_begin(rollout) else rollout.wave + 1}
    if word == "resumed" and more == (True,):
        return {"skipped": retries.count(session, rollout, Run.state == State.FAILED)}
    return {}


def _expect(rollout: Rollout, verb: str, *stages: Stage) -> None:
    if rollout.stage not in stages:
        raise RolloutRefused(
            f"Rollout {rollout.id} is {Stage(rollout.stage).predicate}; `{verb}` is for one that "
            f"is {' or '.join(stage.predicate for stage in stages)}.",
            stage=rollout.stage,
        )


def _is_creating(session: CatalogSession, rollout: Rollout) -> bool:
    begun = Run.state.in_(BEGUN)
    return rollout.kind == Kind.CREATE and retries.count(session, rollout, begun) > 0


def _resumed(paused: bool, to: str | None) -> Stage:
    if paused:
        return Stage.UNDOING if to == Stage.HALTED else Stage(to or Stage.RUNNING)
    return Stage.UNDOING if to == Stage.UNDOING else Stage.RUNNING


ACTIONS = {
    Stage.PENDING: ("start", "rehearse", "cancel"),
    Stage.RUNNING: ("pause", "cancel"),
    Stage.SOAKING: ("pause", "cancel", "undo"),
    Stage.WAITING: ("approve", "pause", "cancel", "undo"),
    Stage.PAUSED: ("resume", "cancel", "undo"),
    Stage.HALTED: ("resume", "retry", "cancel", "undo"),
    Stage.UNDOING: ("pause",),
    Stage.SUCCEEDED: ("retry", "undo"),
    Stage.FAILED: ("retry", "undo"),
    Stage.CANCELLED: ("undo",),
    Stage.UNDONE: (),
}
"""The actions of each stage, the most usual first."""
BEFORE_BEGIN = ("approve", "cancel")
"""The actions while it waits for an approval before anything begins."""
REHEARSED = (Kind.UPGRADE, Kind.DOWNGRADE)


def allowed_actions(actor: Actor, rollout: Rollout) -> tuple[str, ...]:
    """The actions that an account may do on a rollout now; all others are refused."""
    if not actor.may("rollouts.change", rollout.project_id):
        return ()
    verbs = BEFORE_BEGIN if approvals.is_before_begin(rollout) else ACTIONS[Stage(rollout.stage)]
    return tuple(verb for verb in verbs if _is_open(actor, rollout, verb))


def _is_open(actor: Actor, rollout: Rollout, verb: str) -> bool:
    if verb == "approve":
        return actor.id not in (None, approvals.asked_by(rollout)[0])
    if verb == "rehearse":
        return rollout.kind in REHEARSED
    going_back = rollout.stage == Stage.HALTED and rollout.resumes_as == Stage.UNDOING
    if verb == "resume":
        return not going_back
    if verb == "retry":
        ended = rollout.stage in (Stage.SUCCEEDED, Stage.FAILED)
        failed = (*crud.latest_runs(rollout), Run.state == State.FAILED)
        return going_back or (ended and crud.any_run(db.session, *failed))
    if verb == "undo":
        done = Run.state.in_((State.SUCCEEDED, State.FAILED))
        changed = (*crud.latest_runs(rollout), done, Run.after != Run.before)
        return rollout.kind in rollouts_undo.BACK and crud.any_run(db.session, *changed)
    return verb != "cancel" or not _is_creating(db.session, rollout)
