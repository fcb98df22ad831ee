"""`/rollouts`: the list, the form of a new rollout, and the pages of a rollout."""

import re
from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid, RoleInsufficient
from app.fleet import projects, runs, workers
from app.fleet import rollouts as fleet
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import POSITIONS
from app.fleet.core.validation import is_id, parse_whole
from app.fleet.databases import find_database
from app.fleet.projects import revisions
from app.fleet.reports.overview import overview
from app.fleet.rollouts import allowed_actions, approvals, preview
from app.fleet.rollouts.gates import Gate
from app.fleet.rollouts.progress import (
    RolloutProgress,
    differing_of,
    failed_of,
    progress,
    retrying,
    run_states,
    says,
)
from app.fleet.rollouts.windows import DAYS
from app.http.statuses import status_of
from app.models import Kind, Revision, Rollout, Stage, State
from app.web import access, rollout_charts, rollout_form
from app.web.overview import project_id
from app.web.pagination import after
from headway.errors import HeadwayError

bp = APIBlueprint("rollouts", __name__, enable_openapi=False, url_prefix="/rollouts")

PAGE = 50
SECONDS = 3
"""The reload interval without JavaScript, while a rollout is active."""
WORDS = {
    "start": ("Start", "Started."),
    "rehearse": ("Rehearse", "The rehearsal on copies has started."),
    "pause": ("Pause", "Paused: no further run begins."),
    "resume": ("Resume", "Resumed."),
    "retry": ("Retry", "The failed databases are tried again."),
    "approve": ("Approve", "Approved: the rollout continues."),
    "cancel": ("Cancel", "Cancelled."),
    "undo": ("Undo", "The rollout is being undone."),
}
"""Action -> the label of its button, and the message after it."""
HEAVY = ("undo",)
"""Actions that must not be done by mistake."""
BEGINS = ("start", "rehearse")
TARGETS = 500
AFTER = re.compile(r"-?[0-9]{1,9}", re.ASCII)
LIVE = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING, Stage.UNDOING)


@bp.get("/")
def list_() -> str:
    """A page of rollouts, newest first."""
    stage = request.args.get("stage", "")
    if stage and stage not in list(Stage):
        raise InputInvalid(f"There is no stage {stage!r}. Use one of: {', '.join(Stage)}.")
    actor = access.actor()
    found, following = fleet.list_rollouts(
        actor,
        limit=PAGE,
        after=after(),
        project_id=project_id(),
        stages=[stage] if stage else (),
    )
    known, _ = projects.list_projects(actor, limit=200)
    failed = failed_of(actor, found)
    return render_template(
        "rollouts.html",
        rollouts=found,
        failed=failed,
        differing=differing_of(actor, found),
        columns=rollout_charts.columns(found, failed),
        following=following,
        names={project.id: project.name for project in known},
        chosen={"stage": stage or None, "project": project_id()},
        stages=list(Stage),
    )


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
        return _form(given, error), *status_of(error)
    return redirect(url_for("web.rollouts.show", rollout_id=made.id))


@bp.post("/new/waves")
def new_waves() -> str:
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


@bp.get("/<int:rollout_id>")
def show(rollout_id: int) -> str:
    """The page of a rollout: its preview or progress; with `?part=live`, the parts that change."""
    actor = access.actor()
    rollout = fleet.get_rollout(actor, rollout_id)
    is_part = request.args.get("part") == "live"
    before = Stage(rollout.stage) is Stage.PENDING
    foreseen = preview(actor, rollout_id) if before and not is_part else None
    is_held = not foreseen.is_possible if foreseen else bool(request.args.get("held"))
    return render_template(
        "rollout_live.html" if is_part else "rollout.html",
        rollout=rollout,
        project=None if is_part else projects.get_project(actor, rollout.project_id),
        preview=foreseen,
        foreseen=rollout_charts.bars(foreseen.waves) if foreseen else (),
        whom=rollout_form.describe_selection(rollout.selector),
        held=is_held,
        **_as_it_goes(rollout, held=is_held and before),
    )


def _as_it_goes(rollout: Rollout, *, held: bool) -> dict[str, Any]:
    """The values of the parts that change; `held`: it cannot be started."""
    actor = access.actor()
    current, stage = progress(actor, rollout.id), Stage(rollout.stage)
    rehearsing = current.rehearsal is not None and current.rehearsal.done < current.rehearsal.total
    is_live = stage in LIVE or (stage is Stage.PENDING and rehearsing)
    rehearsed = current.rehearsal if stage is Stage.PENDING else None
    failure = rehearsed.first_error if rehearsed else current.first_error
    run = runs.get_run(actor, failure.run_id) if failure else None
    done_at = rollout.wave_done_at if stage is Stage.SOAKING else None
    return {
        "progress": current,
        "says": says,
        "asked_by": approvals.asked_by(rollout)[1],
        "actions": [
            (verb, WORDS[verb][0], verb in HEAVY)
            for verb in allowed_actions(actor, rollout)
            if not (held and verb in BEGINS)
        ],
        "gate": rollout_charts.gate_words(rollout.gate),
        "marks": rollout_charts.gate_marks(rollout.gate),
        "soaks_until": Gate.of(rollout.gate).soaks_until(done_at) if done_at else None,
        "grids": _grids(rollout, current),
        "failure": failure,
        "run": run,
        "sql": runs.sql_of(run) if run else None,
        "retries": retrying(actor, rollout.id) if is_live else (),
        "again": SECONDS if is_live else None,
        "undone": fleet.preview_undo(actor, rollout.id) if stage is Stage.HALTED else None,
        "idle": is_live and not workers.count_alive(),
    }


