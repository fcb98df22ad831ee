"""Read a project's scripts into the register: in a worker or a command, never in a request."""

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from app.errors import ProjectNotFound
from app.extensions import db
from app.fleet.addresses import arguments
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.counts import label_counts, positions
from app.fleet.isolation.messages import EnvironmentUse
from app.fleet.isolation.remote import RemoteProject
from app.fleet.projects import crud
from app.models import Database, Loading, PositionCount, Project, Revision, Role
from headway.errors import EnvironmentFailed, HeadwayError, ScriptsUnreadable
from headway.plan import register
from headway.plan.register import Record, Sql
from headway.scripts.environment import PASSWORD, Mode
from headway.status import Evidence, status_of
from headway.types import Position

log = logging.getLogger(__name__)

READER = Actor(id=None, name="worker", role=Role.ADMIN)
RENDERING = "2"
"""Change this number to render all SQL again."""
MOVABLE = (Position.AT_HEAD, Position.BEHIND, Position.AHEAD, Position.DIVERGED)
"""Positions that depend only on the current revisions and the scripts."""
AGAIN = timedelta(minutes=5)
"""A broken project is read again after this time, even if no file changed."""


@dataclass(frozen=True, kw_only=True)
class LoadedScripts:
    """The scripts of a project, their revisions, and new SQL."""

    scripts: RemoteProject
    records: tuple[Record, ...]
    environment_facts: dict[str, Any]
    sql: dict[tuple[str, str], Sql]
    """(Revision, checksum) -> SQL, for revisions whose SQL is not stored yet."""


def load(project_id: int) -> Project:
    """Read a project's scripts into the register. Returns the project, `ready` or `broken`.

    Runs code of the project: its env.py, and every revision without a database. Raises only
    ProjectNotFound; an error in the scripts is stored in `problem`.
    """
    db.session.rollback()
    project = db.session.get(Project, project_id, populate_existing=True)
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    version = project.version
    try:
        loaded = _read(project)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it is not our code
        db.session.rollback()
        log.warning("project %s cannot be read: %s", project.name, _describe(error))
        _store_broken(project_id, version, _describe(error))
    else:
        _store(project_id, version, loaded)
    db.session.refresh(project)
    return project


def due() -> list[int]:
    """The ids of projects that wait to be read, or whose files have changed since.

    A broken project is read again when a file changes, when a refresh is requested, and every few
    minutes.
    """
    db.session.rollback()
    found = list(db.session.scalars(select(Project).order_by(Project.id)))
    db.session.rollback()
    return [project.id for project in found if _is_due(project)]


def _is_due(project: Project) -> bool:
    if project.state == Loading.WAITING:
        return True
    now = datetime.now(UTC)
    try:
        scripts = crud.scripts_of(project)
        state: object = scripts.digest
    except (HeadwayError, OSError) as error:
        state = str(error)
    if project.state == Loading.READY:
        return state != project.digest
    tried = _tried.get((project.id, project.location))
    if tried is None or tried[0] != state or now - tried[1] > AGAIN:
        return True
    return project.refresh_asked_at is not None and project.refresh_asked_at > tried[1]


_tried: dict[tuple[int, str], tuple[object, datetime]] = {}
"""Broken projects: the digest or error, and the time, of the last attempt in this process."""


def _read(project: Project) -> LoadedScripts:
    scripts = crud.scripts_of(project)
    if not scripts.heads:  # a mistake in its location looks the same
        raise ScriptsUnreadable(
            f"There is no revision in {project.location} yet. Write one, then load it again."
        )
    environment_facts = _environment_facts(project, scripts)
    found = scripts.records()
    kept = _revisions_with_sql(project, environment_facts)
    fresh = [one for one in found if (one.id, one.checksum) not in kept]
    texts = scripts.sql_of([one.id for one in fresh], arguments.literal(project.x))
    return LoadedScripts(
        scripts=scripts,
        records=found,
        environment_facts=environment_facts,
        sql={(one.id, one.checksum): texts[one.id] for one in fresh},
    )


def _environment_facts(project: Project, scripts: RemoteProject) -> dict[str, Any]:
    """How its env.py is used, and the options that its SQL depends on."""
    query = select(Database.dialect).where(
        Database.project_id == project.id, Database.dialect.is_not(None)
    )
    used = sorted(filter(None, db.session.scalars(query.distinct()))) or ["sqlite"]
    db.session.rollback()
    try:
        uses = scripts.environment_uses(used, arguments.literal(project.x))
    except EnvironmentFailed as error:
        if not arguments.asked(project.x):
            raise
        why = f"it cannot be read without the -x arguments of a database ({error})"
        uses = [EnvironmentUse(mode=Mode.EXECUTED, why=why, options={}, missing_offline=why)]
    first = uses[0]
    executed = next((one for one in uses if one.mode == Mode.EXECUTED), first)
    return {
        "mode": executed.mode,
        "why": executed.why,
        "options": dict(first.options),
        "unwritten": executed.missing_offline,
        "folders": [str(folder) for folder in scripts.version_folders],
        "rendered": _options_digest(project, scripts),
    }


def _options_digest(project: Project, scripts: RemoteProject) -> str:
    """A digest of all that affects the SQL besides the revisions."""
    found = hashlib.sha256(f"{RENDERING} {sorted(project.x.items())}".encode())
    for file in (scripts.facts.folder / "env.py", *scripts.facts.options):
        if file.is_file():
            found.update(file.read_bytes())
    return found.hexdigest()


