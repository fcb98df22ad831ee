"""`/`: the overview of the fleet: positions, active rollouts, failures, projects."""

from dataclasses import dataclass

from apiflask import APIBlueprint
from flask import render_template, request

from app import boot
from app.fleet import projects, rollouts, workers
from app.fleet.core.validation import parse_whole
from app.fleet.reports import overview as fleet
from app.fleet.reports import revision_chart
from app.fleet.reports.overview import ProjectOverview
from app.fleet.reports.revision_chart import Chart
from app.fleet.rollouts.progress import differing_of, failed_of, progress
from app.models import ENDED_STAGES, Rollout, Stage
from app.web import access
from app.web.revision_graph import Drawing, draw
from app.web.rollout_charts import STATES

bp = APIBlueprint("overview", __name__, enable_openapi=False)

GOING_ON = [stage for stage in Stage if not stage.is_final and stage is not Stage.PENDING]
FOLLOWED = 3
"""For how many rollouts the runs are counted; the others show only the wave."""
DRAWN, NAMED = 6, 40
"""How many projects are drawn, and how many more are listed; the largest first."""
SECONDS = 15
"""The reload interval without JavaScript, while a rollout is active."""


@dataclass(frozen=True, kw_only=True)
class DrawnProject:
    """A project with its revision chart."""

    project: ProjectOverview
    chart: Chart
    drawing: Drawing


@bp.get("/")
def show() -> str:
    """The overview of one project or of all; with `?part=live`, only the parts that change."""
    actor, only = access.actor(), project_id()
    narrowed = projects.get_project(actor, only) if only is not None else None
    found = fleet.overview(actor, project_id=only)
    several = sorted(found.projects, key=lambda one: (-one.databases, one.name))
    current, _ = rollouts.list_rollouts(actor, limit=10, stages=GOING_ON, project_id=only)
    recent, _ = rollouts.list_rollouts(
        actor, limit=5, stages=ENDED_STAGES, project_id=only, begun=True
    )
    drafts: list[Rollout] = []
    if not current:
        drafts, _ = rollouts.list_rollouts(actor, limit=3, stages=[Stage.PENDING], project_id=only)
    is_part = request.args.get("part") == "live"
    return render_template(
        "overview_live.html" if is_part else "overview.html",
        fleet=found,
        narrowed=narrowed,
        choice=() if is_part else projects.list_projects(actor, limit=DRAWN + NAMED)[0],
        drawn=[_drawn(one, is_only=len(several) == 1) for one in several[:DRAWN]],
        named=several[DRAWN : DRAWN + NAMED],
        left=max(0, len(several) - DRAWN - NAMED),
        current=current,
        followed={one.id: progress(actor, one.id) for one in current[:FOLLOWED]},
        states=STATES,
        drafts=drafts,
        recent=recent,
        failed_of=failed_of(actor, recent),
        differing=differing_of(actor, recent),
        failed=fleet.failed_lately(actor, limit=5, project_id=only),
        workers=workers.count_alive(),
        catalog=boot.readiness()[1],
        again=SECONDS if current else None,
    )


def _drawn(project: ProjectOverview, *, is_only: bool) -> DrawnProject:
    chart = revision_chart.chart(access.actor(), project.id)
    drawing = draw(chart, stood_on=50, limit=100) if is_only else draw(chart, stood_on=8, limit=16)
    return DrawnProject(project=project, chart=chart, drawing=drawing)


def project_id() -> int | None:
    """The id of the project to which a page is restricted; None for all. Raises InputInvalid."""
    return parse_whole(request.args.get("project", ""), "The project")
