"""Counts of databases by project, position and revision, updated with every change."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select

from app.extensions import db
from app.fleet.core.transactions import CatalogSession, write_many
from app.fleet.counts import counters
from app.models import ENDED_STAGES, Database, Difference, PositionCount, Rollout
from headway.types import Position, Status

Place = tuple[int, str, str]
"""Project, position, current."""
RETIRED = " (retired {})"
LONGEST: int = Database.__table__.c.current.type.length  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class DatabaseCount:
    """The number of databases of a project at one position and revision."""

    project_id: int
    position: str
    """A Position, or `unknown`."""
    current: str
    databases: int


def place_of(database: Database) -> Place:
    """The key under which a database is counted."""
    return (database.project_id, database.position, database.current)


def shift(
    session: CatalogSession, *, left: Iterable[Place] = (), entered: Iterable[Place] = ()
) -> None:
    """Update the counts for databases that left one place and entered another.

    Call it last in the transaction that changes them: other transactions wait for these rows.
    """
    counters.shift(session, PositionCount, left, entered)


def counts(project_id: int | None = None) -> list[DatabaseCount]:
    """The counts of one project, or of all."""
    query = select(PositionCount).where(PositionCount.databases != 0)
    if project_id is not None:
        query = query.where(PositionCount.project_id == project_id)
    found = db.session.scalars(
        query.order_by(PositionCount.project_id, PositionCount.position, PositionCount.current)
    )
    return [
        DatabaseCount(
            project_id=one.project_id,
            position=one.position or "unknown",
            current=one.current,
            databases=one.databases,
        )
        for one in found
    ]


def at_revisions(project_id: int) -> dict[str, int]:
    """Revision -> the number of databases at it. A database with several heads counts at each."""
    found: Counter[str] = Counter()
    for one in counts(project_id):
        for revision in filter(None, one.current.split("+")):
            found[revision] += one.databases
    return found


def recount(session: CatalogSession, projects: Sequence[int]) -> None:
    """Recount the databases of these projects, after many changed at once."""
    session.execute(delete(PositionCount).where(PositionCount.project_id.in_(projects)))
    groups = (
        select(Database.project_id, Database.position, Database.current, func.count())
        .where(Database.project_id.in_(projects), Database.retired_at.is_(None))
        .group_by(Database.project_id, Database.position, Database.current)
    )
    session.execute(
        insert(PositionCount).from_select(
            [
                PositionCount.project_id,
                PositionCount.position,
                PositionCount.current,
                PositionCount.databases,
            ],
            groups,
        )
    )


def place(session: CatalogSession, found: Mapping[int, dict[str, Any]]) -> None:
    """Store the positions of databases, by their ids, as values of `found_at`.

    A database whose rollout has ended is released. Call it last in a transaction: others wait for
    the counts.
    """
    columns = (Database.id, Database.project_id, Database.position, Database.current)
    rows = session.execute(
        select(*columns, Database.retired_at, Database.rollout_id, Database.drift_at)
        .where(Database.id.in_(found))
        .order_by(Database.id)  # in one order everywhere: no two wait for each other
        .with_for_update()
    ).all()
    ended = _ended(session, {row.rollout_id for row in rows})
    left, entered = [], []
    changed: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        values = found[row.id] | ({"rollout_id": None} if row.rollout_id in ended else {})
        if not values:
            continue
        is_moved = values.get("current", row.current) != row.current
        if is_moved and row.drift_at and "drift_at" not in values:
            values = values | {"drift_at": None}  # nobody has compared it since
        changed.setdefault(tuple(values), []).append({"id": row.id} | values)
        position = values.get("position", row.position)
        before = (row.project_id, row.position, row.current)
        after = (row.project_id, position, values.get("current", row.current))
        if row.retired_at is None and before != after:
            left.append(before)
            entered.append(after)
    for many in changed.values():
        write_many(session, Database, many)
    shift(session, left=left, entered=entered)


def _ended(session: CatalogSession, rollouts: Collection[int | None]) -> set[int]:
    query = select(Rollout.id).where(Rollout.id.in_(rollouts), Rollout.stage.in_(ENDED_STAGES))
    return set(session.scalars(query))


def retire(session: CatalogSession, database: Database) -> None:
    """Make the row that of a former member: its name and URL are free, no secret is kept.

    The caller subtracts it from the counts of its position, unless it was retired before.
    """
    ending = RETIRED.format(database.id)
    database.name = database.name[: 128 - len(ending)] + ending
    database.identity = database.url = database.rollout_id = None
    database.pin_reason = database.pin_until = database.drift = None
    database.retired_at = database.retired_at or datetime.now(UTC)
    session.execute(delete(Difference).where(Difference.database_id == database.id))


def found_at(seen: Status, why: str | None = None, *, at: datetime | None = None) -> dict[str, Any]:
    """A status, read at a time or now, as values of the columns of a database.

    `why` replaces the reason of a torn database.
    """
    at = at or datetime.now(UTC)
    if len(joined(seen.current)) > LONGEST:
        why = f"It is at {len(seen.current)} revisions, which is more than Headway can record."
        seen = Status(position=Position.FOREIGN, reason=why)
    values: dict[str, Any] = {
        "position": seen.position.value,
        "asked_at": at,
        "reason": seen.reason,
    }
    if seen.position is Position.UNREACHABLE:
        return values  # the last known position stays
    if seen.position is Position.TORN:
        left = f"A batch operation broke and left {', '.join(seen.leftovers)}."
        values["reason"] = why or (
            f"Revision {seen.torn} began and never ended." if seen.torn else left
        )
    return values | {"current": joined(seen.current), "pending": len(seen.pending), "seen_at": at}


def split(joined: str) -> tuple[str, ...]:
    """The revisions of a text `a+b`, as the catalog stores them; () for ""."""
    return tuple(joined.split("+")) if joined else ()


def joined(revisions: tuple[str, ...]) -> str:
    """Revisions as the catalog stores them: sorted and joined by `+`."""
    return "+".join(sorted(revisions))
