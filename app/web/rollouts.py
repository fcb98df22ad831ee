"""`/rollouts`: the list, a new one, and one while it goes on."""

import re
from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid, RoleInsufficient
from app.fleet import projects, runs, workers
from app.fleet import rollouts as fleet
from app.fleet.core.selectors import POSITIONS
from app.fleet.core.validation import whole
from app.fleet.databases import find_database
from app.fleet.rollouts import preview, verbs
from app.fleet.rollouts.gates import Gate
from app.fleet.rollouts.progress import Progress, cells, failed_of, progress, retrying
from app.fleet.rollouts.windows import DAYS
from app.models import Kind, Rollout, Stage, State
from app.web import access, rollout_charts, rollout_form
from app.web.overview import project_id
from app.web.pagination import after
from headway.errors import HeadwayError

bp = APIBlueprint("rollouts", __name__, enable_openapi=False, url_prefix="/rollouts")

PAGE = 50
SECONDS = 3
"""How often a page whose rollout goes on asks again, by itself and without a script."""
WORDS = {
    "start": ("Start", "Started."),
    "rehearse": ("Rehearse", "The rehearsal has begun, on copies."),
    "pause": ("Pause", "Paused: nothing more is begun."),
    "resume": ("Resume", "It goes on."),
    "retry": ("Retry", "Those that failed are tried again."),
    "approve": ("Approve", "Approved: the next wave begins."),
    "cancel": ("Cancel", "Cancelled."),
    "undo": ("Undo", "It is being taken back."),
}
"""What is on the button, and what is said when it was pressed."""
HEAVY = ("cancel", "undo")
"""What nobody wants to press by mistake."""
BEGINS = ("start", "rehearse")
AFTER = re.compile(r"-?[0-9]{1,9}", re.ASCII)
LIVE = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING, Stage.UNDOING)


@bp.get("/")
def list_() -> str:
    """Rollouts, newest first."""
    stage = request.args.get("stage", "")
    if stage and stage not in list(Stage):
        raise InputInvalid(f"There is no stage {stage!r}. There are: {', '.join(Stage)}.")
    actor = access.actor()
    found, following = fleet.list_rollouts(
        actor,
        limit=PAGE,
        after=after(),
        project_id=project_id(),
        stages=[stage] if stage else (),
    )
    known, _ = projects.list_projects(actor, limit=200)
    return render_template(
        "rollouts.html",
        rollouts=found,
        failed=failed_of(actor, found),
        following=following,
        names={project.id: project.name for project in known},
        chosen={"stage": stage or None, "project": project_id()},
        stages=list(Stage),
    )


@bp.route("/new", methods=["GET", "POST"])
def new() -> Any:
    """Ask for one; it is shown before anything is done."""
    actor = access.actor()
    if request.method == "GET":
        before = whole(request.args.get("like", ""))
        rollout = fleet.get_rollout(actor, before) if before else None
        return _form(rollout_form.like(rollout) if rollout else rollout_form.empty(request.args))
    given, instead = request.form, request.form.get("instead", "")
    try:
        instead_id = whole(instead)
        made, _ = fleet.create_rollout(actor, rollout_form.asked(actor, given))
        if instead_id:
            fleet.cancel_rollout(actor, instead_id)
    except RoleInsufficient:
        raise
    except HeadwayError as error:
        return _form(given, error), access.STATUS.get(error.kind, 409)
    return redirect(url_for("web.rollouts.show", rollout_id=made.id))


def _form(given: rollout_form.Given, error: HeadwayError | None = None) -> str:
    known, _ = projects.list_projects(access.actor(), limit=200)
    named = given.getlist("database")
    return render_template(
        "rollout_new.html",
        named=named,
        only=_name_of(named[0]) if len(named) == 1 else None,
        projects=known,
        kinds=rollout_form.KINDS,
        checks=rollout_form.CHECKS,
        positions=POSITIONS,
        days=DAYS,
        given=given,
        error=error,
        field=error.context.get("field") if error else None,
        instead=request.values.get("instead", ""),
    )


def _name_of(said: str) -> str:
    try:
        return find_database(access.actor(), said).name
    except HeadwayError:
        return said


@bp.get("/<int:rollout_id>")
def show(rollout_id: int) -> str:
    """What it will do, or how far it is; with `?part=live`, what changes of it while it goes on."""
    actor = access.actor()
    rollout = fleet.get_rollout(actor, rollout_id)
    is_part = request.args.get("part") == "live"
    before = Stage(rollout.stage) is Stage.PENDING
    foreseen = preview(actor, rollout_id) if before and not is_part else None
    is_held = not foreseen.is_possible if foreseen else bool(request.args.get("held"))
    return render_template(
        "rollout_live.html" if is_part else "rollout.html",
        rollout=rollout,
        preview=foreseen,
        foreseen=rollout_charts.bars(rollout_charts.waves_of(foreseen.waves), 0)
        if foreseen
        else (),
        whom=rollout_form.whom(rollout.selector),
        held=is_held,
        **_as_it_goes(rollout, held=is_held and before),
    )


