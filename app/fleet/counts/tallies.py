"""How many runs of a rollout there are in each state, without counting all of them.

What has begun and not succeeded is little and is counted; all runs and those that succeeded are
sums of tallies, which are added in the transactions that change them. `settle` adds the difference
between the tallies and the runs, so that a sum is right whatever it was before.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import current_app
from sqlalchemy import case, delete, func, insert, literal, or_, select, union_all

from app.extensions import db
from app.fleet.core.transactions import CatalogSession, writing
from app.fleet.core.visibility import WHOLE_FLEET
from app.models import ENDED_STAGES, Kind, Rollout, Run, RunTally, Stage, State
from app.models.columns import rare

RECENT = timedelta(seconds=60)
"""The period over which the speed is measured."""
MOST_ROWS = 200
"""Older tallies of a rollout are made one for each wave when there are more."""
SETTLED_SECONDS = 60.0
LATELY = timedelta(minutes=10)
UNBEGUN = (State.PENDING, State.CANCELLED)


class Wave(NamedTuple):
    """The runs of one kind in one wave of a rollout."""

    kind: str
    number: int
    """From 0; of a rehearsal it is -1."""


class Ended(NamedTuple):
    """How a run ended."""

    run: Run
    state: State
    at: datetime
    seconds: float | None = None
    differs: bool = False
    """True of a check that found differences."""


class Tally(NamedTuple):
    """What is added to the counts of a wave."""

    runs: int = 0
    succeeded: int = 0
    differing: int = 0
    seconds: float = 0.0


def states(rollout: Rollout) -> dict[Wave, dict[str, int]]:
    """Wave -> state -> the number of its last attempts, as they are at one moment."""
    # Of those that have not begun, one state has nearly all: it is what is left.
    rest, counted = UNBEGUN if not Stage(rollout.stage).is_final else reversed(UNBEGUN)
    few = (State.RUNNING, State.FAILED, State.LOST, counted)
    query = union_all(
        select(Run.kind, Run.wave, Run.state, func.count(), literal(0))
        .where(Run.rollout_id == rollout.id, rare(Run.state.in_(few)), Run.replaced_by.is_(None))
        .group_by(Run.kind, Run.wave, Run.state),
        select(
            *(RunTally.kind, RunTally.wave, literal("")),
            *(func.sum(RunTally.runs), func.sum(RunTally.succeeded)),
        )
        .where(RunTally.rollout_id == rollout.id)
        .group_by(RunTally.kind, RunTally.wave),
    )
    found: dict[Wave, dict[str, int]] = defaultdict(dict)
    total: dict[Wave, int] = {}
    for kind, number, state, runs, succeeded in _rows(db.session, query):
        wave = Wave(kind, number)
        if state:
            found[wave][str(state)] = int(runs)
        else:
            total[wave] = int(runs)
            found[wave][State.SUCCEEDED] = int(succeeded)
    for wave, all_runs in total.items():
        # Less than none only until `settle` has counted what an earlier release did.
        found[wave][rest] = max(all_runs - sum(found[wave].values()), 0)
    return {
        wave: {state: number for state, number in counts.items() if number}
        for wave, counts in found.items()
    }


def seconds(rollout: Rollout, kind: str) -> float:
    """How long all runs of a kind took together."""
    query = select(func.sum(RunTally.seconds))
    mine = (RunTally.rollout_id == rollout.id, RunTally.kind == kind)
    return float(db.session.scalar(query.where(*mine)) or 0)


def differing(found: Sequence[Rollout]) -> dict[int, int]:
    """Rollout id -> in how many databases its checks found differences, if in any."""
    checks = [one.id for one in found if one.kind == Kind.CHECK]
    if not checks:
        return {}
    number = func.sum(RunTally.differing)
    rows = db.session.execute(
        select(RunTally.rollout_id, number)
        .where(RunTally.rollout_id.in_(checks))
        .group_by(RunTally.rollout_id)
        .having(number > 0)
    )
    return {rollout_id: int(count) for rollout_id, count in rows}


def speed(rollout: Rollout, kind: str) -> float | None:
    """Databases per second over the last minute; None if none, or one alone, succeeded in it."""
    now = datetime.now(UTC)
    rows = db.session.execute(
        select(RunTally.succeeded, RunTally.began_at, RunTally.at).where(
            RunTally.rollout_id == rollout.id,
            RunTally.kind == kind,
            RunTally.at > now - 2 * RECENT,
        )
    ).all()
    last = max((row.at for row in rows), default=None)
    if last is None or now - last > RECENT:
        return None
    rows = [row for row in rows if row.at > last - RECENT]
    took = (last - min(row.began_at for row in rows)).total_seconds()
    return (sum(row.succeeded for row in rows) - 1) / took if took > 0 else None


def add(
    session: CatalogSession,
    rollout_id: int,
    wave: Wave,
    tally: Tally,
    ended: Iterable[datetime] = (),
) -> None:
    """Add to the counts of a wave, in the transaction that adds runs or ends them.

    `ended`: when those that succeeded did.
    """
    at = sorted(ended)
    session.execute(
        insert(RunTally).values(
            rollout_id=rollout_id,
            kind=wave.kind,
            wave=wave.number,
            **tally._asdict(),
            began_at=at[0] if at else None,
            at=at[-1] if at else None,
        )
    )


def add_ended(session: CatalogSession, ended: Iterable[Ended]) -> None:
    """Add runs that have ended to the counts of their waves; those that go on count nothing."""
    waves: dict[tuple[int, Wave], list[Ended]] = defaultdict(list)
    for one in ended:
        if one.state.is_final:
            waves[one.run.rollout_id, Wave(one.run.kind, one.run.wave)].append(one)
    for (rollout_id, wave), some in waves.items():
        well = [one.at for one in some if one.state is State.SUCCEEDED]
        seconds = sum(one.seconds or 0.0 for one in some)
        differing = sum(one.differs for one in some)
        tally = Tally(succeeded=len(well), differing=differing, seconds=seconds)
        add(session, rollout_id, wave, tally, well)


def settle(session: CatalogSession, rollout_id: int) -> None:
    """Make the counts of a rollout what its runs say, in the transaction that changed its runs.

    The caller has the lock of the rollout; workers that end its runs meanwhile do not wait.
    """
    success = case((Run.state == State.SUCCEEDED, 1), else_=0)
    differs = case((Run.differences > 0, success), else_=0)
    # One statement: it sees of another transaction both, its runs and their tally, or neither.
    query = union_all(
        select(
            *(Run.kind, Run.wave, func.count(), func.sum(success), func.sum(differs)),
            func.coalesce(func.sum(case((Run.finished_at.is_not(None), Run.seconds))), 0.0),
        )
        .where(Run.rollout_id == rollout_id, Run.replaced_by.is_(None))
        .group_by(Run.kind, Run.wave),
        select(
            *(RunTally.kind, RunTally.wave, -func.sum(RunTally.runs)),
            *(-func.sum(RunTally.succeeded), -func.sum(RunTally.differing)),
            -func.sum(RunTally.seconds),
        )
        .where(RunTally.rollout_id == rollout_id)
        .group_by(RunTally.kind, RunTally.wave),
    )
    for wave, tally in _sums(_rows(session, query)).items():
        if tally.runs or tally.succeeded or tally.differing or abs(tally.seconds) > 0.001:  # noqa: PLR2004  # rounding
            add(session, rollout_id, wave, tally)
    _merge(session, rollout_id)


def settle_all() -> None:
    """Settle the rollouts that are under way or have just ended, once a minute.

    A worker of an earlier release, in a rolling deployment, ends runs without a tally.
    """
    last = current_app.extensions.get("headway.settled", 0.0)
    if time.monotonic() - last < SETTLED_SECONDS:
        return
    current_app.extensions["headway.settled"] = time.monotonic()
    lately = Rollout.finished_at > datetime.now(UTC) - LATELY
    some = select(Rollout.id).where(or_(Rollout.stage.not_in(ENDED_STAGES), lately))
    for rollout_id in db.session.scalars(some).all():
        with writing() as session:
            session.execute(select(Rollout.id).where(Rollout.id == rollout_id).with_for_update())
            settle(session, rollout_id)


def _merge(session: CatalogSession, rollout_id: int) -> None:
    """Make one tally for each wave of those that no speed is measured from, if they are many."""
    query = select(
        *(RunTally.id, RunTally.kind, RunTally.wave, RunTally.at),
        *(RunTally.runs, RunTally.succeeded, RunTally.differing, RunTally.seconds),
    )
    since = datetime.now(UTC) - 2 * RECENT
    mine = query.where(RunTally.rollout_id == rollout_id)
    old = [row for row in session.execute(mine) if row.at is None or row.at < since]
    if len(old) <= MOST_ROWS:
        return
    session.execute(
        delete(RunTally)
        .where(RunTally.id.in_([row.id for row in old]))
        .execution_options(synchronize_session=False)
    )
    for wave, tally in _sums((row[1:3] + row[4:]) for row in old).items():
        add(session, rollout_id, wave, tally)


def _sums(rows: Iterable[Any]) -> dict[Wave, Tally]:
    found: dict[Wave, Tally] = defaultdict(Tally)
    for kind, number, runs, succeeded, differing, took in rows:
        before = found[Wave(kind, number)]
        found[Wave(kind, number)] = Tally(
            runs=before.runs + int(runs),
            succeeded=before.succeeded + int(succeeded),
            differing=before.differing + int(differing),
            seconds=before.seconds + float(took),
        )
    return found


def _rows(session: CatalogSession, query: Any) -> Any:
    # Of a rollout that was found already, by somebody who may see it.
    return session.execute(query.execution_options(**{WHOLE_FLEET: True}))
