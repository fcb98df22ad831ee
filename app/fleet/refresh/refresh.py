"""Refresh the catalog's view of a project's databases. The databases are only read."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.errors import ProjectNotFound, ProjectNotReady
from app.extensions import db
from app.fleet import projects
from app.fleet.addresses import arguments
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.counts import positions
from app.fleet.isolation.messages import ProbeResult
from app.fleet.projects.scripts import load
from app.fleet.refresh.probe import (
    BATCH,
    RefreshBatch,
    batches,
    being_created,
    measure_sizes,
    pages,
    probe_page,
)
from app.models import BEGUN, Database, Loading, Project, Run
from headway.errors import HeadwayError
from headway.execution.failures import reason
from headway.plan.register import DIALECTS
from headway.types import Position, Status

log = logging.getLogger(__name__)

TABLE: Any = Database.__table__

MOST_NEW = 5000

ProgressCallback = Callable[[int], None]


def refresh(
    project_id: int, ids: Iterable[int] | None = None, *, progress: ProgressCallback | None = None
) -> int:
    """Probe the project's databases, or those with these ids, and store what was found.

    Returns the number of databases stored. No revision runs. A database that does not answer
    keeps its last known revision. `progress` is called with the number of databases done. Raises
    ProjectNotReady while the scripts cannot be used.
    """
    refresh_batch = _refresh_batch(project_id)
    if ids is None:
        _begin(project_id)
    noted = 0
    for page in pages(project_id, ids, refresh_batch.x):
        for batch in batches(probe_page(refresh_batch, page), BATCH):
            noted += _store_results(batch)
            if progress:
                progress(len(batch))
        _store_sizes(measure_sizes(refresh_batch, page))
    return noted


def due() -> list[int]:
    """The projects whose databases should be refreshed: by their interval, or on request."""
    db.session.rollback()
    query = select(
        Project.id, Project.refresh_seconds, Project.refresh_asked_at, Project.refreshed_at
    )
    query = query.where(Project.state == Loading.READY).order_by(Project.id)
    now = datetime.now(UTC)
    project_ids = [row.id for row in db.session.execute(query) if _is_due(row, now)]
    db.session.rollback()
    return project_ids


def never_probed() -> dict[int, list[int]]:
    """The ready projects' databases that were never probed, by project; at most MOST_NEW."""
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
    ids_by_project: dict[int, list[int]] = defaultdict(list)
    for project_id, database_id in db.session.execute(query):
        ids_by_project[project_id].append(database_id)
    db.session.rollback()
    return ids_by_project


def _is_due(row: Any, now: datetime) -> bool:
    if row.refreshed_at is None:
        return bool(row.refresh_seconds or row.refresh_asked_at)
    if row.refresh_asked_at and row.refresh_asked_at > row.refreshed_at:
        return True
    every = timedelta(seconds=row.refresh_seconds)
    return bool(every) and row.refreshed_at + every <= now


def _refresh_batch(project_id: int) -> RefreshBatch:
    db.session.rollback()
    project = db.session.get(Project, project_id, populate_existing=True)
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    if project.state == Loading.READY:
        try:
            return _prepared(project)
        except HeadwayError:
            project = load(project_id)  # stores the reason in `problem`
    raise ProjectNotReady(
        f"The scripts of {project.name} cannot be used"
        + (f": {project.problem}" if project.problem else " yet: they have not been read."),
        project=project_id,
    )


def _prepared(project: Project) -> RefreshBatch:
    """A batch for this project. Runs env.py now, once, and not in the threads."""
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
    if not arguments.asked(project.x):  # else env.py runs with the values of each database
        scripts.prepare_probes(used, arguments.literal(project.x))
    return RefreshBatch(project_id=project.id, scripts=scripts, x=dict(project.x))


def _begin(project_id: int) -> None:
    with writing() as session:
        session.execute(
            update(Project)
            .where(Project.id == project_id)
            .values(refreshed_at=datetime.now(UTC), updated_at=Project.updated_at)
            .execution_options(synchronize_session=False)
        )


# --- what is kept ---------------------------------------------------------------------------


def _store_results(results: Sequence[tuple[int, ProbeResult]]) -> int:
    """Store results together, or one by one if one of them cannot be stored."""
    try:
        return _store_batch(results)
    except (DBAPIError, TypeError, ValueError) as error:
        if isinstance(error, OperationalError | InterfaceError):
            raise  # the catalog's own, which the worker tries again
        log.warning("a batch cannot be stored, so one by one: %s", reason(error))
    return sum(map(_store_one, results))


def _store_one(result: tuple[int, ProbeResult]) -> int:
    try:
        return _store_batch([result])
    except (DBAPIError, TypeError, ValueError) as error:
        if isinstance(error, OperationalError | InterfaceError):
            raise
        log.exception("what database %s answers cannot be stored", result[0])
        why = f"What it answers cannot be stored ({type(error).__name__})."
        look = Status(position=Position.UNREACHABLE, reason=why)
        return _store_batch([(result[0], ProbeResult(at=result[1].at, look=look))])


@repeated
def _store_batch(results: Sequence[tuple[int, ProbeResult]]) -> int:
    """Store results, except for databases that a run has migrated since, or migrates now."""
    by_id = dict(results)
    with writing() as session:
        columns = (
            Database.id,
            Database.project_id,
            Database.position,
            Database.current,
            Database.asked_at,
        )
        query = select(*columns).where(Database.id.in_(by_id), Database.retired_at.is_(None))
        rows = session.execute(query.order_by(Database.id).with_for_update()).all()
        running = select(Run.database_id).where(Run.state.in_(BEGUN), Run.database_id.in_(by_id))
        busy = set(session.scalars(running))
        fresh = [
            row
            for row in rows
            if row.id not in busy and (row.asked_at is None or row.asked_at <= by_id[row.id].at)
        ]
        moved = [(row, _values(by_id[row.id])) for row in fresh]
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
def _store_sizes(size_by_id: dict[int, int]) -> None:
    if size_by_id:
        with writing() as session:
            _write(
                session,
                [{"b_id": key, "size_bytes": size_by_id[key]} for key in sorted(size_by_id)],
            )


def _write(session: CatalogSession, rows: Sequence[dict[str, Any]]) -> None:
    """One statement for all rows that have the same columns."""
    kinds: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(row), []).append(row)
    for same in kinds.values():
        session.connection().execute(_update(same[0]), same)


def _update(values: dict[str, Any]) -> Any:
    """An update that keeps `updated_at` and the version: a probe is not a change by a user."""
    named: dict[str, Any] = {name: bindparam(name) for name in values if name != "b_id"}
    return (
        update(TABLE)
        .where(TABLE.c.id == bindparam("b_id"))
        .values(**named, updated_at=TABLE.c.updated_at)
    )


def _values(result: ProbeResult) -> dict[str, Any]:
    values = positions.found_at(result.look, at=result.at)
    if result.look.position is Position.UNREACHABLE:
        return values
    size = {} if result.size is None else {"size_bytes": result.size}
    return values | size | {"milliseconds": result.look.milliseconds}
