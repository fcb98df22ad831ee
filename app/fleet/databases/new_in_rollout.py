"""Where a new database is born while a rollout of its project is under way.

Without one: at the project's heads. With one: at its target once the canary is through, and
until then where most of the project's databases are; then it becomes a part of the last wave.
"""

from sqlalchemy import func, select, update

from app.extensions import db
from app.fleet import rollouts
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import CatalogSession
from app.fleet.rollouts import start
from app.models import Database, Kind, PositionCount, Rollout, Run, Stage, State

UNDER_WAY = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING, Stage.PAUSED, Stage.HALTED)


def born_at(database: Database) -> str:
    """The target at which this new database of a project is made."""
    project_id = database.project_id
    rollout = _under_way(db.session, database)
    if rollout is None:
        return "heads"
    if rollout.wave > 0:
        return rollout.target
    most = db.session.scalar(
        select(PositionCount.current)
        .where(
            PositionCount.project_id == project_id,
            PositionCount.current != "",
            PositionCount.databases > 0,
        )
        .order_by(PositionCount.databases.desc())
        .limit(1)
    )
    return most if most and "+" not in most else "heads"


def join(session: CatalogSession, database: Database) -> None:
    """Make a database that was born below the target a part of the last wave.

    Also if the canary went through while it was made: it was made where the others were before.
    """
    found = _under_way(session, database)
    if found is None:
        return
    # Its stage and its sizes are changed by others, who lock it as well.
    rollout = rollouts.find(session, found.id, lock=True)
    if rollout.stage not in UNDER_WAY or start.is_there(rollout, database.current):
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
    )
    for rollout in session.scalars(query.order_by(Rollout.id.desc())):
        chosen = Selector.of(rollout.selector).conditions()
        mine = select(Database.id).where(Database.id == database.id, *chosen)
        if session.scalar(mine) is not None:
            return rollout
    return None
