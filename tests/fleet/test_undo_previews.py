"""What an undo would do, told before it is asked for."""

import pytest

from app.errors import RolloutRefused
from app.fleet import databases, rollouts
from app.fleet.runs import claims
from app.models import Kind, Rollout, Stage
from tests.fleet.fleets import ME, ROOT, Fleet, broken, mended


def returns(rollout: Rollout) -> dict[tuple[str, str | None], int]:
    """From where to where, and how many."""
    found = rollouts.preview_undo(ROOT, rollout.id)
    assert found.total == sum(group.databases for group in found.groups)
    return {(group.current, group.ends): group.databases for group in found.groups}


def test_where_each_would_go_and_what_is_dropped(anyfleet: Fleet) -> None:
    fleet = anyfleet
    fleet.add_many(3)
    second = fleet.add("second", "r002")
    rollout = fleet.start()
    assert returns(rollout) == {}
    fleet.drain()
    assert returns(rollout) == {("r003", "r001"): 3, ("r003", "r002"): 1}
    found = rollouts.preview_undo(ROOT, rollout.id)
    assert found.drops
    assert "r002 drops t2 with all its rows" in found.risks
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(second) == "r002"
    assert returns(rollout) == {}
    assert rollouts.preview_undo(ROOT, rollout.id).total == 0


def test_a_downgrade_is_undone_by_an_upgrade(fleet: Fleet) -> None:
    fleet.add("a", "r003")
    rollout = fleet.start(kind="downgrade", target="r001")
    fleet.drain()
    assert returns(rollout) == {("r001", "r003"): 1}
    assert not rollouts.preview_undo(ROOT, rollout.id).drops


def test_a_run_on_one_database_that_fails_is_a_failed_run(fleet: Fleet) -> None:
    """Nothing waits, and nothing keeps the database."""
    member = fleet.add("a")
    broken(fleet, member)
    made = databases.run_one(ROOT, member.id, "upgrade")
    fleet.drain()
    assert fleet.stage(made) is Stage.FAILED
    assert rollouts.get_rollout(ROOT, made.id).reason == "a: A revision failed (migration-failed)."
    assert databases.get_database(ROOT, member.id).rollout_id is None
    assert rollouts.allowed_actions(ROOT, made) == ("retry",)
    mended(member)
    rollouts.retry_rollout(ROOT, made.id)
    fleet.drain()
    assert fleet.stage(made) is Stage.SUCCEEDED
    assert fleet.at(member) == "r003"


def test_what_an_open_began_stays_halted(fleet: Fleet) -> None:
    """Else each open would try again what has just failed."""
    member = fleet.add("a", strategy="on_open")
    broken(fleet, member)
    opened = databases.open_database(ROOT, member.id)
    assert opened.rollout
    fleet.drain()
    assert fleet.stage(opened.rollout) is Stage.HALTED
    again = databases.open_database(ROOT, member.id)
    assert again.rollout
    assert again.rollout.id == opened.rollout.id


def test_a_database_of_a_halted_rollout_can_be_checked_and_copied(anyfleet: Fleet) -> None:
    fleet = anyfleet
    bad, *_ = members = fleet.add_many(2)
    broken(fleet, bad)
    rollout = fleet.start()
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    for kind in (Kind.CHECK, Kind.SNAPSHOT):
        looked = databases.run_one(ROOT, bad.id, kind)
        fleet.drain()
        assert fleet.stage(looked) is Stage.SUCCEEDED, kind
    for kind in (Kind.UPGRADE, Kind.STAMP):
        with pytest.raises(RolloutRefused, match=f"part of rollout {rollout.id}"):
            databases.run_one(ROOT, bad.id, kind)
    assert databases.get_database(ROOT, bad.id).rollout_id == rollout.id
    mended(bad)
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert {fleet.at(one) for one in members} == {"r003"}


def test_two_runs_of_one_database_never_go_on_at_once(anyfleet: Fleet) -> None:
    fleet = anyfleet
    member = fleet.add("a")
    other = fleet.add("b")
    looks = [databases.run_one(ROOT, one.id, Kind.CHECK) for one in (member, other)]
    more = databases.run_one(ROOT, member.id, Kind.CHECK)
    begun = claims.claim(ME, 10)
    assert begun == [fleet.runs_of(one)[0].id for one in looks]
    assert claims.claim(ME, 10) == []
    claims.release(ME)
    fleet.drain()
    assert fleet.stage(more) is Stage.SUCCEEDED
