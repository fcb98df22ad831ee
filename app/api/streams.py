"""Streamed responses. The number of streams at one time is limited."""

from collections.abc import Iterable

from flask import Response

from app.api import access
from app.api.schemas.rollouts import ProgressOut
from app.fleet.core.places import Places
from app.fleet.rollouts import watch
from app.http import event_stream


def stream(lines: Iterable[str], *, within: Places, mimetype: str, **headers: str) -> Response:
    """A response whose lines are produced while it is sent. Raises TooManyStreams."""
    place = within.take(access.actor().id)
    response = Response(
        event_stream.until_the_end(lines, place), mimetype=mimetype, headers=headers
    )
    response.call_on_close(place.close)  # also if nobody ever reads a line
    return response


def progress_json(watched: watch.WatchedRollout) -> str:
    """Progress as the JSON that `readProgress` answers."""
    return ProgressOut.of(watched).model_dump_json()
