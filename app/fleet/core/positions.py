"""How many databases stand where: kept with each move, so that a page need not count."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.fleet.core.transactions import CatalogSession
from app.models import Database, Difference, Rollout, Stage, Standing
from headway.types import Look, Position

Place = tuple[int, str, str]
"""Project, position, current."""
RETIRED = " (retired {})"


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


def place(
    session: CatalogSession, rollout: Rollout, database_id: int, values: dict[str, Any]
) -> None:
    """Keep where a database stands now. Last in its transaction: others wait for the counts."""
    database = session.scalars(
        select(Database)
        .where(Database.id == database_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if Stage(rollout.stage).is_final and database.rollout_id == rollout.id:
        values = values | {"rollout_id": None}
    if not values:
        return
    before = place_of(database)
    session.execute(
        update(Database)
        .where(Database.id == database.id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    after = (
        database.project_id,
        values.get("position", database.position),
        values.get("current", database.current),
    )
    if database.retired_at is None and before != after:
        shift(session, left=[before], entered=[after])


def retire(session: CatalogSession, database: Database) -> None:
    """Make the row that of a former member: its name and URL are free, nothing secret stays.

    Whoever calls this counts it out of its place, where it was not retired before.
    """
    ending = RETIRED.format(database.id)
    database.name = database.name[: 128 - len(ending)] + ending
    database.identity = database.url = database.rollout_id = None
    database.pin_reason = database.pin_until = database.drift = None
    database.retired_at = database.retired_at or datetime.now(UTC)
    session.execute(delete(Difference).where(Difference.database_id == database.id))


def found_at(seen: Look, why: str | None = None, *, at: datetime | None = None) -> dict[str, Any]:
    """A look, of this moment or of now, as the columns of a database.

    `why` explains a torn one better than the look does.
    """
    at = at or datetime.now(UTC)
    values: dict[str, Any] = {
        "position": seen.position.value,
        "asked_at": at,
        "reason": seen.reason,
    }
    if seen.position is Position.UNREACHABLE:
        return values  # where it stood is still the best that is known
    if seen.position is Position.TORN:
        left = f"A batch operation broke and left {', '.join(seen.leftovers)}."
        values["reason"] = why or (
            f"Revision {seen.torn} began and never ended." if seen.torn else left
        )
    return values | {"current": joined(seen.current), "pending": len(seen.pending), "seen_at": at}


def split(joined: str) -> tuple[str, ...]:
    """Revisions as the catalog keeps them, `a+b`, one by one."""
    return tuple(joined.split("+")) if joined else ()


def joined(revisions: tuple[str, ...]) -> str:
    """The same as the catalog keeps them."""
    return "+".join(sorted(revisions))
