"""One database by itself: what an operation on it would do, before it is asked for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.errors import RolloutRefused
from app.extensions import db
from app.fleet import rollouts
from app.fleet.core import idempotency
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import repeated, writing
from app.fleet.counts.positions import split
from app.fleet.databases.crud import get_database
from app.fleet.drift.predictions import risks_of
from app.fleet.projects import revisions
from app.fleet.rollouts import joins, new_rollout, start
from app.models import Database, Kind, Revision, Rollout, Strategy
from headway.errors import HeadwayError
from headway.plan.risks import Risk
from headway.types import NEXT_STEPS, Position

MOVES = (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP)
RETIRED = "It is retired. Register it again first."
MOST_SHOWN = 100
"""Steps whose SQL is looked up: nobody reads more of them on one page."""


@dataclass(frozen=True, kw_only=True)
class DatabaseStep:
    """One revision that would run."""

    revision: Revision
    sql: str | None
    """None where it asks the database, or no kind of database is known."""
    risks: tuple[Risk, ...]


@dataclass(frozen=True, kw_only=True)
class DatabasePlan:
    """What would be done to one database now."""

    target: str
    """As it would be kept: the heads by name, where there is one."""
    ends: str | None
    """Where it would end, joined by `+`; None if it cannot go there, or does not move."""
    steps: tuple[DatabaseStep, ...]
    more: int
    """So many further steps."""
    why_not: str | None
    """Why it cannot be done now."""

    @property
    def is_done(self) -> bool:
        """True if it needs no step."""
        return (self.why_not or "").startswith(f"It is {start.ALREADY}")


def drafted_for(
    actor: Actor,
    database: Database,
    kind: str,
    target: str = "",
    *,
    kinds: Collection[Kind] = rollouts.OPERATIONS,
    **more: Any,
) -> Rollout:
    """The rollout of one database, in no session. Raises what `create_rollout` does."""
    asked = {
        "project_id": database.project_id,
        "kind": kind,
        "target": target or None,
        "selector": {"ids": [database.id]},
        "waves": ["100%"],
        "title": f"{kind} of {database.name}"[:200],
        "retreat": False,
        **{name: value for name, value in more.items() if value is not None},
    }
    rollout = new_rollout(actor, asked, kinds)
    rollout.by_hand = True
    return rollout


def plan_of(actor: Actor, database: Database, kind: Kind, target: str = "") -> DatabasePlan:
    """What `run_one` would do, from the catalog and its register: the database is not asked."""
    actor.require("databases.read")
    if database.retired_at:
        return DatabasePlan(target=target, ends=None, steps=(), more=0, why_not=RETIRED)
    try:
        rollout = drafted_for(actor, database, kind, target)
        path, ends = _way(database, kind, rollout.target)
    except HeadwayError as error:
        return DatabasePlan(target=target, ends=None, steps=(), more=0, why_not=str(error))
    skipped = start.choose(db.session, rollout).skipped
    return DatabasePlan(
        target=rollout.target,
        ends=ends,
        steps=_steps(path[:MOST_SHOWN], database, kind),
        more=max(0, len(path) - MOST_SHOWN),
        why_not=next((_in_words(database, why) for why in skipped), None),
    )


def below(actor: Actor, database: Database) -> list[str]:
    """The revisions that a downgrade could take it to, nearest first, `base` last."""
    actor.require("databases.read")
    try:
        path, _ = _way(database, Kind.DOWNGRADE, "base")
    except HeadwayError:
        return []
    found = dict.fromkeys(parent for row in path for parent in row.parents)
    return [*found, "base"] if path else []


def _in_words(database: Database, why: str) -> str:
    """Why it is left out, said of one database and not of many."""
    if why in start.REASONS.values():
        position = Position(database.position)
        return f"It is {position}. {NEXT_STEPS[position]}"
    return f"It is {why}."


def _way(database: Database, kind: Kind, target: str) -> tuple[tuple[Revision, ...], str | None]:
    if kind not in MOVES:
        return (), None
    return revisions.route(database.project_id, split(database.current), target, kind)


def _steps(path: Sequence[Revision], database: Database, kind: Kind) -> tuple[DatabaseStep, ...]:
    dialect = database.dialect
    if dialect is None or kind is Kind.STAMP:
        return tuple(DatabaseStep(revision=row, sql=None, risks=()) for row in path)
    texts = revisions.texts_of(path, dialect, kind)
    risks = risks_of(database.project_id, texts, dialect, kind, Database.id == database.id)
    return tuple(
        DatabaseStep(
            revision=row,
            sql=texts[row.revision],
            risks=tuple(risk for risk in risks if risk.revision == row.revision),
        )
        for row in path
    )


@repeated
def run_one(
    actor: Actor,
    database_id: int,
    kind: str,
    target: str = "",
    *,
    key: str | None = None,
    **more: Any,
) -> Rollout:
    """A rollout of one database, started. Raises RolloutRefused if it cannot take part in one.

    With the `key` of a request that was sent before: the rollout that was started then.
    """
    actor.require("rollouts.change")
    about = ("runs", [database_id, kind, target, more])
    request = idempotency.Request(actor=actor, key=key, about=about)

    def make() -> Rollout:
        database = get_database(actor, database_id)
        actor.require("rollouts.change", database.project_id)
        rollout = drafted_for(actor, database, kind, target, **more)
        with writing() as session:
            session.add(rollout)
            session.flush()
            request.remember(session, rollout.id)
            start.start(session, rollout)
            rollouts.record(session, actor, "started", rollout)
        return rollout

    return request.once(make, lambda made: rollouts.get_rollout(actor, made))[0]


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
    database = get_database(actor, database_id)
    actor.require("databases.change", database.project_id)
    if database.position in READY or database.strategy != Strategy.ON_OPEN:
        return Opened(database=database, ready=database.position in READY, rollout=None)
    if database.pin_until and database.pin_until > datetime.now(UTC):
        raise RolloutRefused(f"{database.name} is pinned: {database.pin_reason}.")
    if database.rollout_id is not None:
        known = rollouts.get_rollout(actor, database.rollout_id)
        return Opened(database=database, ready=False, rollout=known)
    try:
        target = joins.target_of_new(db.session, database)
        made = run_one(actor, database_id, Kind.UPGRADE, target)
    except RolloutRefused:
        database = get_database(actor, database_id)
        if database.rollout_id is None:
            raise  # nowhere to go
        made = rollouts.get_rollout(actor, database.rollout_id)  # two opened it at once
    return Opened(database=database, ready=False, rollout=made)
