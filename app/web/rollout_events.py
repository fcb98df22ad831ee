"""`/rollouts/<id>/events`: server-sent events that notify the page of a rollout of changes."""

import json
from dataclasses import astuple
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request

from app.errors import TooManyStreams
from app.fleet.rollouts import watch
from app.http import event_stream
from app.web import access

bp = APIBlueprint("live", __name__, enable_openapi=False, url_prefix="/rollouts")

AGAIN_SECONDS = "4"


@bp.get("/<int:rollout_id>/events")
def events(rollout_id: int) -> Any:
    """Server-sent events while a rollout is active. The page then loads the parts that change."""
    token = request.cookies[access.cookie()]
    try:
        return event_stream.answer(access.actor(), token, rollout_id, progress_text)
    except TooManyStreams:  # the page's script then polls instead
        return Response(status=503, headers={"Retry-After": AGAIN_SECONDS})


def progress_text(watched: watch.WatchedRollout) -> str:
    """The progress as text, to detect a change."""
    progress = watched.progress
    rehearsed = progress.rehearsal
    parts = [*progress.waves, *([progress.undo] if progress.undo else [])]
    return json.dumps(
        {
            "stage": progress.stage,
            "reason": progress.reason,
            "waves": [astuple(part) for part in parts],
            "rehearsed": [rehearsed.done, rehearsed.failed] if rehearsed else None,
            "approvals": len(progress.approvals),
        }
    )
