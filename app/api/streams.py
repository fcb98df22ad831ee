"""Streamed responses. The number of streams at one time is limited."""

import threading
from collections.abc import Iterable

from flask import Response

from app.api.schemas.rollouts import ProgressOut
from app.fleet.rollouts import watch
from app.http import event_stream

EXPORTS = threading.BoundedSemaphore(1)


def stream(
    lines: Iterable[str], *, within: threading.BoundedSemaphore, mimetype: str, **headers: str
) -> Response:
    """A response whose lines are produced while it is sent. Raises TooManyStreams."""
    place = event_stream.place_in(within)
    response = Response(
        event_stream.until_the_end(lines, place), mimetype=mimetype, headers=headers
    )
    response.call_on_close(place.close)  # also if nobody ever reads a line
    return response


def progress_json(watched: watch.WatchedRollout) -> str:
    """Progress as the JSON that `readProgress` answers."""
    return ProgressOut.model_validate(watched.progress).model_dump_json()
