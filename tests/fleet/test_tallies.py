"""Counts of runs that are kept: right whatever others do meanwhile."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import current_app

from app.extensions import db
from app.fleet.core.transactions import repeated, writing
from app.fleet.counts import label_counts, tallies
from app.fleet.rollouts.progress import progress
from app.fleet.workers import periodic
from app.models import Kind, Label, Rollout, Run, RunTally, State
from tests.fleet.conftest import at_once
from tests.fleet.fleets import ROOT, Fleet, require_right_counts

WAVE = tallies.Wave(Kind.UPGRADE, 0)


def many_runs(fleet: Fleet, count: int) -> Rollout:
    """A rollout that has begun, of more runs than it has databases."""
    one = fleet.add("one")
    rollout = fleet.start()
    with writing() as session:
        rows = [
            {"rollout_id": rollout.id, "database_id": one.id, "kind": Kind.UPGRADE, "wave": 0}
            | {"seq": seq, "state": State.RUNNING}
            for seq in range(1, count)
        ]
        session.execute(sa.insert(Run), rows)
        tallies.settle(session, rollout.id)
    return rollout


@repeated
def end(rollout_id: int, *seqs: int) -> None:
    """As a worker that writes results together."""
    with writing() as session:
        session.execute(
            sa.update(Run)
            .where(Run.rollout_id == rollout_id, Run.seq.in_(seqs))
            .values(state=State.SUCCEEDED, seconds=0.5, finished_at=datetime.now(UTC))
        )
        ended = [datetime.now(UTC)] * len(seqs)
        tally = tallies.Tally(succeeded=len(seqs), seconds=0.5 * len(seqs))
        tallies.add(session, rollout_id, WAVE, tally, ended)


@repeated
def settle(rollout_id: int) -> None:
    with writing() as session:
        session.execute(sa.select(Rollout.id).where(Rollout.id == rollout_id).with_for_update())
        tallies.settle(session, rollout_id)


def test_settling_beside_workers_that_end_runs_counts_each_once(
    anyfleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "MOST_ROWS", 3)
    monkeypatch.setattr(tallies, "RECENT", timedelta(0))  # all of them are old enough
    rollout_id = many_runs(anyfleet, 121).id

    def works(first: int) -> None:
        for seq in range(first, first + 40, 2):
            end(rollout_id, seq, seq + 1)

    def settles() -> None:
        for _ in range(15):
            settle(rollout_id)

    workers = [lambda first=first: works(first) for first in (1, 41, 81)]
    outcomes = at_once(anyfleet.app, *workers, settles, settles)
    assert outcomes == [None] * 5
    require_right_counts()
    db.session.rollback()
    rows = db.session.scalar(sa.select(sa.func.count()).select_from(RunTally))
    assert rows is not None
    assert rows < 60, "they were merged meanwhile"


def test_runs_that_an_earlier_release_ended_are_counted_within_a_minute(fleet: Fleet) -> None:
    rollout = many_runs(fleet, 11)
    with writing() as session:
        session.execute(sa.update(Run).where(Run.seq > 6).values(state=State.SUCCEEDED))
    assert progress(ROOT, rollout.id).done == 0
    current_app.extensions.pop("headway.settled", None)
    tallies.settle_all()
    tallies.settle_all()
    assert progress(ROOT, rollout.id).done == 4


def test_labels_that_an_earlier_release_changed_are_counted_with_the_next_refresh(
    fleet: Fleet,
) -> None:
    one = fleet.add("one", labels={"tier": "gold"})
    two = fleet.add("two", labels={"tier": "gold", "region": "eu"})
    with writing() as session:
        session.execute(sa.update(Label).where(Label.database_id == one.id).values(value="silver"))
        session.execute(sa.delete(Label).where(Label.name == "region"))
        session.execute(sa.insert(Label).values(database_id=two.id, name="size", value="s"))
    periodic.refresh_due()
    require_right_counts()
    assert label_counts.counts("tier", fleet.project_id, most=9) == {"gold": 1, "silver": 1}


def test_the_speed_is_measured_from_the_last_minute(fleet: Fleet) -> None:
    rollout = many_runs(fleet, 401)
    now = datetime.now(UTC)
    assert tallies.speed(rollout, Kind.UPGRADE) is None
    with writing() as session:
        tally = tallies.Tally(succeeded=100)
        for age in (500, 40, 20, 0):
            ended = [now - timedelta(seconds=age + 10), now - timedelta(seconds=age)]
            tallies.add(session, rollout.id, WAVE, tally, ended)
    assert tallies.speed(rollout, Kind.UPGRADE) == pytest.approx(299 / 50, rel=0.01)
    assert tallies.speed(rollout, Kind.UNDO) is None
    with writing() as session:
        session.execute(sa.delete(RunTally).where(RunTally.at.is_not(None)))
