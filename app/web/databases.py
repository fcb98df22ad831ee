"""`/databases`: the list with its filters, labels for many, and the page of a database."""

import shlex
from collections.abc import Sequence
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import databases as fleet
from app.fleet import projects, runs
from app.fleet.addresses import arguments
from app.fleet.core.selectors import POSITIONS
from app.fleet.core.validation import parse_whole
from app.fleet.databases import count_databases, sorted_databases
from app.fleet.drift import differences_of
from app.fleet.reports import overview as glance
from app.models import Database, Kind, Run, State
from app.web import access, filters
from app.web.database_actions import actions_for
from app.web.overview import project_id
from app.web.pagination import PAGE
from headway.errors import HeadwayError
from headway.types import NEXT_STEPS, Position

bp = APIBlueprint("databases", __name__, enable_openapi=False, url_prefix="/databases")

RUNS = 20
MOST_PROJECTS = 200
TAKEN = {
    "rollout": ("web.rollout_new.new", "Select at least one database, or use Roll out to all."),
    "label": ("web.databases.label", "Select at least one database, or use Label all."),
}
"""Bulk actions: endpoint, and the message if nothing is selected."""


@bp.get("/")
def list_() -> Any:
    """A page of databases, filtered; with `to`, redirect to a bulk action on the selected ones."""
    actor = access.actor()
    there, refused = TAKEN.get(request.args.get("to", ""), ("", ""))
    if there and filters.ids():
        return redirect(_with_ticked(there))
    selector, retired = filters.selector(), bool(request.args.get("retired"))
    order, backwards = filters.order()
    found, following = sorted_databases(
        actor,
        selector,
        limit=PAGE,
        order=order,
        backwards=backwards,
        after=request.args.get("after"),
        retired=retired,
    )
    known, _ = projects.list_projects(actor, limit=MOST_PROJECTS)
    page = render_template(
        "databases.html",
        databases=found,
        following=following,
        total=count_databases(actor, selector, retired=retired),
        fleet=glance.overview(actor, project_id=project_id()),
        projects={str(one.id): one.name for one in known},
        link=filters.link,
        chosen=filters.chosen(),
        order=order,
        backwards=backwards,
        positions=POSITIONS,
        refused=refused,
    )
    return page, 422 if refused else 200


@bp.route("/label", methods=["GET", "POST"])
def label() -> Any:
    """Set labels or the strategy of all databases that are selected, or match the filters."""
    actor = access.actor()
    actor.require("databases.change")
    if request.args.get("ticked") and not filters.ids():
        raise InputInvalid(
            "No database was selected. Go back, and select some in the first column."
        )
    selector, refused = filters.selector(), None
    if request.method == "POST":
        try:
            number = fleet.change_many(
                actor, selector, labels=_labels(), strategy=filters.form_value("strategy")
            )
        except HeadwayError as error:
            refused = error
        else:
            flash(f"Changed {number:,} database{'' if number == 1 else 's'}.", "good")
            return redirect(filters.link())
    page = render_template(
        "databases_label.html",
        total=count_databases(actor, selector),
        chosen=filters.chosen(),
        back=filters.link(),
        refused=refused,
    )
    return page, 422 if refused else 200


@bp.get("/<int:database_id>")
def show(database_id: int) -> str:
    """The page of a database: its status, pending revisions, drift, snapshots and history."""
    actor = access.actor()
    database = fleet.get_database(actor, database_id)
    before = parse_whole(request.args.get("before", ""))
    history, older = runs.list_runs(
        actor, limit=RUNS, after=before, database_id=database_id, newest=True, replaced=True
    )
    return render_template(
        "database.html",
        database=database,
        next_step=_next_step(database),
        x={name: f"{name}={value}" for name, value in arguments.shown(database).items()},
        quoted=shlex.quote,
        plan=fleet.plan_of(actor, database, Kind.UPGRADE),
        differences=differences_of(actor, database_id),
        history=history,
        last_failed=_last_failed(history) if before is None else None,
        older=older,
        dropped=fleet.drop_of(actor, database),
        snapshots=fleet.list_snapshots(actor, database_id),
        actions=actions_for(actor, database),
    )


@bp.get("/<int:database_id>/runs/<int:run_id>")
def run(database_id: int, run_id: int) -> str:
    """The page of a run: its log, its SQL and its error."""
    actor = access.actor()
    found = runs.get_run(actor, run_id)
    if found.database_id != database_id:
        raise InputInvalid(f"Run {run_id} belongs to another database.")
    return render_template(
        "database_run.html",
        database=fleet.get_database(actor, database_id),
        run=found,
        sql=runs.sql_of(found),
    )


def _last_failed(history: Sequence[Run]) -> Run | None:
    """The newest run, if it failed and nobody tries it again."""
    ended = [run for run in history if run.finished_at]
    failed = ended and ended[0].state == State.FAILED and not ended[0].replaced_by
    return ended[0] if failed else None


def _with_ticked(endpoint: str) -> str:
    known, _ = projects.list_projects(access.actor(), limit=2)
    project = known[0].id if len(known) == 1 else project_id()
    return url_for(endpoint, ticked=1, project=project, database=filters.ids())


def _labels() -> dict[str, str | None]:
    gone = filters.labels_in(request.form.get("gone", ""))
    return {**dict.fromkeys(gone), **filters.labels_in(request.form.get("labels", ""))}


def _next_step(database: Database) -> str:
    """A sentence about what to do next; "" if nothing, or only an upgrade."""
    usual = (Position.AT_HEAD, Position.BEHIND, Position.EMPTY)
    if database.retired_at or database.position in ("", *usual):
        return ""
    return NEXT_STEPS[Position(database.position)]
