"""`/rollouts/<id>/events`: server-sent events that notify the page of a rollout of changes."""

import json
from dataclasses import astuple
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, Response, current_app, request

from app.errors import TooManyStreams
from app.fleet.core import places
from app.fleet.rollouts import watch
from app.http import event_stream
from app.web import access

bp = APIBlueprint("live", __name__, enable_openapi=False, url_prefix="/rollouts")

AGAIN_SECONDS = "4"


@bp.get("/<int:rollout_id>/events")
def events(rollout_id: int) -> Any:
    """Server-sent events while a rollout is active. The page then loads the parts that change."""
    actor = access.actor()
    watched = watch.look(actor, rollout_id)
    seen = request.headers.get("Last-Event-ID", "")
    if event_stream.is_over(watched, seen, progress_text):
        return Response(status=204)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    lines = event_stream.follow(
        app, request.cookies[access.cookie()], rollout_id, seen, progress_text
    )
    try:
        place = places.FOLLOWING.take(actor.id)
    except TooManyStreams:  # the page's script then polls instead
        return Response(status=503, headers={"Retry-After": AGAIN_SECONDS})
    response = Response(
        event_stream.until_the_end(lines, place),
        mimetype="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
    response.call_on_close(place.close)  # also if no line is ever read
    return response


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
