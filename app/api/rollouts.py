"""`/api/v1/rollouts`."""

from collections.abc import Callable
from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from app.api import access, responses
from app.api.schemas.common import Idempotent
from app.api.schemas.rollouts import (
    Approve,
    Nothing,
    PreviewOut,
    ProgressOut,
    Rehearse,
    Resume,
    RolloutIn,
    RolloutOut,
    RolloutPage,
    RolloutQuery,
)
from app.fleet import rollouts as fleet
from app.fleet.rollouts import watch
from app.http import event_stream
from app.models import Rollout

bp = APIBlueprint("rollouts", __name__, url_prefix="/rollouts", tag="rollouts")


@bp.post("")
@bp.input(RolloutIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(RolloutOut, status_code=201)
@bp.doc(summary="Create a rollout; nothing is started", operation_id="createRollout")
def create(body: RolloutIn, idempotent: Idempotent) -> Any:
    rollout, replayed = fleet.create_rollout(
        access.actor(), body.values(), key=idempotent.idempotency_key
    )
    where = url_for("api.rollouts.read", rollout_id=rollout.id)
    return RolloutOut.of(rollout), 201, responses.made(where, replayed)


@bp.get("")
@bp.input(RolloutQuery, location="query", arg_name="query")
@bp.output(RolloutPage)
@bp.doc(summary="List rollouts, newest first", operation_id="listRollouts")
def list_(query: RolloutQuery) -> Any:
    asked = query.model_dump(exclude={"stage"})
    stages = (query.stage,) if query.stage else ()
    found, following = fleet.list_rollouts(access.actor(), **asked, stages=stages)
    page = RolloutPage(items=[RolloutOut.of(one) for one in found], next=following)
    return page, 200, responses.next_link(following)


@bp.get("/<int:rollout_id>")
@bp.output(RolloutOut)
@bp.doc(summary="Read a rollout", operation_id="readRollout")
def read(rollout_id: int) -> Any:
    return RolloutOut.of(fleet.get_rollout(access.actor(), rollout_id))


# --- before it starts --------------------------------------------------------------------------


@bp.post("/preview")
@bp.input(RolloutIn, arg_name="body")
@bp.output(PreviewOut)
@bp.doc(summary="Preview a rollout that is not made", operation_id="previewNewRollout")
def preview_new(body: RolloutIn) -> Any:
    return PreviewOut.model_validate(fleet.preview(access.actor(), body.values()))


@bp.get("/<int:rollout_id>/preview")
@bp.output(PreviewOut)
@bp.doc(summary="Preview a rollout: who, how far, with which SQL", operation_id="previewRollout")
def preview(rollout_id: int) -> Any:
    return PreviewOut.model_validate(fleet.preview(access.actor(), rollout_id))


@bp.get("/<int:rollout_id>/undo/preview")
@bp.output(PreviewOut)
@bp.doc(summary="Preview an undo: who goes back, and what goes with it", operation_id="previewUndo")
def preview_undo(rollout_id: int) -> Any:
    return PreviewOut.model_validate(fleet.preview_undo(access.actor(), rollout_id))


@bp.post("/<int:rollout_id>/rehearse")
@bp.input(Rehearse, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(RolloutOut, status_code=202)
@bp.doc(summary="Rehearse a rollout on copies", operation_id="rehearseRollout")
def rehearse(rollout_id: int, body: Rehearse, idempotent: Idempotent) -> Any:
    return _accepted(
        fleet.rehearse_rollout, rollout_id, sample=body.sample, key=idempotent.idempotency_key
    )


# --- steps ---------------------------------------------------------------------------------------


@bp.post("/<int:rollout_id>/resume")
@bp.input(Resume, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(RolloutOut, status_code=202)
@bp.doc(summary="Go on with a rollout that halted or was paused", operation_id="resumeRollout")
def resume(rollout_id: int, body: Resume, idempotent: Idempotent) -> Any:
    arguments = {"skip_failed": body.skip_failed, "key": idempotent.idempotency_key}
    return _accepted(fleet.resume_rollout, rollout_id, **arguments)


@bp.post("/<int:rollout_id>/approve")
@bp.input(Approve, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(RolloutOut, status_code=202)
@bp.doc(summary="Let the next wave begin, as another account", operation_id="approveRollout")
def approve(rollout_id: int, body: Approve, idempotent: Idempotent) -> Any:
    arguments = {"wave": body.wave, "key": idempotent.idempotency_key}
    return _accepted(fleet.approve_rollout, rollout_id, **arguments)


def _step(verb: str, summary: str, use_case: Callable[..., Rollout]) -> None:
    """Register an endpoint for an action whose only argument is the rollout."""

    @bp.post(f"/<int:rollout_id>/{verb}", endpoint=verb)
    @bp.input(Nothing, arg_name="body")
    @bp.input(Idempotent, location="headers", arg_name="idempotent")
    @bp.output(RolloutOut, status_code=202)
    @bp.doc(summary=summary, operation_id=f"{verb}Rollout")
    def step(rollout_id: int, body: Nothing, idempotent: Idempotent) -> Any:  # noqa: ARG001
        return _accepted(use_case, rollout_id, key=idempotent.idempotency_key)


_step("start", "Start a rollout: its first wave opens", fleet.start_rollout)
_step("pause", "Pause a rollout; what runs goes on to its end", fleet.pause_rollout)
_step("cancel", "Cancel a rollout; what is done stays done", fleet.cancel_rollout)
_step("retry", "Try those again that failed", fleet.retry_rollout)
_step("undo", "Take every database back to where it came from", fleet.undo_rollout)


def _accepted(use_case: Callable[..., Rollout], rollout_id: int, **arguments: Any) -> Any:
    rollout = use_case(access.actor(), rollout_id, **arguments)
    return RolloutOut.of(rollout), 202, responses.under_way(rollout.id)


# --- while it goes on ----------------------------------------------------------------------------


@bp.get("/<int:rollout_id>/progress")
@bp.output(ProgressOut)
@bp.doc(summary="Read how far a rollout is", operation_id="readProgress")
def progress(rollout_id: int) -> Any:
    return ProgressOut.of(watch.read(access.actor(), rollout_id))


EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["progress", "end"]},
        "id": {"type": "string", "description": "Send it back as `Last-Event-ID`."},
        "data": {
            "type": "string",
            "description": "JSON: what `readProgress` answers; of the end, `stage` and `reason`.",
        },
    },
}
EVENTS: dict[int | str, Any] = {
    200: {
        "description": "Server-sent events: `progress` when something changed, `end` when nothing "
        "more happens by itself. The connection ends after a minute; come back then.",
        "content": {"text/event-stream": {"schema": EVENT}},
    },
    204: {"description": "You saw the end, and nothing has happened since."},
}


@bp.get("/<int:rollout_id>/events")
@bp.doc(summary="Follow a rollout", operation_id="followRollout", responses=EVENTS)
def events(rollout_id: int) -> Any:
    def as_read(watched: watch.WatchedRollout) -> str:
        return ProgressOut.of(watched).model_dump_json()

    return event_stream.answer(access.actor(), access.token(), rollout_id, as_read)
