"""Where a database stands right now: for probes, and for commands that need it at head."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from headway.connections.address import Address
from headway.connections.session import Policy
from headway.database import Database
from headway.dialects.reach import connect, reaching
from headway.errors import DatabaseBehind, DatabaseUnreachable, HeadwayError
from headway.scripts.environment import Readable
from headway.status import Evidence, ask, status_of, version_table
from headway.types import Position

log = logging.getLogger(__name__)


class Place(Protocol):
    """As much of a database as tells where it stands: see status.ask."""

    @property
    def project(self) -> Readable:
        """Its revisions."""

    @property
    def address(self) -> Address:
        """Where it is."""

    @property
    def x(self) -> Mapping[str, str]:
        """Its -x arguments."""

    @property
    def policy(self) -> Policy:
        """What it is called in messages."""


Answer = tuple[bool, dict[str, Any]]
STATES = {
    Position.AT_HEAD: "head",
    Position.AHEAD: "degraded",
    Position.DIVERGED: "degraded",
    Position.BEHIND: "behind",
    Position.EMPTY: "empty",
}
"""What a probe calls them: no other can be found by one query."""


def readiness(database: Database) -> Answer:
    """Whether requests may come, and the body that says why.

    One query. Ready means reachable and at head, or newer and served `degraded`.
    """
    began = time.monotonic()
    try:
        versions = _versions(database)
    except (HeadwayError, SQLAlchemyError) as error:
        # Open to everybody: not where the database is, nor what its server said.
        log.warning("the database cannot be read: %s", error)
        return False, {"state": "unreachable", "detail": DatabaseUnreachable.title()}
    state = _state(database, versions)
    return state in ("head", "degraded"), {
        "state": state,
        "revision": ", ".join(versions) or None,
        "head": ", ".join(database.project.heads),
        "milliseconds": round((time.monotonic() - began) * 1000, 1),
    }


def state(database: Database) -> str:
    """`head`, `degraded`, `behind` or `empty`: one query. Raises where it cannot be read."""
    return _state(database, _versions(database))


def _state(database: Database, versions: tuple[str, ...]) -> str:
    return STATES[status_of(database.project.scripts, Evidence(versions=versions)).position]


def _versions(database: Database) -> tuple[str, ...]:
    table = version_table(database.project, database.address, database.x)
    engine = database.address.engine
    if engine is None:
        with database.address.open() as raw:
            return tuple(sorted(database.address.peek(raw, table).versions))
    with connect(engine) as connection, reaching(engine.url):
        name = table.quoted(database.address.dialect.quote)
        rows = connection.exec_driver_sql(f"SELECT version_num FROM {name}")  # noqa: S608
        versions = tuple(sorted(version for (version,) in rows))
        connection.rollback()
    return versions


def require_head(database: Place, *, advice: str = "") -> None:
    """Raise DatabaseBehind unless it is at the scripts' head or newer.

    `advice` is what the message says to do; by default, to upgrade it.
    """
    seen = ask(database.project, database.address, database.x, database.policy)
    if seen.position not in (Position.AT_HEAD, Position.AHEAD):
        words = database.policy.words
        at = ", ".join(seen.current) or seen.position
        raise words.error(
            DatabaseBehind,
            f"{words.name(database.address)} is at {at}, and this needs {', '.join(seen.heads)}. "
            f"{advice or 'Run `' + words.command('upgrade') + '`.'}",
            current=seen.current,
            heads=seen.heads,
        )
