"""A database that is created while a rollout is under way joins it.

Without one it is created at the heads of its project. With one: at its target once the canary is
through, and until then where most of the project's databases are; then it becomes a part of the
last wave.
"""

from sqlalchemy import func, or_, select, update

from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import CatalogSession
from app.fleet.counts import tallies
from app.fleet.rollouts import crud
from app.fleet.rollouts.start import is_there
from app.models import Database, Kind, PositionCount, Rollout, Run, Stage, State

UNDER_WAY = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING, Stage.PAUSED, Stage.HALTED)
"""Stages of a rollout that affect where a new database is created."""


def target_of_new(session: CatalogSession, database: Database) -> str:
    """The target at which a new database of its project belongs now."""
    rollout = _under_way(session, database)
    if rollout is None:
        return "heads"
    if rollout.wave > 0:
        return rollout.target
    most = session.scalar(
        select(PositionCount.current)
        .where(
            PositionCount.project_id == database.project_id,
            PositionCount.current != "",
            PositionCount.databases > 0,
        )
        .order_by(PositionCount.databases.desc())
        .limit(1)
    )
    return most if most and "+" not in most else "heads"


def join(session: CatalogSession, database: Database) -> None:
    """Make a database that was created below the target of a rollout a part of its last wave.

    Also if its canary went through meanwhile: it was made where the others were before.
    """
    found = _under_way(session, database)
    if found is None:
        return
    # Its stage and its sizes are changed by others, who lock it as well.
    rollout = crud.find(session, found.id, lock=True)
    if rollout.stage not in UNDER_WAY or is_there(rollout, database.current):
        return
    last = len(rollout.sizes) - 1
    seq = session.scalar(select(func.max(Run.seq)).where(Run.rollout_id == rollout.id)) or 0
    session.add(
        Run(
            rollout_id=rollout.id,
            database_id=database.id,
            kind=rollout.kind,
            wave=last,
            seq=seq + 1,
            server=database.server,
            before=database.current,
            state=State.PENDING,
        )
    )
    tallies.add(session, rollout.id, tallies.Wave(rollout.kind, last), tallies.Tally(runs=1))
    rollout.sizes = [*rollout.sizes[:-1], rollout.sizes[-1] + 1]
    session.execute(
        update(Database).where(Database.id == database.id).values(rollout_id=rollout.id)
    )


def _under_way(session: CatalogSession, database: Database) -> Rollout | None:
    """The newest rollout that is for a database like this one; not those of a few by hand."""
    query = select(Rollout).where(
        Rollout.project_id == database.project_id,
        Rollout.kind == Kind.UPGRADE,
        Rollout.by_hand.is_(False),
        Rollout.stage.in_(UNDER_WAY),
        or_(  # one whose undo waits for an approval leads nowhere
            Rollout.stage != Stage.WAITING, Rollout.resumes_as.is_distinct_from(Stage.UNDOING)
        ),
    )
    for rollout in session.scalars(query.order_by(Rollout.id.desc())):
        chosen = Selector.of(rollout.selector).conditions()
        mine = select(Database.id).where(Database.id == database.id, *chosen)
        if session.scalar(mine) is not None:
            return rollout
    return None