def _as_it_goes(rollout: Rollout, *, held: bool) -> dict[str, Any]:
    """What changes on the page while it goes on; `held` if nothing would come of its start."""
    actor = access.actor()
    told, stage = progress(actor, rollout.id), Stage(rollout.stage)
    rehearsing = told.rehearsal is not None and told.rehearsal.done < told.rehearsal.total
    is_live = stage in LIVE or (stage is Stage.PENDING and rehearsing)
    rehearsed = told.rehearsal if stage is Stage.PENDING else None
    failure = rehearsed.first_error if rehearsed else told.first_error
    run = runs.get_run(actor, failure.run_id) if failure else None
    done_at = rollout.wave_done_at if stage is Stage.SOAKING else None
    return {
        "progress": told,
        "verbs": [
            (verb, WORDS[verb][0], verb in HEAVY)
            for verb in verbs(actor, rollout)
            if not (held and verb in BEGINS)
        ],
        "bars": rollout_charts.bars(told.waves, told.wave),
        "gate": rollout_charts.gate_words(rollout.gate),
        "marks": rollout_charts.gate_marks(rollout.gate),
        "soaks_until": Gate.of(rollout.gate).soaks_until(done_at) if done_at else None,
        "grids": _grids(rollout, told),
        "failure": failure,
        "run": run,
        "sql": runs.sql_of(run) if run else None,
        "retries": retrying(actor, rollout.id) if is_live else (),
        "again": SECONDS if is_live else None,
        "idle": is_live and not workers.list_workers(actor, limit=1)[0],
    }


def _grids(rollout: Rollout, told: Progress) -> list[tuple[Kind, rollout_charts.Grid]]:
    """The databases as cells: as they are rehearsed, done, taken back; what goes on now first."""
    drawn = [Kind.UNDO] if told.undo else []
    if told.waves:
        drawn.append(Kind(rollout.kind))
    elif told.rehearsal:
        drawn.append(Kind.REHEARSE)
    actor = access.actor()
    return [(kind, rollout_charts.grid(cells(actor, rollout.id, kind))) for kind in drawn]


@bp.get("/<int:rollout_id>/databases")
def databases(rollout_id: int) -> str:
    """Its databases, those in one state or all, in the order in which they are begun."""
    actor = access.actor()
    rollout = fleet.get_rollout(actor, rollout_id)
    kind, state = request.args.get("kind", ""), request.args.get("state", "")
    if kind not in ("", rollout.kind, Kind.UNDO, Kind.REHEARSE):
        raise InputInvalid(f"Rollout {rollout_id} has no runs that {kind!r}.")
    if state and state not in list(State):
        raise InputInvalid(f"There is no state {state!r}. There are: {', '.join(State)}.")
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
    """After which wave and place the page begins: `after=1.40`, or `place=40` of the drawing."""
    wave, _, place = request.args.get("after", "").partition(".")
    if AFTER.fullmatch(wave) and AFTER.fullmatch(place):
        return int(wave), int(place)
    if (said := whole(request.args.get("place", ""))) is not None:
        ends = [sum(rollout.sizes[: n + 1]) for n in range(len(rollout.sizes))]
        return sum(said >= end for end in ends), said - 1
    return None


# --- what can be pressed -------------------------------------------------------------------------

Does = Callable[[Any, int], Rollout]


@bp.route("/<int:rollout_id>/<verb>", methods=["GET", "POST"])
def act(rollout_id: int, verb: str) -> Any:
    """Say what will happen, then do it."""
    if verb not in WORDS:
        raise InputInvalid("There is no such action.")
    actor = access.actor()
    if request.method == "POST":
        _do(verb)(actor, rollout_id)
        flash(WORDS[verb][1], "good")
        return redirect(url_for("web.rollouts.show", rollout_id=rollout_id))
    rollout = fleet.get_rollout(actor, rollout_id)
    foreseen = preview(actor, rollout_id) if verb in BEGINS and not rollout.sizes else None
    return render_template(
        "rollout_act.html",
        rollout=rollout,
        verb=verb,
        word=WORDS[verb][0],
        heavy=verb in HEAVY,
        open=verb in verbs(actor, rollout) and (foreseen is None or foreseen.is_possible),
        progress=progress(actor, rollout_id),
        preview=foreseen,
        gate=rollout_charts.gate_words(rollout.gate),
    )


def _do(verb: str) -> Does:
    """The use case, with what the form says more."""
    skip = bool(request.form.get("skip_failed"))
    sample = whole(request.form.get("sample", ""), "How many of each plan to rehearse")
    wave = whole(request.form.get("wave", ""), "The wave")
    if sample == 0:
        raise InputInvalid("How many of each plan to rehearse is a whole number from 1.")
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
