"""The progress of a rollout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select

from app.extensions import db
from app.fleet.core import error_texts
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.counts import tallies
from app.fleet.rollouts import crud
from app.fleet.rollouts.rules import waves
from app.fleet.rollouts.rules.gates import Gate
from app.models import Approval, Database, Kind, Rollout, Run, Stage, State
from app.models.columns import rare

MOST_WAITING = 50
"""How many waiting runs are loaded; retried runs sort first."""


@dataclass(frozen=True, kw_only=True)
class Wave:
    """A wave, with the number of its runs in each state."""

    number: int
    """From 1."""
    size: int
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The databases of a rollout, counted by the states of their last attempts."""

    waves: tuple[Wave, ...]
    undo: Wave | None
    """The runs that undo it."""
    rehearsed: dict[str, int]
    """State -> number of the runs of its rehearsal."""
    total: int

    @property
    def done(self) -> int:
        """How many succeeded."""
        return sum(wave.succeeded for wave in self.waves)

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(wave.failed for wave in self.waves)


@dataclass(frozen=True, kw_only=True)
class FirstFailure:
    """The first database that failed."""

    run_id: int
    database_id: int
    database: str
    before: str | None
    """The revision that it stood at; None if unknown."""
    aim: str | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A database that was unreachable or busy and is tried again."""

    run_id: int
    database_id: int
    database: str
    attempt: int
    """The number of the next attempt."""
    at: datetime | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """The results of the rehearsal so far."""

    total: int
    done: int
    failed: int
    seconds: float
    """The total of all runs."""
    seconds_ahead: float | None
    """An estimate for the rollout at this speed, with the soaking between waves and without
    approvals. None until the rehearsal has ended, and once the rollout has begun."""
    first_error: FirstFailure | None
    last_at: datetime | None
    """When the last of them ended. None as `seconds_ahead` is: to find it reads all of them."""


@dataclass(frozen=True, kw_only=True)
class RolloutProgress:
    """The progress of a rollout."""

    stage: str
    reason: str | None
    wave: int
    """The number of the open wave, from 1; 0 before the start."""
    waves: tuple[Wave, ...]
    undo: Wave | None
    """The runs that undo it."""
    total: int
    done: int
    """How many succeeded."""
    differing: int | None
    """In how many databases a check found differences; None of any other operation."""
    per_second: float | None
    seconds_left: float | None
    """At the present speed, without soaking and approvals; None if unknown."""
    first_error: FirstFailure | None
    rehearsal: Rehearsed | None
    approvals: tuple[Approval, ...]


def progress(actor: Actor, rollout_id: int) -> RolloutProgress:
    """The progress of a rollout, or RolloutNotFound."""
    rollout = crud.get_rollout(actor, rollout_id)
    counts = counts_of(rollout)
    back, is_check = counts.undo, rollout.kind == Kind.CHECK
    left = sum(wave.pending + wave.running + wave.lost for wave in counts.waves)
    speed, ahead = _speed(rollout), left
    if back and rollout.stage == Stage.UNDOING:
        ahead = back.pending + back.running + back.lost
    return RolloutProgress(
        stage=rollout.stage,
        reason=rollout.reason,
        wave=rollout.wave + 1 if rollout.sizes else 0,
        waves=counts.waves,
        undo=back,
        total=counts.total,
        done=counts.done,
        differing=tallies.differing([rollout]).get(rollout.id, 0) if is_check else None,
        per_second=speed,
        seconds_left=ahead / speed if speed and ahead else None,
        first_error=first_error(actor, rollout),
        rehearsal=_rehearsal(actor, rollout, counts.rehearsed),
        approvals=tuple(
            db.session.scalars(
                select(Approval).where(Approval.rollout_id == rollout.id).order_by(Approval.wave)
            )
        ),
    )


def counts_of(rollout: Rollout) -> Counts:
    """The databases of a rollout, counted."""
    states = tallies.states(rollout)
    undo = _total(states, Kind.UNDO)
    return Counts(
        waves=tuple(
            Wave(number=number + 1, size=size, **states.get(tallies.Wave(rollout.kind, number), {}))
            for number, size in enumerate(rollout.sizes)
        ),
        undo=Wave(number=0, size=sum(undo.values()), **undo) if undo else None,
        rehearsed=_total(states, Kind.REHEARSE),
        total=sum(rollout.sizes),
    )


def first_error(actor: Actor, rollout: Rollout) -> FirstFailure | None:
    """The first failure of the rollout, or else of its undo, in words that the actor may read."""
    found = first_failure(actor, rollout, rollout.kind)
    return found or first_failure(actor, rollout, Kind.UNDO)


def says(rollout: Rollout, failed: int, differing: int | None = None) -> str:
    """Where a rollout stands, in words: "Rollout 3 is halted. 1 of 4 failed (0 allowed)."."""
    some = f", {failed:,} failed" if rollout.stage == Stage.SUCCEEDED and failed else ""
    some += f", {differing:,} with drift" if differing else ""
    reason = f" {rollout.reason}" if rollout.reason else ""
    return f"Rollout {rollout.id} is {Stage(rollout.stage).predicate}{some}.{reason}"


def retrying(actor: Actor, rollout_id: int) -> list[Retry]:
    """The databases that wait for a retry, the next one first; at most MOST_WAITING."""
    rollout = crud.get_rollout(actor, rollout_id)
    waiting = (
        select(Run.id)
        .where(Run.rollout_id == rollout.id, Run.state == State.PENDING)
        .order_by(Run.wave, Run.seq)
        .limit(MOST_WAITING)
        .subquery()
    )
    rows = db.session.execute(
        select(Run, Database.name)
        .join(waiting, waiting.c.id == Run.id)
        .join(Database, Database.id == Run.database_id)
        .where(Run.retry_at > datetime.now(UTC), Run.error.is_not(None))
        .order_by(Run.retry_at)
    )
    return [
        Retry(
            run_id=run.id,
            database_id=run.database_id,
            database=name,
            attempt=run.attempt,
            at=run.retry_at,
            error=error_texts.for_actor(actor, rollout.project_id, run.error, run.problem),
        )
        for run, name in rows
    ]


def failed_of(actor: Actor, found: Sequence[Rollout]) -> dict[int, int]:
    """Rollout id -> the number of its databases whose last attempt failed, if there are any."""
    actor.require("rollouts.read")
    rows = db.session.execute(
        select(Run.rollout_id, func.count())
        .join(Rollout, Rollout.id == Run.rollout_id)
        .where(
            Run.rollout_id.in_([one.id for one in found]),
            rare(Run.state == State.FAILED),
            Run.kind == Rollout.kind,
            Run.replaced_by.is_(None),
        )
        .group_by(Run.rollout_id)
    )
    return {rollout_id: count for rollout_id, count in rows}  # noqa: C416


def differing_of(actor: Actor, found: Sequence[Rollout]) -> dict[int, int]:
    """Rollout id -> in how many databases a check found differences, if in any."""
    actor.require("rollouts.read")
    return tallies.differing(found)


def _total(states: dict[tallies.Wave, dict[str, int]], kind: Kind) -> dict[str, int]:
    total: Counter[str] = Counter()
    for (done, _), counts in states.items():
        if done == kind:
            total.update(counts)
    return dict(total)


def _speed(rollout: Rollout) -> float | None:
    """Databases per second of what it does at this stage."""
    kinds = {Stage.PENDING: Kind.REHEARSE, Stage.UNDOING: Kind.UNDO}
    return tallies.speed(rollout, kinds.get(Stage(rollout.stage), Kind(rollout.kind)))


def first_failure(actor: Actor, rollout: Rollout, kind: str) -> FirstFailure | None:
    """The first failure among the last attempts of this kind, as the actor may read it."""
    row = db.session.execute(
        select(
            *(Run.id, Run.database_id, Run.before, Run.aim, Run.error, Run.problem),
            Database.name,
        )
        .join(Database, Database.id == Run.database_id)
        .where(*crud.latest_runs(rollout, kind), rare(Run.state == State.FAILED))
        .order_by(Run.id)
        .limit(1)
    ).first()
    if row is None:
        return None
    return FirstFailure(
        run_id=row.id,
        database_id=row.database_id,
        database=row.name,
        before=row.before,
        aim=row.aim,
        error=error_texts.for_actor(actor, rollout.project_id, row.error, row.problem),
    )


def _rehearsal(actor: Actor, rollout: Rollout, total: dict[str, int]) -> Rehearsed | None:
    if not total:
        return None
    failed = total.get(State.FAILED, 0)
    done = failed + total.get(State.SUCCEEDED, 0)
    has_ended = rollout.stage == Stage.PENDING and 0 < done == sum(total.values())
    return Rehearsed(
        total=sum(total.values()),
        done=done,
        failed=failed,
        seconds=tallies.seconds(rollout, Kind.REHEARSE),
        seconds_ahead=_seconds_ahead(rollout) if has_ended else None,
        first_error=first_failure(actor, rollout, Kind.REHEARSE),
        last_at=_last_rehearsed_at(rollout) if has_ended else None,
    )


def _last_rehearsed_at(rollout: Rollout) -> datetime | None:
    rehearsed = crud.latest_runs(rollout, Kind.REHEARSE)
    return db.session.scalar(select(func.max(Run.finished_at)).where(*rehearsed))


def _seconds_ahead(rollout: Rollout) -> float:
    """The duration of the rehearsal, scaled by the work of the rollout."""
    rehearsed = crud.latest_runs(rollout, Kind.REHEARSE)
    plans = db.session.execute(
        select(Database.dialect, Run.before, func.count(), func.sum(Run.seconds))
        .join(Database, Database.id == Run.database_id)
        .where(*rehearsed)
        .group_by(Database.dialect, Run.before)
    )
    chosen = db.session.execute(
        select(Database.dialect, Database.current, func.count())
        .where(*Selector.of(rollout.selector).conditions())
        .group_by(Database.dialect, Database.current)
    )
    sizes = {f"{dialect} {current}": number for dialect, current, number in chosen}
    did = work = databases = 0.0
    for dialect, before, number, seconds in plans:
        # At least as many as were rehearsed: a database may have been migrated since.
        of_plan = max(sizes.get(f"{dialect} {before}", 0), number)
        did += seconds or 0.0
        work += (seconds or 0.0) * of_plan / number
        databases += of_plan
    began, ended = db.session.execute(
        select(func.min(Run.started_at), func.max(Run.finished_at)).where(*rehearsed)
    ).one()
    took = (ended - began).total_seconds() if began and ended else 0.0
    soaks = len(waves.sizes(rollout.waves, int(databases))) - 1
    return took * (work / did if did else 1.0) + soaks * Gate.of(rollout.gate).soak_seconds
