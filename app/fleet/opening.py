"""Open a database: where it stands and, where it is behind, the run that brings it up to date.

For those that migrate when they are opened instead of in waves; any other answers as well.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.errors import RolloutRefused
from app.fleet import databases, rollouts
from app.fleet.actors import Actor
from app.fleet.born import born_at
from app.models import Database, Kind, Rollout, Strategy
from headway.types import Position

READY = (Position.AT_HEAD, Position.AHEAD)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A database that somebody wants to use."""

    database: Database
    ready: bool
    """True if it may be used as it is."""
    rollout: Rollout | None
    """What brings it up to date; wait for it."""


def open_database(actor: Actor, database_id: int) -> Opened:
    """Where it stands; one that migrates on open and is behind is begun at once.

    Raises RolloutRefused if it is pinned, or cannot be brought along.
    """
    actor.require("databases.change")
    database = databases.get_database(actor, database_id)
    if database.position in READY or database.strategy != Strategy.ON_OPEN:
        return Opened(database=database, ready=database.position in READY, rollout=None)
    if database.pin_until and database.pin_until > datetime.now(UTC):
        raise RolloutRefused(f"{database.name} is pinned: {database.pin_reason}.")
    if database.rollout_id is not None:
        known = rollouts.get_rollout(actor, database.rollout_id)
        return Opened(database=database, ready=False, rollout=known)
    try:
        target = born_at(database)
        made = rollouts.run_one(actor, database_id, Kind.UPGRADE, target)
    except RolloutRefused:
        database = databases.get_database(actor, database_id)
        if database.rollout_id is None:
            raise  # nowhere to go
        made = rollouts.get_rollout(actor, database.rollout_id)  # two opened it at once
    return Opened(database=database, ready=False, rollout=made)
