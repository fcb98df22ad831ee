"""How many databases stand where: kept with each move, so that a page need not count."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.fleet.transactions import CatalogSession
from app.models import Database, Standing

Place = tuple[int, str, str]
"""Project, position, current."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """So many databases of a project stand here."""

    project_id: int
    position: str
    """A Position, or `unknown`."""
    current: str
    databases: int


def place_of(database: Database) -> Place:
    """Where the catalog believes that a database stands."""
    return (database.project_id, database.position, database.current)


def shift(
    session: CatalogSession, *, left: Iterable[Place] = (), entered: Iterable[Place] = ()
) -> None:
    """Count databases out of the places they left and into those they entered.

    Within the transaction that changes them, and last in it: everybody waits for these rows.
    """
    deltas = Counter(entered)
    deltas.subtract(Counter(left))
    # In one order everywhere, so that two who move databases at once do not wait for each other.
    for place, delta in sorted(item for item in deltas.items() if item[1]):
        _add(session, place, delta)


def _add(session: CatalogSession, place: Place, delta: int) -> None:
    here = (
        Standing.project_id == place[0],
        Standing.position == place[1],
        Standing.current == place[2],
    )
    more = update(Standing).where(*here).values(databases=Standing.databases + delta)
    done = session.execute(more.execution_options(synchronize_session=False))
    if done.rowcount:  # type: ignore[attr-defined]
        return
    try:
        with session.begin_nested():
            session.execute(
                insert(Standing).values(
                    project_id=place[0], position=place[1], current=place[2], databases=delta
                )
            )
    except IntegrityError:  # another was the first here in this very moment
        session.execute(more.execution_options(synchronize_session=False))


def counts(project_id: int | None = None) -> list[Count]:
    """Where the databases of one project, or of all, stand."""
    query = select(Standing).where(Standing.databases != 0)
    if project_id is not None:
        query = query.where(Standing.project_id == project_id)
    found = db.session.scalars(
        query.order_by(Standing.project_id, Standing.position, Standing.current)
    )
    return [
        Count(
            project_id=one.project_id,
            position=one.position or "unknown",
            current=one.current,
            databases=one.databases,
        )
        for one in found
    ]


def at_revisions(project_id: int) -> dict[str, int]:
    """How many databases of a project are at each revision; of several heads, at each of them."""
    found: Counter[str] = Counter()
    for one in counts(project_id):
        for revision in filter(None, one.current.split("+")):
            found[revision] += one.databases
    return found


def recount(session: CatalogSession, projects: Sequence[int]) -> None:
    """Count these projects' databases anew: after many were changed at once."""
    session.execute(delete(Standing).where(Standing.project_id.in_(projects)))
    groups = (
        select(Database.project_id, Database.position, Database.current, func.count())
        .where(Database.project_id.in_(projects), Database.retired_at.is_(None))
        .group_by(Database.project_id, Database.position, Database.current)
    )
    session.execute(
        insert(Standing).from_select(
            [Standing.project_id, Standing.position, Standing.current, Standing.databases], groups
        )
    )
