"""The overview: counts of databases by position, project and owner.

The counts are updated with each change (`counts.positions`), so the cost does not grow with the
number of databases.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import aliased

from app.errors import InputInvalid
from app.extensions import db
from app.fleet.core import error_texts
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import POSITIONS, Selector
from app.fleet.counts import label_counts
from app.fleet.counts import positions as core_positions
from app.fleet.counts.positions import DatabaseCount
from app.models import Account, Database, Project, Run, State

MOST_GROUPS = 200
LATELY = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class ProjectOverview:
    """The databases of one project, counted."""

    id: int
    name: str
    state: str
    databases: int
    positions: dict[str, int]
    revisions: dict[str, int]
    """Current revisions joined by `+` ("" for none) -> number of databases."""


@dataclass(frozen=True, kw_only=True)
class OverviewGroup:
    """The number of databases of one owner, or with one value of a label."""

    value: str
    databases: int


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The databases of the fleet, counted."""

    databases: int
    positions: dict[str, int]
    drifted: int
    pinned: int
    retired: int
    projects: tuple[ProjectOverview, ...]
    by: str | None = None
    """`owner` or `label.<name>`: what `groups` counts by."""
    groups: tuple[OverviewGroup, ...] = ()
    """The largest first, at most 200."""


@dataclass(frozen=True, kw_only=True)
class RecentFailure:
    """A run that failed, without a later success on its database."""

    run_id: int
    rollout_id: int
    database_id: int
    database: str
    kind: str
    error: str | None
    at: datetime | None


def failed_lately(
    actor: Actor, *, limit: int, project_id: int | None = None
) -> list[RecentFailure]:
    """Runs that failed within a week, with no later success on the same database; newest first."""
    actor.require("rollouts.read")
    later = aliased(Run)
    since = exists().where(
        later.database_id == Run.database_id, later.id > Run.id, later.state == State.SUCCEEDED
    )
    query = (
        select(Run, Database.name, Database.project_id)
        .join(Database, Run.database_id == Database.id)
        .where(
            Run.state == State.FAILED,
            Run.replaced_by.is_(None),
            Run.finished_at > datetime.now(UTC) - LATELY,
            Database.retired_at.is_(None),
            ~since,
        )
        .order_by(Run.id.desc())
        .limit(limit)
    )
    if project_id is not None:
        query = query.where(Database.project_id == project_id)
    return [
        RecentFailure(
            run_id=run.id,
            rollout_id=run.rollout_id,
            database_id=run.database_id,
            database=name,
            kind=run.kind,
            error=error_texts.for_actor(actor, of_project, run.error, run.problem),
            at=run.finished_at,
        )
        for run, name, of_project in db.session.execute(query)
    ]


def overview(actor: Actor, *, project_id: int | None = None, by: str | None = None) -> Overview:
    """Count the databases by position, project and revision; retired ones separately.

    `by` adds counts by `owner` or by the value of `label.<name>`. Raises InputInvalid.
    """
    actor.require("databases.read")
    counts = core_positions.counts(project_id)
    total = sum(count.databases for count in counts)

    def number(*, retired: bool = False, **chosen: bool) -> int:
        conditions = Selector(project_id=project_id, **chosen).conditions(retired=retired)  # type: ignore[arg-type]
        return db.session.scalar(select(func.count(Database.id)).where(*conditions)) or 0

    return Overview(
        databases=total,
        positions=_positions(counts),
        drifted=number(drifted=True),
        pinned=number(pinned=True),
        retired=number(retired=True),
        projects=_projects(counts, project_id),
        by=by,
        groups=_groups(by, project_id) if by else (),
    )


def _positions(counts: Iterable[DatabaseCount]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for count in counts:
        found[count.position] += count.databases
    return {position: found[position] for position in POSITIONS if found[position]}


def _projects(counts: list[DatabaseCount], project_id: int | None) -> tuple[ProjectOverview, ...]:
    query = select(Project.id, Project.name, Project.state).order_by(Project.name)
    if project_id is not None:
        query = query.where(Project.id == project_id)
    mine: dict[int, list[DatabaseCount]] = defaultdict(list)
    for count in counts:
        mine[count.project_id].append(count)
    return tuple(_project(row, mine[row.id]) for row in db.session.execute(query))


def _project(row: object, counts: list[DatabaseCount]) -> ProjectOverview:
    revisions: dict[str, int] = defaultdict(int)
    for count in counts:
        revisions[count.current] += count.databases
    return ProjectOverview(
        id=row.id,  # type: ignore[attr-defined]
        name=row.name,  # type: ignore[attr-defined]
        state=row.state,  # type: ignore[attr-defined]
        databases=sum(count.databases for count in counts),
        positions=_positions(counts),
        revisions=dict(sorted(revisions.items(), key=lambda item: (-item[1], item[0]))),
    )


def _groups(by: str, project_id: int | None) -> tuple[OverviewGroup, ...]:
    if by.startswith("label.") and (name := by.removeprefix("label.")):
        found = label_counts.counts(name, project_id, most=MOST_GROUPS)
        return tuple(OverviewGroup(value=value, databases=n) for value, n in found.items())
    if by != "owner":
        raise InputInvalid("Count by `owner` or by `label.<name>`.", field="by")
    number = func.count().label("number")
    query = (
        select(Account.name, number)
        .select_from(Database)
        .join(Account, Database.owner_id == Account.id, isouter=True)
        .where(*Selector(project_id=project_id).conditions())
        .group_by(Account.id, Account.name)
        .order_by(number.desc())
        .limit(MOST_GROUPS)
    )
    rows = db.session.execute(query)
    return tuple(OverviewGroup(value=name or "", databases=count) for name, count in rows)
