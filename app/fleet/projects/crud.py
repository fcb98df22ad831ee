"""Projects: create, read, change, delete. None of this runs a project's code."""

import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.errors import InputInvalid, ProjectNotFound
from app.extensions import db
from app.fleet.addresses import arguments
from app.fleet.addresses.paths import inside, settings
from app.fleet.core import audit, idempotency
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID, fitting, is_id, require_version
from app.fleet.isolation.messages import ScriptLocation
from app.fleet.isolation.remote import RemoteProject
from app.fleet.projects import discovery
from app.models import Database, Loading, Project, Rollout
from headway.errors import ScriptsUnreadable, StillNeeded
from headway.scripts.locations import RESOURCE, is_resource

DAY = 24 * 3600


@repeated
def create_project(
    actor: Actor, values: dict[str, Any], *, key: str | None = None
) -> tuple[Project, bool]:
    """Create a project. Returns it, and True if an equal request with this key made it before.

    `location` is a folder, or `package:folder`; `ini` is its alembic.ini or pyproject.toml. A
    worker reads the scripts later. Raises OutsideRoots, InputInvalid or NameTaken.
    """
    actor.require("projects.create")
    request = idempotency.Request(actor=actor, key=key, about=("projects", values))
    values = _validated(values)

    def make() -> Project:
        _require_places(values["location"], values.get("ini"))
        with writing() as session:
            project = Project(**values)
            session.add(project)
            session.flush()
            request.remember(session, project.id)
            audit.record(session, actor, "project.created", ("project", project.id), **values)
        return project

    return request.once(make, lambda made: get_project(actor, made))


def get_project(actor: Actor, project_id: int) -> Project:
    """The project, or ProjectNotFound."""
    actor.require("projects.read")
    return _find(db.session, project_id)


def find_project(actor: Actor, name: str) -> Project:
    """The project with this name or id, or ProjectNotFound. Names have precedence."""
    actor.require("projects.read")
    project = db.session.scalar(select(Project).where(Project.name == name))
    if project is None and is_id(name):
        return _find(db.session, int(name))
    if project is None:
        raise ProjectNotFound(f"There is no project {name}. `flask projects list` shows all.")
    return project


def list_projects(
    actor: Actor, *, limit: int, after: int | None = None, search: str | None = None
) -> tuple[list[Project], int | None]:
    """A page of projects in the order of creation, and the `after` of the next page."""
    actor.require("projects.read")
    query = begin_after(select(Project), Project.id, after)
    if search:
        query = query.where(Project.name.icontains(search, autoescape=True))
    return page_of(query, limit)


@repeated
def change_project(
    actor: Actor, project_id: int, values: dict[str, Any], *, version: int | None
) -> Project:
    """Change a project, if it still has the version that was read. Returns the project.

    With a new location, options file or arguments, which an admin of the fleet may change, a
    worker reads the scripts again. Raises RecordChanged, OutsideRoots, InputInvalid or NameTaken.
    """
    actor.require("projects.change")
    values = _validated(values)
    with writing() as session:
        project = _find(session, project_id, version)
        actor.require("projects.change", project.id)
        before = {name: getattr(project, name) for name in values}
        changed = {name: value for name, value in values.items() if before[name] != value}
        if changed.keys() & {"location", "ini", "x"}:
            actor.require("projects.scripts")
            _require_places(
                changed.get("location", project.location), changed.get("ini", project.ini)
            )
            project.state, project.problem = Loading.WAITING, None
            if "x" in changed:  # env.py may look elsewhere now
                project.refresh_asked_at = datetime.now(UTC)
        for name, value in changed.items():
            setattr(project, name, value)
        if changed:
            session.flush()
            changes = {name: [before[name], value] for name, value in changed.items()}
            audit.record(session, actor, "project.changed", ("project", project.id), **changes)
    return project


@repeated
def delete_project(actor: Actor, project_id: int, *, version: int | None) -> None:
    """Delete a project and its register. Raises StillNeeded if it has databases or rollouts."""
    actor.require("projects.create")
    with writing() as session:
        project = _find(session, project_id, version)
        _refuse_needed(session, project)
        audit.record(
            session,
            actor,
            "project.deleted",
            ("project", project.id),
            name=project.name,
            location=project.location,
        )
        session.delete(project)


