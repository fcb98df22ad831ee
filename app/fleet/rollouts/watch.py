"""Watch a rollout: read its progress, and whether anything more happens without a user.

No transaction or connection stays open between two reads.
"""

from dataclasses import dataclass

from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import approvals, crud, undo
from app.fleet.rollouts.progress import RolloutProgress, progress
from app.models import Stage


@dataclass(frozen=True, kw_only=True)
class WatchedRollout:
    """The progress of a rollout at one moment."""

    progress: RolloutProgress
    settled: bool
    """True if nothing more happens without a user's action: it ended, halted or is paused."""
    waits_for_approval: bool
    """True while an approval is missing; one that was given counts before a worker has seen it."""


def look(actor: Actor, rollout_id: int) -> WatchedRollout:
    """Read the progress of a rollout afresh, or raise RolloutNotFound."""
    db.session.expunge_all()
    db.session.rollback()
    try:
        return read(actor, rollout_id)
    finally:
        db.session.expunge_all()  # the result stays readable
        db.session.rollback()


def read(actor: Actor, rollout_id: int) -> WatchedRollout:
    """The progress of a rollout as this session sees it, or RolloutNotFound."""
    current = progress(actor, rollout_id)
    rollout = crud.get_rollout(actor, rollout_id)
    return WatchedRollout(
        progress=current,
        settled=_settled(actor, rollout_id, current),
        waits_for_approval=rollout.stage == Stage.WAITING
        and (
            approvals.is_before_begin(rollout)
            or rollout.wave not in [approval.wave for approval in current.approvals]
        ),
    )


def _settled(actor: Actor, rollout_id: int, current: RolloutProgress) -> bool:
    stage = Stage(current.stage)
    parts = [*current.waves, *([current.undo] if current.undo else [])]
    if any(part.running for part in parts):
        return False
    if stage is Stage.PENDING:
        rehearsal = current.rehearsal
        return rehearsal is None or rehearsal.done >= rehearsal.total
    if stage is Stage.HALTED:
        lost = any(part.lost for part in parts)  # a worker will decide their outcome
        rollout = crud.get_rollout(actor, rollout_id)
        return not lost and not undo.retreats(db.session, rollout)
    return stage.is_final or stage is Stage.PAUSED
