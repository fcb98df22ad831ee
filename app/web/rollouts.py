"""`/rollouts`: the list, and the pages of a rollout."""

import re
from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import projects, runs, workers
from app.fleet import rollouts as fleet
from app.fleet.core.validation import is_id, parse_whole
from app.fleet.reports.run_states import run_states
from app.fleet.rollouts import allowed_actions, approvals, preview
from app.fleet.rollouts.progress import (
    RolloutProgress,
    differing_of,
    failed_of,
    progress,
    retrying,
    says,
)
from app.fleet.rollouts.rules.gates import Gate
from app.models import Kind, Rollout, Stage, State
from app.web import access, rollout_charts, rollout_form
from app.web.overview import project_id
from app.web.pagination import PAGE, after

bp = APIBlueprint("rollouts", __name__, enable_openapi=False, url_prefix="/rollouts")

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
