"""Databases that are pinned or retired while a rollout goes on hold nothing up."""

from datetime import UTC, datetime, timedelta

import pytest

from app.errors import RolloutRefused
from app.fleet import databases, rollouts
from app.fleet.rollouts.progress import progress
from app.fleet.workers import periodic
from app.models import Database, Rollout, Stage
from tests.fleet.fleets import ROOT, Fleet


def pin(database: Database) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    databases.pin_database(ROOT, database.id, reason="audit", until=until)


def told(fleet: Fleet, rollout: Rollout) -> list[tuple[str, str, str | None]]:
    return [(run.kind, run.state, run.error) for run in fleet.runs_of(rollout)]


def test_a_person_who_names_a_pinned_database_means_it(fleet: Fleet) -> None:
    member = fleet.add("a")
    pin(member)
    rollout = databases.run_one(ROOT, member.id, "upgrade")
    fleet.drain()
    assert told(fleet, rollout) == [("upgrade", "succeeded", None)]
    assert fleet.at(member) == "r003"


def test_an_application_that_opens_a_pinned_database_is_told(fleet: Fleet) -> None:
    member = fleet.add("a", strategy="on_open")
    pin(member)
    with pytest.raises(RolloutRefused, match="a is pinned: audit"):
        databases.open_database(ROOT, member.id)


def test_a_database_that_is_pinned_meanwhile_is_left_out(fleet: Fleet) -> None:
    first, second = fleet.add_many(2)
    rollout = fleet.start()
    pin(first)
    fleet.drain()
    assert told(fleet, rollout) == [
        ("upgrade", "cancelled", "Pinned: audit"),
        ("upgrade", "succeeded", None),
    ]
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert [fleet.at(first), fleet.at(second)] == ["r001", "r003"]


@pytest.mark.parametrize("gone", ["pinned", "retired"])
def test_an_undo_leaves_it_alone_and_ends(fleet: Fleet, gone: str) -> None:
    first, second = fleet.add_many(2)
    rollout = fleet.start()
    fleet.drain()
    if gone == "pinned":
        pin(first)
    else:
        databases.retire_database(ROOT, first.id)
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert progress(ROOT, rollout.id).reason == "1 not undone, because pinned or retired since."
    assert fleet.at(second) == "r001"
    why = {"pinned": "Pinned: audit", "retired": "Retired."}
    assert ("undo", "cancelled", why[gone]) in told(fleet, rollout)


def test_a_retreat_leaves_it_alone_and_does_not_begin_again(fleet: Fleet) -> None:
    (member,) = fleet.add_many(1)
    rollout = fleet.start(gate={"check": "sql", "sql": "SELECT 0"})
    fleet.work()
    pin(member)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    before = len(fleet.runs_of(rollout))
    periodic.advance_rollouts()
    assert len(fleet.runs_of(rollout)) == before


def test_a_rehearsal_goes_to_its_end(fleet: Fleet) -> None:
    first, _ = fleet.add_many(2)
    rollout = fleet.rollout()
    rollouts.rehearse_rollout(ROOT, rollout.id)
    pin(first)
    fleet.drain()
    rehearsal = progress(ROOT, rollout.id).rehearsal
    assert rehearsal is not None
    assert (rehearsal.done, rehearsal.total, rehearsal.failed) == (2, 2, 0)
    assert fleet.at(first) == "r001"


def test_an_undo_that_was_cancelled_can_be_asked_for_again(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    rollout = fleet.start()
    fleet.drain()
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.work(1)
    rollouts.cancel_rollout(ROOT, rollout.id)
    assert sorted(fleet.at(one) for one in members) == ["r001", "r003", "r003"]
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert [fleet.at(one) for one in members] == ["r001"] * 3
