"""Streamed responses, and a rollout followed as server-sent events.

No connection to the catalog stays open between two events.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress

from flask import Flask, Response, current_app, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import CatalogBusy
from app.fleet.accounts.tokens import authenticate
from app.fleet.core import places
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import watch
from app.models import TokenKind
from headway.errors import HeadwayError

SECONDS = 60.0
"""How long a stream lasts. Then the client reconnects, so that others get a turn."""
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000
LEAVING = "headway.leaving"
"""A function in `app.extensions`, set by the server: true once it is stopping."""

ProgressText = Callable[[watch.WatchedRollout], str]
"""Renders the progress as one line of text. A changed line is a new event."""


def streamed(lines: Iterable[str], place: ExitStack, mimetype: str, **headers: str) -> Response:
    """A response whose lines are produced while it is sent; its end frees the place."""

    def until_the_end() -> Iterator[str]:
        with place:
            yield from lines

    response = Response(until_the_end(), mimetype=mimetype, headers=headers)
    response.call_on_close(place.close)  # also if nobody ever reads a line
    return response


def answer(actor: Actor, token: str, rollout_id: int, progress_text: ProgressText) -> Response:
    """The response to a client that follows a rollout; 204 if it has seen the end.

    Raises RolloutNotFound, TooManyStreams.
    """
    watched = watch.look(actor, rollout_id)
    seen = request.headers.get("Last-Event-ID", "")
    if watched.settled and seen == _end_of(_tag_of(progress_text(watched))):
        return Response(status=204)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    lines = _follow(app, token, rollout_id, seen, progress_text)
    place = places.FOLLOWING.take(actor.id)
    return streamed(lines, place, "text/event-stream", **{"X-Accel-Buffering": "no"})


def _follow(
    app: Flask, token: str, rollout_id: int, seen: str, progress_text: ProgressText
) -> Iterator[str]:
    """The progress of a rollout as server-sent events, after the event that the client saw last.

    The stream ends after SECONDS, when nothing more happens, or when the token is refused.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    began = sent_at = time.monotonic()
    while time.monotonic() - began < SECONDS and not _leaving(app):
        try:
            watched = _look(app, token, rollout_id)
        except HeadwayError:
            return  # a client that reconnects gets the error
        if watched is not None:
            text = progress_text(watched)
            if (tag := _tag_of(text)) != seen:
                yield _event("progress", text, tag)
                seen, sent_at = tag, time.monotonic()
            if watched.settled:
                yield _event("end", _ended(watched), _end_of(tag))
                return
        if time.monotonic() - sent_at >= HEARTBEAT_SECONDS:
            yield ": still here\n\n"
            sent_at = time.monotonic()
        time.sleep(POLL_SECONDS)


def _event(name: str, data: str, tag: str) -> str:
    """One server-sent event. `data` is one line."""
    return f"event: {name}\nid: {tag}\ndata: {data}\n\n"


def _ended(watched: watch.WatchedRollout) -> str:
    """The data of the event `end`: the stage and the reason."""
    return json.dumps({"stage": watched.progress.stage, "reason": watched.progress.reason})


def _tag_of(text: str) -> str:
    """The id of an event with this text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _end_of(tag: str) -> str:
    """The id of the event `end` after the event with this id."""
    return f"{tag}-end"


def _look(app: Flask, token: str, rollout_id: int) -> watch.WatchedRollout | None:
    """The progress; None while the catalog is busy or unreachable."""
    with suppress(CatalogBusy, DBAPIError, PoolTimeout), app.app_context():
        kinds = (TokenKind.API, TokenKind.SESSION)
        actor, _ = authenticate(token, request_id=None, ip=None, kinds=kinds)
        return watch.look(actor, rollout_id)
    return None


def _leaving(app: Flask) -> bool:
    leaving = app.extensions.get(LEAVING)
    return bool(leaving and leaving())
