"""The fleet of the catalog, for the commands that the library has for any fleet."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import wraps
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import OperationalError

from app.cli.actor import command_line
from app.cli.selector_options import row_of
from app.errors import DatabaseNotFound, InputInvalid
from app.fleet import accounts, databases, projects, rollouts, runs, workers
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.databases.operate import DatabasePlan
from app.fleet.rollouts import watch
from app.fleet.runs.export import wave_of
from app.models import Approval, Kind, Rollout, Run
from headway.cli.fleet.fleets import FLEET, Page, Row
from headway.cli.fleet.tables import ROLLOUTS, RUNS

STEPS: Mapping[str, Callable[..., Rollout]] = {
    "start": rollouts.start_rollout,
    "pause": rollouts.pause_rollout,
    "resume": rollouts.resume_rollout,
    "retry": rollouts.retry_rollout,
    "approve": rollouts.approve_rollout,
    "cancel": rollouts.cancel_rollout,
    "undo": rollouts.undo_rollout,
    "rehearse": rollouts.rehearse_rollout,
}


class CatalogFleet:
    """The fleet of the catalog, as the user of the command line sees it."""

    program = "flask"
    unreachable = OperationalError

    def __init__(self, actor: Actor) -> None:
        self.actor = actor

    def names(self, kind: str, start: str, limit: int) -> list[tuple[str, str]]:
        if kind == "project":
            known, _ = projects.list_projects(self.actor, limit=limit, search=start)
            return [(one.name, one.state) for one in known]
        chosen = Selector(search=start or None)
        found, _ = databases.list_databases(self.actor, chosen, limit=limit)
        return [(one.name, one.position) for one in found]

    def project_id(self, name: str) -> int:
        return projects.find_project(self.actor, name).id

    def account_id(self, name: str) -> int:
        return accounts.find_account(self.actor, name).id

    def member_id(self, project_id: int, name: str) -> int:
        project = projects.get_project(self.actor, project_id)
        try:
            return databases.find_database(self.actor, f"{project.name}/{name}").id
        except DatabaseNotFound:
            found = databases.find_database(self.actor, name)
        if found.project_id != project.id:
            raise InputInvalid(
                f"{found.project.name}/{found.name} is not a database of {project.name}. A rollout "
                "is for one project."
            )
        return found.id

    def database(self, name: str) -> Row:
        return row_of(databases.find_database(self.actor, name))

    def rollouts(self, **query: Any) -> Page:
        found, following = rollouts.list_rollouts(self.actor, **query)
        return [rollout_row(one) for one in found], following

    def rollout(self, rollout_id: int) -> Row:
        return rollout_row(rollouts.get_rollout(self.actor, rollout_id))

    def preview(self, what: int | Mapping[str, Any]) -> Row:
        return _preview_row(rollouts.preview(self.actor, what))

    def preview_undo(self, rollout_id: int) -> Row:
        return _preview_row(rollouts.preview_undo(self.actor, rollout_id))

    def create_rollout(self, values: Mapping[str, Any]) -> Row:
        return rollout_row(rollouts.create_rollout(self.actor, values)[0])

    def step(self, rollout_id: int, verb: str, **options: Any) -> Row:
        return rollout_row(STEPS[verb](self.actor, rollout_id, **options))

    def progress(self, rollout_id: int) -> Row:
        watched = watch.look(self.actor, rollout_id)
        more = {name: getattr(watched, name) for name in ("settled", "waits_for_approval")}
        return {**_json_of(watched.progress), **more}

    def count_workers(self) -> int:
        return workers.count_alive()

    def runs(self, **query: Any) -> Page:
        found, following = runs.list_runs(self.actor, **query)
        names = runs.names_of(found)
        return [_run_row(run, names) for run in found], following

    def run(self, run_id: int) -> Row:
        found = runs.get_run(self.actor, run_id)
        return _run_row(found, runs.names_of([found])) | {
            "log": found.log,
            "sql": runs.sql_of(found),
        }

    def plan(self, database: Row, kind: str, target: str) -> Row:
        found = databases.get_database(self.actor, database["id"])
        return _plan_row(databases.plan_of(self.actor, found, Kind(kind), target))

    def start_run(self, database: Row, kind: str, target: str, **options: Any) -> Row:
        started = databases.run_one(self.actor, database["id"], kind, target, **options)
        return rollout_row(started)


def here() -> CatalogFleet:
    """The fleet of the catalog. Raises CatalogBehind if it is behind."""
    return CatalogFleet(command_line())


def on_catalog(command: click.Command) -> click.Command:
    """A command of the library that works on the catalog."""
    callback: Any = command.callback

    @with_appcontext
    @wraps(callback)
    def with_fleet(*args: Any, **kwargs: Any) -> Any:
        click.get_current_context().meta[FLEET] = here
        return callback(*args, **kwargs)

    ours = copy(command)
    ours.callback = with_fleet
    return ours


def rollout_row(rollout: Rollout) -> Row:
    """A rollout as JSON values, as the API shows it. Waves are counted from 1."""
    shown = {name: getattr(rollout, name) for name in ROLLOUTS.fields}
    return shown | {"wave": rollout.wave + 1 if rollout.sizes else 0}


def _run_row(run: Run, names: dict[int, str]) -> Row:
    more = {"database": names.get(run.database_id, ""), "wave": wave_of(run.wave)}
    return {name: more[name] if name in more else getattr(run, name) for name in RUNS.fields}


def _preview_row(found: rollouts.Preview) -> Row:
    return {**_json_of(found), "is_done": found.is_done}


def _plan_row(plan: DatabasePlan) -> Row:
    steps = [
        {
            "revision": step.revision.revision,
            "message": step.revision.message,
            "risks": [risk.says for risk in step.risks],
        }
        for step in plan.steps
    ]
    names = ("target", "ends", "more", "why_not", "is_done")
    return {"steps": steps} | {name: getattr(plan, name) for name in names}


def _json_of(value: Any) -> Any:
    """Dataclasses as JSON values, as the API shows them. Waves are counted from 1."""
    if isinstance(value, Approval):
        names = ("account_id", "account_name", "at")
        return {"wave": value.wave + 1} | {name: _json_of(getattr(value, name)) for name in names}
    if is_dataclass(value):
        return {field.name: _json_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_json_of(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
