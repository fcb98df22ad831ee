"""What may be done to a rollout now, and by whom: the buttons of a page."""

from sqlalchemy import select

from app.extensions import db
from app.fleet import attempts, undoing
from app.fleet.actors import Actor
from app.models import Kind, Rollout, Run, Stage, State

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
        return rollout.kind in undoing.BACK and _some(rollout, done, Run.after != Run.before)
    return True


def _some(rollout: Rollout, *which: object) -> bool:
    """True if the last attempt on one of its databases is like that."""
    query = select(Run.id).where(
        *attempts.latest(rollout),
        *which,  # type: ignore[arg-type]
    )
    return db.session.scalar(query.limit(1)) is not None