def _revisions_with_sql(
    project: Project, environment_facts: dict[str, Any]
) -> set[tuple[str, str]]:
    """(Revision, checksum) of revisions whose stored SQL is still valid."""
    if project.environment_facts.get("rendered") != environment_facts["rendered"]:
        return set()
    query = select(Revision.revision, Revision.checksum).where(Revision.project_id == project.id)
    found = {(revision, checksum) for revision, checksum in db.session.execute(query)}
    db.session.rollback()
    return found


@repeated
def _store(project_id: int, version: int, found: LoadedScripts) -> None:
    now = datetime.now(UTC)
    with writing() as session:
        project = _locked(session, project_id, version)
        if project is None:
            return  # it was changed since, and is due again
        new, gone = _store_revisions(session, project_id, found, now)
        changed = project.digest != found.scripts.digest
        values: dict[str, Any] = {
            "state": Loading.READY,
            "problem": None,
            "heads": list(found.scripts.heads),
            "digest": found.scripts.digest,
            "environment_facts": found.environment_facts,
            "loaded_at": now,
        }
        if changed:
            values["refresh_asked_at"] = now
        if changed or project.state != Loading.READY:
            audit.record(
                session,
                READER,
                "project.loaded",
                ("project", project_id),
                heads=list(found.scripts.heads),
                revisions=len(found.records),
                new=new[:50],
                gone=gone[:50],
            )
        _update(session, project_id, values)
        if new or gone:
            _move(session, project_id, found.scripts)
    _tried.pop((project_id, project.location), None)


@repeated
def _store_broken(project_id: int, version: int, problem: str) -> None:
    with writing() as session:
        project = _locked(session, project_id, version)
        if project is None:
            return
        if project.state != Loading.BROKEN or project.problem != problem:
            audit.record(
                session, READER, "project.broken", ("project", project_id), problem=problem
            )
        _update(session, project_id, {"state": Loading.BROKEN, "problem": problem})
    try:
        state: object = crud.scripts_of(project).digest
    except (HeadwayError, OSError) as error:
        state = str(error)
    _tried[project_id, project.location] = (state, datetime.now(UTC))


def _locked(session: CatalogSession, project_id: int, version: int) -> Project | None:
    """The project, locked, if it still has the version that was read; else None."""
    query = select(Project).where(Project.id == project_id).with_for_update()
    project = session.scalar(query.execution_options(populate_existing=True))
    return project if project is not None and project.version == version else None


def _update(session: CatalogSession, project_id: int, values: dict[str, Any]) -> None:
    # Not through the row itself, so that its version stays: a worker must not cause a conflict
    # for a user who is changing the project.
    session.execute(
        update(Project)
        .where(Project.id == project_id)
        .values(**values, updated_at=Project.updated_at)
        .execution_options(synchronize_session=False)
    )


def _store_revisions(
    session: CatalogSession, project_id: int, found: LoadedScripts, now: datetime
) -> tuple[list[str], list[str]]:
    """Store the register. Returns the ids of new revisions, and of those that are gone."""
    rows = session.scalars(select(Revision).where(Revision.project_id == project_id))
    known = {(row.revision, row.checksum): row for row in rows}
    before = {row.revision for row in known.values() if row.present}
    for place, record in enumerate(found.records):
        key = (record.id, record.checksum)
        row = known.pop(key, None)
        if row is None:
            row = _row(project_id, record, found.sql[key])
            row.first_seen_at = now
            session.add(row)
        elif key in found.sql:
            row.sql = found.sql[key]
        row.path, row.place, row.present, row.last_seen_at = record.path, place, True, now
    for row in known.values():
        row.present = False
    session.flush()
    after = [record.id for record in found.records]
    return [name for name in after if name not in before], sorted(before.difference(after))


def _row(project_id: int, record: Record, sql: Sql) -> Revision:
    return Revision(
        project_id=project_id,
        revision=record.id,
        checksum=record.checksum,
        parents=list(record.parents),
        depends_on=list(record.depends_on),
        labels=list(record.labels),
        message=record.message[:1000],
        script=register.text_of(record.path),
        sql=sql,
    )


def _move(session: CatalogSession, project_id: int, scripts: RemoteProject) -> None:
    """Update the positions of databases after a change of the scripts."""
    query = select(PositionCount.current).where(
        PositionCount.project_id == project_id,
        PositionCount.position.in_(MOVABLE),
        PositionCount.databases > 0,
    )
    for current in set(session.scalars(query)):
        status = status_of(scripts, Evidence(versions=positions.split(current)))
        session.execute(
            update(Database)
            .where(
                Database.project_id == project_id,
                Database.current == current,
                Database.position.in_(MOVABLE),
                Database.retired_at.is_(None),
            )
            .values(
                position=status.position,
                pending=len(status.pending),
                updated_at=Database.updated_at,
            )
            .execution_options(synchronize_session=False)
        )
    positions.recount(session, [project_id])
    label_counts.settle(session, project_id)


def _describe(error: BaseException) -> str:
    if isinstance(error, HeadwayError):
        message = str(error)
    elif isinstance(error, SystemExit):
        message = (
            f"A script ended the program ({error.code}). While it is loaded, a script must only "
            "define things."
        )
    else:
        words = " ".join(str(error).split()).rstrip(".")
        message = f"The scripts cannot be read: {type(error).__name__}: {words}."
    return PASSWORD.sub(r"\1***@", message)[:4000]
