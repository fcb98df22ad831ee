"""Refresh: all databases of a project are asked where they stand. Nothing of theirs is changed."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select, update

from app.errors import ProjectNotFound, ProjectNotReady
from app.extensions import db
from app.fleet import projects
from app.fleet.core import positions
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.isolation.messages import Seen
from app.fleet.projects.scripts import load
from app.fleet.refresh.probe import BATCH, Tour, batches, being_created, large, looked, pages
from app.models import BEGUN, Database, Loading, Project, Run
from headway.errors import HeadwayError
from headway.plan.register import DIALECTS
from headway.types import Position

TABLE: Any = Database.__table__

MOST_NEW = 5000

Progress = Callable[[int], None]


def refresh(
    project_id: int, ids: Iterable[int] | None = None, *, progress: Progress | None = None
) -> int:
    """Ask the project's databases, or these of them, where they stand; how many were noted.

    No revision runs. One that does not answer keeps what was last known of it. `progress` is
    told how many are done. Raises ProjectNotReady while the scripts cannot be used.
    """
    tour = _tour(project_id)
    if ids is None:
        _begin(project_id)
    noted = 0
    for page in pages(project_id, ids):
        for batch in batches(looked(tour, page), BATCH):
            noted += _keep(batch)
            if progress:
                progress(len(batch))
        _keep_sizes(large(tour, page))
    return noted


def due() -> list[int]:
    """The projects whose databases are to be asked: it is time, or somebody wants it."""
    db.session.rollback()
    query = select(
        Project.id, Project.refresh_seconds, Project.refresh_asked_at, Project.refreshed_at
    )
    query = query.where(Project.state == Loading.READY).order_by(Project.id)
    now = datetime.now(UTC)
    found = [row.id for row in db.session.execute(query) if _is_due(row, now)]
    db.session.rollback()
    return found


def newcomers() -> dict[int, list[int]]:
    """The databases that nobody has asked yet, by project: whoever registers one wants to know."""
    db.session.rollback()
    query = (
        select(Database.project_id, Database.id)
        .join(Project, Project.id == Database.project_id)
        .where(
            Database.position == "",
            Database.asked_at.is_(None),
            Database.retired_at.is_(None),
            ~being_created(),
            Project.state == Loading.READY,
        )
        .order_by(Database.id)
        .limit(MOST_NEW)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for project_id, database_id in db.session.execute(query):
        found[project_id].append(database_id)
    db.session.rollback()
    return found


def _is_due(row: Any, now: datetime) -> bool:
    if row.refreshed_at is None:
        return bool(row.refresh_seconds or row.refresh_asked_at)
    if row.refresh_asked_at and row.refresh_asked_at > row.refreshed_at:
        return True
    every = timedelta(seconds=row.refresh_seconds)
    return bool(every) and row.refreshed_at + every <= now


def _tour(project_id: int) -> Tour:
    db.session.rollback()
    project = db.session.get(Project, project_id, populate_existing=True)
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    if project.state == Loading.READY:
        try:
            return _prepared(project)
        except HeadwayError:
            project = load(project_id)  # which says what is wrong
    raise ProjectNotReady(
        f"The scripts of {project.name} cannot be used"
        + (f": {project.problem}" if project.problem else " yet: they have not been read."),
        project=project_id,
    )


def _prepared(project: Project) -> Tour:
    """All that needs the project's code is found out now, once, and not in the threads."""
    scripts = projects.scripts_of(project)
    query = select(Database.id).where(
        Database.project_id == project.id, Database.retired_at.is_(None)
    )
    used = [
        dialect
        for dialect in DIALECTS
        if db.session.scalar(query.where(Database.dialect == dialect).limit(1)) is not None
    ]
    db.session.rollback()
    scripts.hear(used, project.x)
    return Tour(project_id=project.id, scripts=scripts, x=dict(project.x))


def _begin(project_id: int) -> None:
    with writing() as session:
        session.execute(
            update(Project)
            .where(Project.id == project_id)
            .values(refreshed_at=datetime.now(UTC), updated_at=Project.updated_at)
            .execution_options(synchronize_session=False)
        )


# --- what is kept ---------------------------------------------------------------------------


@repeated
def _keep(batch: Sequence[tuple[int, Seen]]) -> int:
    """Write what was seen, but for databases that a run has moved since, or is moving."""
    seen = dict(batch)
    with writing() as session:
        columns = (
            Database.id,
            Database.project_id,
            Database.position,
            Database.current,
            Database.asked_at,
        )
        query = select(*columns).where(Database.id.in_(seen), Database.retired_at.is_(None))
        rows = session.execute(query.order_by(Database.id).with_for_update()).all()
        running = select(Run.database_id).where(Run.state.in_(BEGUN), Run.database_id.in_(seen))
        busy = set(session.scalars(running))
        fresh = [
            row
            for row in rows
            if row.id not in busy and (row.asked_at is None or row.asked_at <= seen[row.id].at)
        ]
        moved = [(row, _values(seen[row.id])) for row in fresh]
        _write(session, [{"b_id": row.id} | values for row, values in moved])
        positions.shift(
            session,
            left=[(row.project_id, row.position, row.current) for row, _ in moved],
            entered=[
                (row.project_id, values["position"], values.get("current", row.current))
                for row, values in moved
            ],
        )
    return len(fresh)


@repeated
def _keep_sizes(found: dict[int, int]) -> None:
    if found:
        with writing() as session:
            _write(session, [{"b_id": key, "size_bytes": found[key]} for key in sorted(found)])


def _write(session: CatalogSession, rows: Sequence[dict[str, Any]]) -> None:
    """One statement for all rows that have the same columns."""
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(row), []).append(row)
    for same in kinds.values():
        session.connection().execute(_update(same[0]), same)


def _update(values: dict[str, Any]) -> Any:
    """A look is no change by a person: neither the version nor the time of change moves."""
    named: dict[str, Any] = {name: bindparam(name) for name in values if name != "b_id"}
    return (
        update(TABLE)
        .where(TABLE.c.id == bindparam("b_id"))
        .values(**named, updated_at=TABLE.c.updated_at)
    )


def _values(seen: Seen) -> dict[str, Any]:
    values = positions.found_at(seen.look, at=seen.at)
    if seen.look.position is Position.UNREACHABLE:
        return values
    size = {} if seen.size is None else {"size_bytes": seen.size}
    return values | size | {"milliseconds": seen.look.milliseconds}
