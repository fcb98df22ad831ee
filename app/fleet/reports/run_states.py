"""The states of the databases of a rollout, in their order, for a drawing."""

from dataclasses import dataclass

from sqlalchemy import case, func, select

from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import crud
from app.models import Kind, Run, State

MOST = 10_000
"""The most cells that are drawn; with more databases, one cell stands for several."""
WORST_FIRST = (
    *(State.FAILED, State.LOST, State.RUNNING),
    *(State.PENDING, State.CANCELLED, State.SUCCEEDED),
)
"""The order in which a cell that stands for several databases chooses its state."""


@dataclass(frozen=True, kw_only=True)
class RunStates:
    """The states of the databases of a rollout, in their order, for a drawing."""

    states: tuple[str, ...]
    """The state of each cell."""
    each: int
    """How many databases one cell stands for."""
    total: int


def run_states(actor: Actor, rollout_id: int, kind: Kind | None = None) -> RunStates:
    """The state of the last attempt on each database, of this kind of runs.

    `kind` may be REHEARSE or UNDO; the default is the kind of the rollout. Raises RolloutNotFound.
    """
    rollout = crud.get_rollout(actor, rollout_id)
    runs = crud.latest_runs(rollout, kind)
    place = func.abs(Run.seq)  # undo runs have the negative place of the run they undo
    total = db.session.scalar(select(func.count()).where(*runs)) or 0
    each = -(-total // MOST) or 1
    if each == 1:
        found = db.session.scalars(select(Run.state).where(*runs).order_by(place))
        return RunStates(states=tuple(found), each=1, total=total)
    ranks = {state: rank for rank, state in enumerate(WORST_FIRST)}
    cell = (place // each).label("cell")
    worst = select(cell, func.min(case(ranks, value=Run.state, else_=0))).where(*runs)
    ranked = db.session.execute(worst.group_by(cell).order_by(cell))
    states = tuple(WORST_FIRST[rank].value for _, rank in ranked)
    return RunStates(states=states, each=each, total=total)
