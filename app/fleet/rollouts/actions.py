"""Steering: a rollout is rehearsed, started, paused, resumed, tried again, taken back.

Each says what the rollout has to be at, and does it in one transaction.
"""

from collections.abc import Callable

from sqlalchemy import select

from app.errors import ApprovalRefused, RolloutRefused
from app.extensions import db
from app.fleet import webhooks
from app.fleet.core import idempotency
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.rollouts import advance, crud, retries
from app.fleet.rollouts import start as rollouts_start
from app.fleet.rollouts import undo as rollouts_undo
from app.models import BEGUN, Approval, Kind, Rollout, Run, Stage, State

UNDER_WAY = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING)


def start_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Choose its databases, cut them into waves, and open the first one."""

    def start(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "start", Stage.PENDING)
        rollouts_start.start(session, rollout)
        webhooks.announce(session, "rollout.started", advance.told(rollout))

    return _change(actor, rollout_id, "started", start, key)


def pause_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Begin no further database; what runs goes on to its end."""

    def pause(_: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "pause", *UNDER_WAY, Stage.UNDOING)
        rollout.resumes_as = rollout.resumes_as or rollout.stage
        rollout.stage, rollout.reason = Stage.PAUSED, f"Paused by {actor.name}."

    return _change(actor, rollout_id, "paused", pause, key)


def resume_rollout(
    actor: Actor, rollout_id: int, *, skip_failed: bool = False, key: str | None = None
) -> Rollout:
    """Go on where it was paused or halted. Those that failed are tried again, or left out."""

    def resume(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "resume", Stage.PAUSED, Stage.HALTED)
        paused, to = rollout.stage == Stage.PAUSED, rollout.resumes_as
        rollout.resumes_as = Stage.HALTED if paused and to == Stage.HALTED else None
        rollout.stage = _resumed(paused, to)
        rollout.reason, rollout.wave_done_at = None, None if not paused else rollout.wave_done_at
        if rollout.stage == Stage.UNDOING:
            retries.again_back(session, rollout)
        elif skip_failed:
            retries.leave_out(session, rollout)
        elif retries.again_forward(session, rollout):
            # Where a wave soaked or waited, it has something to do again.
            rollout.stage, rollout.wave_done_at = Stage.RUNNING, None

    return _change(actor, rollout_id, "resumed", resume, key, skip_failed)


def retry_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Try those again that failed, also after its end."""

    def retry(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "retry", Stage.HALTED, Stage.SUCCEEDED)
        if rollout.resumes_as == Stage.UNDOING:
            rollout.resumes_as = None
            rollout.stage, rollout.reason = Stage.UNDOING, None
            retries.again_back(session, rollout)
            return
        if not retries.again_forward(session, rollout):
            raise RolloutRefused(f"Nothing failed in rollout {rollout.id}.")
        rollout.stage, rollout.reason = Stage.RUNNING, None
        rollout.wave_done_at = rollout.finished_at = None

    return _change(actor, rollout_id, "retried", retry, key)


def cancel_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Begin nothing more, and end it. What is done stays done; `undo` takes it back."""

    def cancel(session: CatalogSession, rollout: Rollout) -> None:
        if Stage(rollout.stage).is_final:
            raise RolloutRefused(f"Rollout {rollout.id} has ended: it is {rollout.stage}.")
        if _is_creating(session, rollout):
            raise RolloutRefused(
                "Its database is being created, and that is not broken off half-way. Let it end; "
                "then drop the database."
            )
        retries.cancel_pending(session, rollout)
        advance.finish(session, rollout, Stage.CANCELLED, f"Cancelled by {actor.name}.")

    return _change(actor, rollout_id, "cancelled", cancel, key)


def undo_rollout(actor: Actor, rollout_id: int, *, key: str | None = None) -> Rollout:
    """Take every database back to the revision, or the snapshot, that it came from."""

    def undo(session: CatalogSession, rollout: Rollout) -> None:
        if rollout.stage in (Stage.PENDING, Stage.UNDOING, Stage.UNDONE):
            raise RolloutRefused(f"There is nothing to take back: it is {rollout.stage}.")
        if rollout.kind not in rollouts_undo.BACK:
            hint = " Drop the database." if rollout.kind == Kind.CREATE else ""
            raise RolloutRefused(
                f"A {rollout.kind} changes no revision: nothing to take back.{hint}"
            )
        retries.cancel_pending(session, rollout)
        back = rollouts_undo.take_back(session, rollout, again=True)
        back += retries.again_back(session, rollout)
        if not back and not retries.count(session, rollout, Run.state.in_(BEGUN)):
            raise RolloutRefused("No database was moved by it, or all were taken back.")
        rollouts_start.hold(session, rollout)
        rollout.stage, rollout.reason, rollout.resumes_as = Stage.UNDOING, None, None
        rollout.finished_at = None

    return _change(actor, rollout_id, "undone", undo, key)