def _grids(rollout: Rollout, current: RolloutProgress) -> list[tuple[Kind, rollout_charts.Grid]]:
    """The grids of cells: of the undo, the rollout and the rehearsal; the active one first."""
    drawn = [Kind.UNDO] if current.undo else []
    if current.waves:
        drawn.append(Kind(rollout.kind))
    elif current.rehearsal:
        drawn.append(Kind.REHEARSE)
    actor = access.actor()
    return [(kind, rollout_charts.grid(run_states(actor, rollout.id, kind))) for kind in drawn]


@bp.get("/<int:rollout_id>/databases")
def databases(rollout_id: int) -> str:
    """A page of the runs of a rollout in their order, in one state or all."""
    actor = access.actor()
    rollout = fleet.get_rollout(actor, rollout_id)
    kind, state = request.args.get("kind", ""), request.args.get("state", "")
    if kind not in ("", rollout.kind, Kind.UNDO, Kind.REHEARSE):
        raise InputInvalid(f"Rollout {rollout_id} has no runs of the kind {kind!r}.")
    if state and state not in list(State):
        raise InputInvalid(f"There is no state {state!r}. Use one of: {', '.join(State)}.")
    kind = kind or rollout.kind
    found, following = runs.list_of_rollout(
        actor, rollout_id, kind, limit=PAGE, after=_after(rollout), state=state or None
    )
    return render_template(
        "rollout_databases.html",
        rollout=rollout,
        runs=found,
        names=runs.names_of(found),
        following=f"{following[0]}.{following[1]}" if following else None,
        states=list(State),
        kind=kind,
        state=state,
    )


def _after(rollout: Rollout) -> tuple[int, int] | None:
    """The (wave, place) before the page: from `after=1.40`, or from `place=40` of the grid."""
    wave, _, place = request.args.get("after", "").partition(".")
    if AFTER.fullmatch(wave) and AFTER.fullmatch(place):
        return int(wave), int(place)
    if is_id(text := request.args.get("place", "")):
        ends = [sum(rollout.sizes[: n + 1]) for n in range(len(rollout.sizes))]
        return sum(int(text) >= end for end in ends), int(text) - 1
    return None


# --- what can be pressed -------------------------------------------------------------------------

Does = Callable[[Any, int], Rollout]


@bp.route("/<int:rollout_id>/<verb>", methods=["GET", "POST"])
def act(rollout_id: int, verb: str) -> Any:
    """Show the effect of an action (GET), or do it (POST)."""
    if verb not in WORDS:
        raise InputInvalid("There is no such action.")
    actor = access.actor()
    rollout = fleet.get_rollout(actor, rollout_id)
    approved = verb == "undo" and bool(progress(actor, rollout_id).approvals)
    undoes = verb == "undo" or (verb == "approve" and rollout.resumes_as == Stage.UNDOING)
    back = fleet.preview_undo(actor, rollout_id) if undoes else None
    if request.method == "POST":
        if approved:
            access.prove()
        actor.require("rollouts.change", rollout.project_id)
        if (
            back
            and back.drops
            and verb == "undo"
            and request.form.get("confirm", "").strip() != str(rollout_id)
        ):
            raise InputInvalid(
                "Tables or columns are dropped with their data: to undo the rollout, type its "
                f"number, {rollout_id}.",
                field="confirm",
            )
        done = _do(verb)(actor, rollout_id)
        flash(_message_after(done, verb), "good")
        return redirect(url_for("web.rollouts.show", rollout_id=rollout_id))
    foreseen = preview(actor, rollout_id) if verb in BEGINS and not rollout.sizes else None
    return render_template(
        "rollout_act.html",
        rollout=rollout,
        verb=verb,
        word=WORDS[verb][0],
        heavy=undoes,
        approved=approved,
        open=verb in allowed_actions(actor, rollout) and (foreseen is None or foreseen.is_possible),
        progress=progress(actor, rollout_id),
        preview=foreseen,
        undone=back,
        skip=bool(request.args.get("skip")),
        again=bool(request.args.get("again")),
        gate=rollout_charts.gate_words(rollout.gate),
        asked_by=approvals.asked_by(rollout)[1],
    )


def _message_after(rollout: Rollout, verb: str) -> str:
    """The message after an action; what waits for an approval has not begun."""
    is_held = approvals.is_before_begin(rollout)
    return rollout.reason or "" if is_held else WORDS[verb][1]


def _do(verb: str) -> Does:
    """The function of an action, with the further values of the form."""
    skip = bool(request.form.get("skip_failed"))
    sample = parse_whole(request.form.get("sample", ""), "How many of each plan to rehearse")
    wave = parse_whole(request.form.get("wave", ""), "The wave")
    if sample == 0:
        raise InputInvalid(
            "Give the number of databases to rehearse of each plan, as a whole number from 1."
        )
    does: dict[str, Does] = {
        "start": fleet.start_rollout,
        "rehearse": lambda actor, rollout_id: fleet.rehearse_rollout(
            actor, rollout_id, sample=sample
        ),
        "pause": fleet.pause_rollout,
        "resume": lambda actor, rollout_id: fleet.resume_rollout(
            actor, rollout_id, skip_failed=skip
        ),
        "retry": fleet.retry_rollout,
        "approve": lambda actor, rollout_id: fleet.approve_rollout(actor, rollout_id, wave=wave),
        "cancel": fleet.cancel_rollout,
        "undo": fleet.undo_rollout,
    }
    return does[verb]
