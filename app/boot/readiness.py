"""Where the catalog stands right now: for probes, and for commands that need it at head."""

import logging
import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app.boot.bind import catalog
from app.extensions import db
from headway.dialects.reach import connect, reaching
from headway.errors import CatalogBehind, DatabaseUnreachable, HeadwayError
from headway.status import read_current, status_of
from headway.types import Position, Status

log = logging.getLogger(__name__)

Answer = tuple[bool, dict[str, Any]]


def readiness() -> Answer:
    """Whether requests may come, and the body that says why.

    One query. Ready means reachable and at head, or newer and served `degraded`.
    """
    here, began = catalog(), time.monotonic()
    try:
        current = _current()
    except (HeadwayError, SQLAlchemyError) as error:
        # Open to everybody: not where the catalog is, nor what its server said.
        log.warning("the catalog cannot be read: %s", error)
        return False, {"state": "unreachable", "detail": DatabaseUnreachable.title()}
    state = _state(current)
    return state in ("head", "degraded"), {
        "state": state,
        "revision": ", ".join(current) or None,
        "head": ", ".join(here.scripts.heads),
        "milliseconds": round((time.monotonic() - began) * 1000, 1),
    }


def state() -> str:
    """`head`, `degraded`, `behind` or `empty`: one query. Raises if the catalog cannot be read."""
    return _state(_current())


def behind() -> CatalogBehind | None:
    """Why requests fail, where the catalog was taken back while this release serves it."""
    db.session.rollback()
    try:
        now = state()
    except (HeadwayError, SQLAlchemyError):
        return None
    if now not in ("behind", "empty"):
        return None
    return CatalogBehind(
        f"The catalog is {now}: it was taken back while this release served it. Bring it to head "
        "again, or start the release that it is at."
    )


def _current() -> tuple[str, ...]:
    with connect(db.engine) as connection, reaching(db.engine.url):
        current = read_current(connection, ("alembic_version",))
        connection.rollback()
    return current


def _state(current: tuple[str, ...]) -> str:
    scripts = catalog().scripts
    if not current:
        return "empty"
    if set(current) == set(scripts.heads):
        return "head"
    unknown = any(revision not in scripts.by_id for revision in current)
    return "degraded" if unknown else "behind"


def position() -> Status:
    """One whole look at the current app's catalog."""
    with connect(db.engine) as connection, reaching(db.engine.url):
        return status_of(connection, catalog().scripts)


def require_head() -> None:
    """Raise CatalogBehind unless the catalog is at this release's head or newer.

    What every command calls that reads or writes the catalog: a command never migrates.
    """
    seen = position()
    if seen.position not in (Position.AT_HEAD, Position.AHEAD):
        at = ", ".join(seen.current) or seen.position
        raise CatalogBehind(
            f"The catalog is at {at}, and this needs {', '.join(seen.heads)}. Start the service, "
            "or run `flask db upgrade`.",
            current=seen.current,
            heads=seen.heads,
        )
