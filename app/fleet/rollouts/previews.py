"""Preview a rollout: the plans of its databases, grouped so that thousands can be read.

All data comes from the catalog and its register: no database is opened, no script is run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement

from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.counts.positions import split
from app.fleet.drift.predictions import risks_of
from app.fleet.projects import revisions
from app.fleet.rollouts import crud, start, undo
from app.fleet.rollouts.request import new_rollout
from app.fleet.rollouts.rules import waves
from app.models import Database, Kind, Revision
from headway.errors import HeadwayError
from headway.types import Position


@dataclass(frozen=True, kw_only=True)
class PreviewStep:
    """One revision of a plan."""

    revision: str
    message: str
    risks: tuple[str, ...] = ()
    """Risks to know before it runs."""
    drops: bool = False
    """True if a table or column goes with all that is in it."""


@dataclass(frozen=True, kw_only=True)
class PreviewGroup:
    """Databases of the same kind at the same revisions, which have the same plan."""

    dialect: str | None
    """None if the URL is a reference, which only a worker can read."""
    current: str
    databases: int
    ends: str | None
    """Their revisions after the rollout, joined by `+`; None if impossible: see `why`."""
    steps: tuple[PreviewStep, ...]
    sql: str | None
    why: str | None
    """The reason if there is no plan or no SQL."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Databases that the selector matches and the rollout leaves out."""

    why: str
    databases: int
    ids: tuple[int, ...]
    """The ids of the first few."""

    @property
    def is_done(self) -> bool:
        """True if they need no step."""
        return self.why.startswith(start.ALREADY)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a rollout would do now."""

    groups: tuple[PreviewGroup, ...]
    skipped: tuple[Skipped, ...]
    waves: tuple[int, ...]
    """How many databases each wave would have."""
    total: int
    silent: int
    """How many of them did not answer the last probe."""

    @property
    def is_possible(self) -> bool:
        """False if no database would take part, or none can reach the target."""
        return any(group.ends is not None or group.why is None for group in self.groups)

    @property
    def is_done(self) -> bool:
        """True if nothing takes part because all that match are where the rollout leads."""
        return not self.total and bool(self.skipped) and all(one.is_done for one in self.skipped)

    @property
    def risks(self) -> tuple[str, ...]:
        """All risks, each with its revision and said once."""
        steps = [step for group in self.groups for step in group.steps]
        return tuple(
            dict.fromkeys(f"{step.revision} {risk}" for step in steps for risk in step.risks)
        )

    @property
    def drops(self) -> bool:
        """True if a table or column goes with all that is in it."""
        return any(step.drops for group in self.groups for step in group.steps)


FIRST = 20
REHEARSE = ": rehearse it"
"""How advice ends that what depends on the database should be rehearsed."""


def preview(actor: Actor, source: int | Mapping[str, Any]) -> Preview:
    """Preview an existing rollout by its id, or a new one by its values."""
    actor.require("rollouts.read")
    rollout = (
        crud.get_rollout(actor, source) if isinstance(source, int) else new_rollout(actor, source)
    )
    chosen = start.choose(db.session, rollout)
    plans = Counter((one.dialect, one.current) for one in chosen.members)
    which = tuple(Selector.of(rollout.selector).conditions())
    aim = Aim(rollout.project_id, Kind(rollout.kind), rollout.target, which)
    return Preview(
        groups=tuple(_group(aim, *plan, count) for plan, count in plans.most_common()),
        skipped=tuple(
            Skipped(why=why, databases=len(ids), ids=tuple(ids[:FIRST]))
            for why, ids in sorted(chosen.skipped.items())
        ),
        waves=tuple(waves.sizes(rollout.waves, len(chosen.members))),
        total=len(chosen.members),
        silent=sum(one.position == Position.UNREACHABLE for one in chosen.members),
    )


def wave_sizes(actor: Actor, values: Mapping[str, Any]) -> tuple[int, ...]:
    """How many databases each wave of a rollout with these values would have now."""
    actor.require("rollouts.read")
    rollout = new_rollout(actor, values)
    chosen = start.choose(db.session, rollout)
    return tuple(waves.sizes(rollout.waves, len(chosen.members)))


def preview_undo(actor: Actor, rollout_id: int) -> Preview:
    """What an undo of a rollout would do now: from where to where, and what goes with it.

    `total` is 0 if there is nothing to undo. Databases that are being migrated at this moment are
    undone afterwards, and are not among them.
    """
    actor.require("rollouts.read")
    rollout = crud.get_rollout(actor, rollout_id)
    back = Kind.UPGRADE if rollout.kind == Kind.DOWNGRADE else Kind(rollout.kind)
    back = Kind.DOWNGRADE if rollout.kind == Kind.UPGRADE else back
    plans = undo.returns(db.session, rollout) if rollout.kind in undo.BACK else Counter()
    return Preview(
        groups=tuple(
            _without_rehearsal(
                _group(Aim(rollout.project_id, back, before or "base"), dialect, after, count)
            )
            for (dialect, after, before), count in plans.most_common()
        ),
        skipped=(),
        waves=(),
        total=plans.total(),
        silent=0,
    )


def _without_rehearsal(group: PreviewGroup) -> PreviewGroup:
    """The plan of an undo, which cannot be rehearsed: without the advice to do so."""

    def text(advice: str) -> str:
        return advice.removesuffix(REHEARSE)

    steps = (replace(one, risks=tuple(map(text, one.risks))) for one in group.steps)
    return replace(group, steps=tuple(steps), why=group.why and text(group.why))


class Aim(NamedTuple):
    """Where databases are to be brought, and how."""

    project_id: int
    kind: Kind
    target: str
    which: tuple[ColumnElement[bool], ...] = ()
    """Conditions on the databases."""


def _group(aim: Aim, dialect: str | None, current: str, databases: int) -> PreviewGroup:
    kind = aim.kind
    ends = sql = why = None
    steps: tuple[PreviewStep, ...] = ()
    if kind in (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP):
        try:
            path, ends = revisions.route(aim.project_id, split(current), aim.target, kind)
            texts = revisions.texts_of(path, dialect, kind) if dialect else {}
            steps = _steps(aim, path, texts, dialect, current)
            if texts and dialect and kind is not Kind.STAMP:
                sql = revisions.sql_of(aim.project_id, split(current), texts, dialect, kind)
                if sql is None:
                    why = "the SQL depends on the database or its arguments: rehearse it"
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


def _steps(
    aim: Aim,
    path: Sequence[Revision],
    texts: Mapping[str, str | None],
    dialect: str | None,
    current: str,
) -> tuple[PreviewStep, ...]:
    here = (Database.dialect == dialect, Database.current == current)
    risks = risks_of(aim.project_id, texts, dialect, aim.kind, *aim.which, *here) if dialect else ()
    return tuple(
        PreviewStep(
            revision=one.revision,
            message=one.message,
            risks=tuple(risk.says for risk in risks if risk.revision == one.revision),
            drops=any(risk.kind == "drop" for risk in risks if risk.revision == one.revision),
        )
        for one in path
    )