def approve_rollout(
    actor: Actor, rollout_id: int, *, wave: int | None = None, key: str | None = None
) -> Rollout:
    """Let the next wave begin. Not for the account that made the rollout.

    `wave`: the one that is done, from 1, as the caller saw it. RolloutRefused if another waits by
    now: who approves the first wave has not seen how the second one went.
    """

    def approve(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "approve", Stage.WAITING)
        if wave not in (None, rollout.wave + 1):
            raise RolloutRefused(
                f"You approve wave {wave}, and it is wave {rollout.wave + 1} that waits now. Look "
                "at how that one went, then approve it.",
                wave=rollout.wave + 1,
            )
        if actor.id is None:
            raise ApprovalRefused(
                "An approval is an account's: send it with a token. The command line is nobody's."
            )
        if actor.id == rollout.by_id:
            raise ApprovalRefused(
                f"{rollout.by_name} made this rollout, so another account has to approve it."
            )
        given = select(Approval.id).where(
            Approval.rollout_id == rollout.id, Approval.wave == rollout.wave
        )
        if session.scalar(given) is not None:
            return  # sent twice, or two were of one mind
        session.add(
            Approval(
                rollout_id=rollout.id,
                wave=rollout.wave,
                account_id=actor.id,
                account_name=actor.name[:128],
            )
        )

    return _change(actor, rollout_id, "approved", approve, key, wave)


def rehearse_rollout(
    actor: Actor, rollout_id: int, *, sample: int | None = None, key: str | None = None
) -> Rollout:
    """Try it on copies before it starts: on so many of each plan, or on every database."""

    def rehearse(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "rehearse", Stage.PENDING)
        if rollout.kind not in (Kind.UPGRADE, Kind.DOWNGRADE):
            raise RolloutRefused(f"A {rollout.kind} cannot be rehearsed.")
        if not rollouts_start.rehearse(session, rollout, sample):
            raise RolloutRefused("It has no database to be rehearsed on.")

    return _change(actor, rollout_id, "rehearsed", rehearse, key, sample)


def _change(
    actor: Actor,
    rollout_id: int,
    word: str,
    change: Callable[[CatalogSession, Rollout], None],
    key: str | None,
    *more: object,
) -> Rollout:
    """Do it, or nothing if the same request was sent before: it answers as the rollout is now."""
    request = idempotency.Request(actor=actor, key=key, about=(word, [rollout_id, *more]))

    @repeated
    def once() -> Rollout:
        actor.require("rollouts.change")
        with writing() as session:
            rollout = crud.find(session, rollout_id, lock=True)
            # Under the lock of the rollout: of two that are sent at once the second one waits.
            if request.made() is None:
                change(session, rollout)
                request.remember(session, rollout.id)
                crud.record(session, actor, word, rollout)
        return rollout

    return once()


def _expect(rollout: Rollout, verb: str, *stages: Stage) -> None:
    if rollout.stage not in stages:
        raise RolloutRefused(
            f"Rollout {rollout.id} is {rollout.stage}; `{verb}` is for one that is "
            f"{' or '.join(stages)}.",
            stage=rollout.stage,
        )


def _is_creating(session: CatalogSession, rollout: Rollout) -> bool:
    begun = Run.state.in_(BEGUN)
    return rollout.kind == Kind.CREATE and retries.count(session, rollout, begun) > 0


def _resumed(paused: bool, to: str | None) -> Stage:
    if paused:
        return Stage.UNDOING if to == Stage.HALTED else Stage(to or Stage.RUNNING)
    return Stage.UNDOING if to == Stage.UNDOING else Stage.RUNNING


VERBS = {
    Stage.PENDING: ("start", "rehearse", "cancel"),
    Stage.RUNNING: ("pause", "cancel"),
    Stage.SOAKING: ("pause", "cancel", "undo"),
    Stage.WAITING: ("approve", "pause", "cancel", "undo"),
    Stage.PAUSED: ("resume", "cancel", "undo"),
    Stage.HALTED: ("resume", "retry", "cancel", "undo"),
    Stage.UNDOING: ("pause",),
    Stage.SUCCEEDED: ("retry", "undo"),
    Stage.CANCELLED: ("undo",),
    Stage.UNDONE: (),
}
"""What each stage is for, what is usual first."""
REHEARSED = (Kind.UPGRADE, Kind.DOWNGRADE)


def verbs(actor: Actor, rollout: Rollout) -> tuple[str, ...]:
    """What this account can do to it at this stage; the use cases refuse all the rest."""
    if not actor.may("rollouts.change"):
        return ()
    return tuple(verb for verb in VERBS[Stage(rollout.stage)] if _is_open(actor, rollout, verb))


def _is_open(actor: Actor, rollout: Rollout, verb: str) -> bool:
    if verb == "approve":
        return actor.id not in (None, rollout.by_id)
    if verb == "rehearse":
        return rollout.kind in REHEARSED
    going_back = rollout.stage == Stage.HALTED and rollout.resumes_as == Stage.UNDOING
    if verb == "resume":
        return not going_back
    if verb == "retry":
        ended = rollout.stage == Stage.SUCCEEDED
        return going_back or (ended and _some(rollout, Run.state == State.FAILED))
    if verb == "undo":
        done = Run.state.in_((State.SUCCEEDED, State.FAILED))
        return rollout.kind in rollouts_undo.BACK and _some(rollout, done, Run.after != Run.before)
    return verb != "cancel" or not _is_creating(db.session, rollout)


def _some(rollout: Rollout, *which: object) -> bool:
    """True if the last attempt on one of its databases is like that."""
    query = select(Run.id).where(
        *retries.latest(rollout),
        *which,  # type: ignore[arg-type]
    )
    return db.session.scalar(query.limit(1)) is not None
