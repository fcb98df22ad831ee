"""Follow a rollout as server-sent events: few at once, nothing of the catalog held in between."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress

from flask import Flask
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import CatalogBusy, TooManyStreams
from app.fleet.accounts.tokens import authenticate
from app.fleet.rollouts import watch
from headway.errors import HeadwayError

FOLLOWERS = threading.BoundedSemaphore(2)
"""Of the four requests that a process answers at once, so many may follow a rollout."""
SECONDS = 60.0
"""How long one lasts; then the client comes back, and others have had their turn."""
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
RETRY_MILLISECONDS = 1000
LEAVING = "headway.leaving"
"""Set by the server in `app.extensions`: true once it was told to stop."""

ProgressText = Callable[[watch.WatchedRollout], str]
"""What a face says of a rollout as it was seen, in one line; another line is another event."""


def place_in(within: threading.BoundedSemaphore) -> ExitStack:
    """One of the places for streams, free again when it is closed. Raises TooManyStreams."""
    if not within.acquire(blocking=False):
        raise TooManyStreams("Too many streams are open. Try again in a moment.")
    place = ExitStack()
    place.callback(within.release)
    return place


def until_the_end(lines: Iterable[str], place: ExitStack) -> Iterator[str]:
    """The same lines; after the last one the place is free."""
    with place:
        yield from lines


def follow(
    app: Flask, token: str, rollout_id: int, seen: str, progress_text: ProgressText
) -> Iterator[str]:
    """The progress of a rollout as server-sent events, from what the client saw last.

    It ends after a while, or when nothing more happens by itself, or when the token is refused.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    began = sent_at = time.monotonic()
    while time.monotonic() - began < SECONDS and not _leaving(app):
        try:
            watched = _look(app, token, rollout_id)
        except HeadwayError:
            return  # whoever comes back is told why
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


def is_over(watched: watch.WatchedRollout, seen: str, progress_text: ProgressText) -> bool:
    """True if the client saw the end, and nothing has happened since."""
    return watched.settled and seen == _end_of(_tag_of(progress_text(watched)))


def _event(name: str, data: str, tag: str) -> str:
    """One server-sent event. `data` is one line."""
    return f"event: {name}\nid: {tag}\ndata: {data}\n\n"


def _ended(watched: watch.WatchedRollout) -> str:
    """Why nothing more comes."""
    return json.dumps({"stage": watched.progress.stage, "reason": watched.progress.reason})


def _tag_of(text: str) -> str:
    """What a client that saw this sends as `Last-Event-ID`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _end_of(tag: str) -> str:
    """The same of one that saw the end."""
    return f"{tag}-end"


def _look(app: Flask, token: str, rollout_id: int) -> watch.WatchedRollout | None:
    """None while the catalog is busy or away: it is asked again in a moment."""
    with suppress(CatalogBusy, DBAPIError, PoolTimeout), app.app_context():
        actor, _ = authenticate(token, request_id=None, ip=None)
        return watch.look(actor, rollout_id)
    return None


def _leaving(app: Flask) -> bool:
    leaving = app.extensions.get(LEAVING)
    return bool(leaving and leaving())
