"""A rollout before it starts: what would be done to whom, grouped, so that thousands can be read.

Everything comes from the catalog and its register: no database is asked, no script is run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.core.positions import split
from app.fleet.projects import revisions
from app.fleet.projects.revisions import risks_of
from app.fleet.rollouts import crud, start, waves
from app.fleet.rollouts.request import new_rollout
from app.models import Kind, Revision, Rollout
from headway.errors import HeadwayError
from headway.types import Position


@dataclass(frozen=True, kw_only=True)
class PreviewStep:
    """One revision of a plan."""

    revision: str
    message: str
    risks: tuple[str, ...] = ()
    """What to know before it runs."""


@dataclass(frozen=True, kw_only=True)
class PreviewGroup:
    """Databases that stand at the same revision of the same kind: one plan for all of them."""

    dialect: str | None
    """None where only a worker can tell, because the URL is a reference."""
    current: str
    databases: int
    ends: str | None
    """Where they end, joined by `+`; None if they cannot go there: `why` says so."""
    steps: tuple[PreviewStep, ...]
    sql: str | None
    why: str | None
    """Why there is no plan, or no SQL."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Databases that the selector chooses and the rollout leaves out."""

    why: str
    databases: int
    ids: tuple[int, ...]
    """The first of them."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a rollout would do."""

    groups: tuple[PreviewGroup, ...]
    skipped: tuple[Skipped, ...]
    waves: tuple[int, ...]
    """How many databases each wave would have."""
    total: int
    silent: int
    """How many of them did not answer when they were last looked at."""

    @property
    def is_possible(self) -> bool:
        """False if nobody would take part, or nobody can go there."""
        return any(group.ends is not None or group.why is None for group in self.groups)


FIRST = 20


def preview(actor: Actor, asked: int | Mapping[str, Any]) -> Preview:
    """What a rollout that was made, or one of these values, would do now."""
    actor.require("rollouts.read")
    rollout = (
        crud.get_rollout(actor, asked) if isinstance(asked, int) else new_rollout(actor, asked)
    )
    chosen = start.choose(db.session, rollout)
    plans = Counter((one.dialect, one.current) for one in chosen.members)
    return Preview(
        groups=tuple(_group(rollout, *plan, count) for plan, count in plans.most_common()),
        skipped=tuple(
            Skipped(why=why, databases=len(ids), ids=tuple(ids[:FIRST]))
            for why, ids in sorted(chosen.skipped.items())
        ),
        waves=tuple(waves.sizes(rollout.waves, len(chosen.members))),
        total=len(chosen.members),
        silent=sum(one.position == Position.UNREACHABLE for one in chosen.members),
    )


def _group(rollout: Rollout, dialect: str | None, current: str, databases: int) -> PreviewGroup:
    kind = Kind(rollout.kind)
    ends = sql = why = None
    steps: tuple[PreviewStep, ...] = ()
    if kind in (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP):
        asked = (rollout.project_id, split(current), rollout.target, kind)
        try:
            path = revisions.path(*asked)
            ends = revisions.ends(*asked)
            steps = _steps(path, dialect, kind)
            if path and kind is not Kind.STAMP and dialect:
                sql = revisions.sql_of(path, dialect, kind)
                why = None if sql is not None else "a revision asks the database: rehearse it"
        except HeadwayError as error:
            why = str(error)
    return PreviewGroup(
        dialect=dialect,
        current=current,
        databases=databases,
        ends=ends,
        steps=steps,
        sql=sql,
        why=why,
    )


def _steps(path: Sequence[Revision], dialect: str | None, kind: Kind) -> tuple[PreviewStep, ...]:
    risks = risks_of(path, dialect, kind) if dialect else ()
    return tuple(
        PreviewStep(
            revision=one.revision,
            message=one.message,
            risks=tuple(risk.says for risk in risks if risk.revision == one.revision),
        )
        for one in path
    )