@repeated
def ask_refresh(actor: Actor, project_id: int) -> Project:
    """Request a refresh of all databases of a project; a worker does it."""
    actor.require("databases.change")
    with writing() as session:
        project = _find(session, project_id)
        actor.require("databases.change", project.id)
        project.refresh_asked_at = datetime.now(UTC)
        session.flush()
        audit.record(session, actor, "project.refresh_asked", ("project", project.id))
    return project


def scripts_of(project: Project) -> RemoteProject:
    """The scripts of a project as its files are now. None of its code runs in this process.

    Raises OutsideRoots or ScriptsUnreadable.
    """
    scripts = RemoteProject.at_place(ScriptLocation(*places_of(project)))
    for place in scripts.version_folders:
        inside(place, settings().project_roots, roots_of="PROJECT")
    return scripts


def places_of(project: Project) -> tuple[str, str | None]:
    """The real paths of its scripts folder and its options file, if any. Imports nothing.

    Raises OutsideRoots or ScriptsUnreadable.
    """
    folder, ini = _check_places(project.location, project.ini)
    return str(folder), str(ini) if ini else None


def _find(session: CatalogSession, project_id: int, version: int | None = None) -> Project:
    project = session.get(Project, project_id) if 0 < project_id <= LARGEST_ID else None
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    require_version(project, version)
    return project


def _validated(values: dict[str, Any]) -> dict[str, Any]:
    values = fitting(Project, values)
    name = values.get("name", "")
    if name.isdecimal() or "/" in name:
        raise InputInvalid(
            "The name of a project cannot be a number, which is an id, and cannot contain `/`.",
            field="name",
        )
    if "location" in values and not values["location"]:
        raise InputInvalid(
            "Give the location of the scripts: a folder, or package:folder.", field="location"
        )
    for name in ("location", "ini"):
        if values.get(name) and not is_resource(values[name]):
            # Stored as an absolute path: other processes may have another working directory.
            values[name] = str(Path.cwd() / Path(values[name]).expanduser())
    if "x" in values:
        values["x"] = arguments.without_none(arguments.checked(values["x"]))
    if not 0 <= values.get("refresh_seconds", 0) <= DAY:
        raise InputInvalid(
            f"The refresh interval is 0 (never) to {DAY} seconds.", field="refresh_seconds"
        )
    return values


def _require_places(location: str, ini: str | None) -> None:
    """Raise InputInvalid if the folder does not exist or has no scripts."""
    try:
        folder, _ = _check_places(location, ini)
    except ScriptsUnreadable as error:
        raise InputInvalid(str(error), field="location") from error
    if meant := discovery.found_below(folder):
        raise InputInvalid(
            f"There is no env.py in {location}, but there is one in {meant}.", field="location"
        )


def _check_places(location: str, ini: str | None) -> tuple[Path, Path | None]:
    """The real paths of the scripts folder and the options file. Imports nothing."""
    roots = settings().project_roots
    try:
        folder = inside(_folder_of(location), roots, roots_of="PROJECT")
        options = inside(ini, roots, roots_of="PROJECT") if ini else None
    except ValueError as error:  # a NUL in a path
        raise ScriptsUnreadable(f"{location!r} is not a folder.") from error
    if not folder.is_dir():
        raise ScriptsUnreadable(f"There is no script directory {location}.")
    if options and not options.is_file():
        raise ScriptsUnreadable(f"There is no {ini}.")
    return folder, options


def _folder_of(location: str) -> Path:
    """The path of `package:folder`, without importing the package as Alembic would."""
    match = RESOURCE.fullmatch(location)
    if not match or not is_resource(location):
        return Path(location)
    top, *below = match["package"].split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place, *below, match["folder"])).is_dir():
            return folder
    raise ScriptsUnreadable(f"There is no script directory {location}.")


def _refuse_needed(session: CatalogSession, project: Project) -> None:
    registered = select(Database.name, Database.retired_at).where(Database.project_id == project.id)
    first = session.execute(registered.order_by(Database.retired_at.is_not(None)).limit(1)).first()
    if first and first.retired_at is None:
        raise StillNeeded(
            f"Project {project.name} has databases: {first.name}, and maybe others. Retire them "
            "first."
        )
    rollout = session.scalar(select(Rollout.id).where(Rollout.project_id == project.id).limit(1))
    if first or rollout:
        raise StillNeeded(
            f"Project {project.name} has a history of databases or rollouts. The history is kept, "
            "so the project cannot be deleted."
        )
