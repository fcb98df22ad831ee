"""Watch a rollout: look again and again, and know when nothing more happens by itself.

Nothing is held between two looks: no transaction, no connection.
"""

from dataclasses import dataclass

from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import crud, undo
from app.fleet.rollouts.progress import Progress, progress
from app.models import Stage


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A rollout, as it was just seen."""

    progress: Progress
    settled: bool
    """True if nothing more happens unless a person does something: it ended, halted, is paused."""


def look(actor: Actor, rollout_id: int) -> Seen:
    """How far it is, read anew, or RolloutNotFound."""
    db.session.expunge_all()
    db.session.rollback()
    try:
        told = progress(actor, rollout_id)
        return Seen(progress=told, settled=_settled(actor, rollout_id, told))
    finally:
        db.session.expunge_all()  # what was seen stays readable
        db.session.rollback()


def _settled(actor: Actor, rollout_id: int, told: Progress) -> bool:
    stage = Stage(told.stage)
    parts = [*told.waves, *([told.undo] if told.undo else [])]
    if any(part.running for part in parts):
        return False
    if stage is Stage.PENDING:
        rehearsal = told.rehearsal
        return rehearsal is None or rehearsal.done >= rehearsal.total
    if stage is Stage.HALTED:
        lost = any(part.lost for part in parts)  # a worker will look what became of it
        rollout = crud.get_rollout(actor, rollout_id)
        return not lost and not undo.retreats(db.session, rollout)
    return stage.is_final or stage is Stage.PAUSED
