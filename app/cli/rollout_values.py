"""What the commands of the library need of the catalog, as the API would answer it."""

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import OperationalError

from app.errors import DatabaseNotFound, InputInvalid
from app.fleet import accounts, databases, projects, workers
from app.fleet.core.permissions import Actor
from app.fleet.databases.operate import DatabasePlan
from app.fleet.rollouts import Preview
from app.fleet.rollouts import watch as rollouts_watch
from app.models import Approval
from headway.cli.fleet.options import Finder
from headway.cli.fleet.watching import Source


def source(actor: Actor) -> Source:
    """Where the progress of rollouts is read."""

    def progress(rollout_id: int) -> dict[str, Any]:
        watched = rollouts_watch.look(actor, rollout_id)
        return {**json_of(watched.progress), "settled": watched.settled}

    return Source(
        program="flask",
        progress=progress,
        count_workers=workers.count_alive,
        unreachable=OperationalError,
    )


def finder(actor: Actor) -> Finder:
    """The functions that find what options name."""
    return Finder(
        project=lambda name: projects.find_project(actor, name).id,
        account=lambda name: accounts.find_account(actor, name).id,
        member=lambda project_id, name: _member(actor, project_id, name),
    )


def preview_of(found: Preview) -> dict[str, Any]:
    """A preview as JSON values."""
    return {**json_of(found), "is_done": found.is_done}


def plan_of(plan: DatabasePlan) -> dict[str, Any]:
    """The plan of one database as JSON values."""
    steps = [
        {
            "revision": step.revision.revision,
            "message": step.revision.message,
            "risks": [risk.says for risk in step.risks],
        }
        for step in plan.steps
    ]
    return {"steps": steps, "more": plan.more, "why_not": plan.why_not}


def json_of(value: Any) -> Any:
    """Dataclasses as JSON values, as the API shows them. Waves are counted from 1."""
    if isinstance(value, Approval):
        names = ("account_id", "account_name", "at")
        return {"wave": value.wave + 1} | {name: json_of(getattr(value, name)) for name in names}
    if is_dataclass(value):
        return {field.name: json_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [json_of(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _member(actor: Actor, project_id: int, name: str) -> int:
    project = projects.get_project(actor, project_id)
    try:
        return databases.find_database(actor, f"{project.name}/{name}").id
    except DatabaseNotFound:
        found = databases.find_database(actor, name)
    if found.project_id != project.id:
        raise InputInvalid(
            f"{found.project.name}/{found.name} is not a database of {project.name}. A rollout is "
            "for one project."
        )
    return found.id
