"""Every database of a rollout as one letter in a row: what a drawing of ten thousand is made of."""

from dataclasses import dataclass

from sqlalchemy import case, func, select

from app.extensions import db
from app.fleet import rollouts
from app.fleet.actors import Actor
from app.models import Kind, Run, State

MOST = 10_000
"""So many cells are readable; of more databases, one cell stands for several."""
WORST_FIRST = (
    *(State.FAILED, State.LOST, State.RUNNING),
    *(State.PENDING, State.CANCELLED, State.SUCCEEDED),
)
"""What a cell shows that stands for several: what a person has to look at."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The databases of a rollout, in the order in which they are begun."""

    states: tuple[str, ...]
    """Of each cell."""
    each: int
    """So many databases are one cell."""
    total: int


def cells(actor: Actor, rollout_id: int, kind: Kind | None = None) -> Cells:
    """How each one is, by the last attempt on it; of its rehearsal or its undo, by `kind`.

    Raises RolloutNotFound.
    """
    rollout = rollouts.get_rollout(actor, rollout_id)
    runs = (
        Run.rollout_id == rollout.id,
        Run.kind == (kind or rollout.kind),
        Run.replaced_by.is_(None),
    )
    place = func.abs(Run.seq)  # what is taken back keeps its place, and is numbered downwards
    total = db.session.scalar(select(func.count()).where(*runs)) or 0
    each = -(-total // MOST) or 1
    if each == 1:
        found = db.session.scalars(select(Run.state).where(*runs).order_by(place))
        return Cells(states=tuple(found), each=1, total=total)
    ranks = {state: rank for rank, state in enumerate(WORST_FIRST)}
    cell = (place // each).label("cell")
    worst = select(cell, func.min(case(ranks, value=Run.state, else_=0))).where(*runs)
    ranked = db.session.execute(worst.group_by(cell).order_by(cell))
    states = tuple(WORST_FIRST[rank].value for _, rank in ranked)
    return Cells(states=states, each=each, total=total)
