"""One database by itself: what an operation on it would do, before it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.extensions import db
from app.fleet import revisions, starting
from app.fleet.actors import Actor
from app.fleet.drafting import drafted
from app.fleet.risks import risks_of
from app.fleet.tasks import split
from app.models import Database, Kind, Revision, Rollout
from headway.errors import HeadwayError
from headway.plan.plans import Direction
from headway.plan.risks import Risk
from headway.types import NEXT_STEPS, Position

MOVES = (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP)
RETIRED = "It is retired. Register it again first."
MOST_SHOWN = 100
"""Steps whose SQL is looked up: nobody reads more of them on one page."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One revision that would run."""

    revision: Revision
    sql: str | None
    """None where it asks the database, or no kind of database is known."""
    risks: tuple[Risk, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done to one database now."""

    target: str
    """As it would be kept: the heads by name, where there is one."""
    ends: str | None
    """Where it would end, joined by `+`; None if it cannot go there, or does not move."""
    steps: tuple[Step, ...]
    more: int
    """So many further steps."""
    why_not: str | None
    """Why it cannot be done now."""


def drafted_for(
    actor: Actor, database: Database, kind: str, target: str = "", **more: Any
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
    rollout = drafted(actor, asked)
    rollout.by_hand = True
    return rollout


def plan_of(actor: Actor, database: Database, kind: Kind, target: str = "") -> Plan:
    """What `run_one` would do, from the catalog and its register: the database is not asked."""
    actor.require("databases.read")
    if database.retired_at:
        return Plan(target=target, ends=None, steps=(), more=0, why_not=RETIRED)
    try:
        rollout = drafted_for(actor, database, kind, target)
        path, ends = _way(database, kind, rollout.target)
    except HeadwayError as error:
        return Plan(target=target, ends=None, steps=(), more=0, why_not=str(error))
    skipped = starting.choose(db.session, rollout).skipped
    return Plan(
        target=rollout.target,
        ends=ends,
        steps=_steps(path[:MOST_SHOWN], database.dialect, kind),
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
    if why in starting.REASONS.values():
        position = Position(database.position)
        return f"It is {position}. {NEXT_STEPS[position]}"
    return f"It {why}." if why.endswith(" already") else f"It is {why}."


def _way(database: Database, kind: Kind, target: str) -> tuple[tuple[Revision, ...], str | None]:
    if kind not in MOVES:
        return (), None
    asked = (database.project_id, split(database.current), target, kind)
    return revisions.path(*asked), revisions.ends(*asked)


def _steps(path: Sequence[Revision], dialect: str | None, kind: Kind) -> tuple[Step, ...]:
    if dialect is None or kind is Kind.STAMP:
        return tuple(Step(revision=row, sql=None, risks=()) for row in path)
    way = Direction.DOWNGRADE if kind is Kind.DOWNGRADE else Direction.UPGRADE
    texts = revisions.texts_of(path, dialect, way)
    risks = risks_of(path, dialect, kind)
    return tuple(
        Step(
            revision=row,
            sql=texts[row.revision],
            risks=tuple(risk for risk in risks if risk.revision == row.revision),
        )
        for row in path
    )
