"""`/rollouts/new`: the form of a new rollout."""

from typing import Any

from apiflask import APIBlueprint
from flask import redirect, render_template, request, url_for

from app.errors import RoleInsufficient
from app.fleet import projects
from app.fleet import rollouts as fleet
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import POSITIONS
from app.fleet.core.validation import parse_whole
from app.fleet.databases import find_database
from app.fleet.projects import revisions
from app.fleet.reports.overview import overview
from app.fleet.rollouts.rules.windows import DAYS
from app.http.statuses import status_and_headers
from app.models import Kind, Revision, Rollout
from app.web import access, rollout_charts, rollout_form
from headway.errors import HeadwayError

bp = APIBlueprint("rollout_new", __name__, enable_openapi=False, url_prefix="/rollouts")

TARGETS = 500


@bp.route("/new", methods=["GET", "POST"])
def new() -> Any:
    """Create a rollout; its page shows what it would do before it is started."""
    actor = access.actor()
    if request.method == "GET":
        before = parse_whole(request.args.get("like", ""))
        if before:
            return _form(rollout_form.like(fleet.get_rollout(actor, before)))
        return _form(request.args, is_link=True)
    given, instead = request.form, request.form.get("instead", "")
    try:
        instead_id = parse_whole(instead)
        made, _ = fleet.create_rollout(actor, rollout_form.rollout_values(actor, given))
        if instead_id:
            fleet.cancel_rollout(actor, instead_id)
    except RoleInsufficient:
        raise
    except HeadwayError as error:
        return _form(given, error), *status_and_headers(error)
    return redirect(url_for("web.rollouts.show", rollout_id=made.id))


@bp.post("/new/waves")
def waves() -> str:
    """The waves of what a form asks for, drawn; a part of the form's page."""
    actor = access.actor()
    sizes: tuple[int, ...] = ()
    gate: dict[str, Any] = {}
    errors: dict[str, str] = {}
    try:
        values = rollout_form.rollout_values(actor, request.form)
        sizes, gate = fleet.wave_sizes(actor, values), values["gate"]
    except HeadwayError as error:
        errors = rollout_form.errors_of(error)
    return render_template(
        "rollout_new_waves.html",
        sizes=sizes,
        errors=errors,
        bars=rollout_charts.bars(sizes),
        gate=rollout_charts.gate_words(gate),
        marks=rollout_charts.gate_marks(gate),
    )


def _form(
    given: rollout_form.Given, error: HeadwayError | None = None, *, is_link: bool = False
) -> str:
    """The form with these values; those of a link are completed by what is usual."""
    actor = access.actor()
    known, _ = projects.list_projects(actor, limit=200)
    named = given.getlist("database")
    mine = [one for one in known if actor.may("rollouts.change", one.id)]
    # Before somebody chooses another, the first project is the chosen one.
    asked = given.get("project", "")
    project = next((one for one in mine if str(one.id) == asked or not asked), None)
    if mine and project is None and error:
        project = mine[0]
    elif mine and project is None:
        wanted = projects.get_project(actor, parse_whole(asked, "The project") or 0)
        actor.require("rollouts.change", wanted.id)
    usual = None
    if is_link:
        usual = _usual(actor, project.id, given) if project else None
        given = rollout_form.empty(given, usual)
    return render_template(
        "rollout_new.html",
        named=named,
        project=project,
        usual=usual,
        targets=_targets(actor, project.id) if project else (),
        counts=overview(actor, project_id=project.id).positions if project else {},
        only=_name_of(named[0]) if len(named) == 1 else None,
        projects=mine,
        kinds=rollout_form.KINDS,
        checks=rollout_form.CHECKS,
        positions=POSITIONS,
        days=DAYS,
        given=given,
        errors=rollout_form.errors_of(error) if error else {},
        instead=request.values.get("instead", ""),
    )


def _usual(actor: Actor, project_id: int, given: rollout_form.Given) -> Rollout | None:
    """The rollout whose settings a new one of this kind begins with, if there is one."""
    kind = given.get("kind") or Kind.UPGRADE
    if "waves" in given or kind not in (Kind.UPGRADE, Kind.DOWNGRADE):
        return None
    usual = fleet.last_migrating(actor, project_id)
    reads = (
        usual is not None and usual.gate.get("sql") and not actor.may("rollouts.sql", project_id)
    )
    return None if reads else usual


def _targets(actor: Actor, project_id: int) -> list[Revision]:
    """The revisions that a person may choose among, the newest first."""
    found, _ = revisions.list_revisions(actor, project_id, limit=TARGETS, present=True)
    return found[::-1]


def _name_of(name: str) -> str:
    try:
        return find_database(access.actor(), name).name
    except HeadwayError:
        return name
