"""A project that requires approvals: nothing of its databases is changed before a second account
has looked, whoever asks and by whatever way."""

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import ApprovalRefused, RoleInsufficient, RolloutRefused
from app.fleet import databases, projects, rollouts
from app.fleet.core.permissions import Actor
from app.fleet.rollouts.progress import progress
from app.models import Kind, Role, Rollout, Stage, State, Strategy
from tests.fleet.conftest import person
from tests.fleet.fleets import ROOT, Fleet, broken, mended


def require(fleet: Fleet, required: bool = True) -> None:
    projects.change_project(ROOT, fleet.project_id, {"requires_approval": required}, version=None)


def started(fleet: Fleet, actor: Actor, **values: Any) -> Rollout:
    asked = {"project_id": fleet.project_id, "waves": ["100%"], **values}
    return rollouts.start_rollout(actor, rollouts.create_rollout(actor, asked)[0].id)


def is_held(fleet: Fleet, rollout: Rollout, resumes_as: Stage = Stage.RUNNING) -> bool:
    """True if it waits, also after a worker had all the time in the world."""
    fleet.drain()
    there = rollouts.get_rollout(ROOT, rollout.id)
    return (there.stage, there.resumes_as) == (Stage.WAITING, resumes_as)


def approvals(rollout: Rollout) -> list[tuple[int, str]]:
    return [(one.wave, one.account_name) for one in progress(ROOT, rollout.id).approvals]


def test_a_rollout_begins_when_another_account_has_approved(anyfleet: Fleet) -> None:
    fleet = anyfleet
    members = fleet.add_many(3)
    require(fleet)
    (_, admin), (_, other) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    rollout = started(fleet, admin, waves=["1", "100%"])
    assert is_held(fleet, rollout)
    assert rollout.reason
    assert "another account than Ada has to approve" in rollout.reason
    assert {fleet.at(one) for one in members} == {"r001"}
    assert rollouts.allowed_actions(admin, rollout) == ("cancel",)
    assert rollouts.allowed_actions(other, rollout) == ("approve", "cancel")
    for nobody, words in ((ROOT, "no account"), (admin, "Ada asked for this")):
        with pytest.raises(ApprovalRefused, match=words):
            rollouts.approve_rollout(nobody, rollout.id)
    for wave in (1, 2):
        with pytest.raises(RolloutRefused, match="the beginning"):
            rollouts.approve_rollout(other, rollout.id, wave=wave)
    (_, viewer) = person(Role.VIEWER, "Eve")
    with pytest.raises(RoleInsufficient):
        rollouts.approve_rollout(viewer, rollout.id)
    assert is_held(fleet, rollout)
    rollouts.approve_rollout(other, rollout.id, wave=0)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert {fleet.at(one) for one in members} == {"r003"}
    assert approvals(rollout) == [(-1, "Bob")]


def test_the_undo_of_a_rollout_that_needed_approvals_needs_one(fleet: Fleet) -> None:
    members = fleet.add_many(2)
    (_, ada), (_, bob) = person(Role.OPERATOR, "Ada"), person(Role.OPERATOR, "Bob")
    rollout = started(fleet, ada, waves=["1", "100%"], gate={"approval": True})
    fleet.drain()
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    rollouts.undo_rollout(bob, rollout.id)
    assert is_held(fleet, rollout, Stage.UNDOING)
    assert {fleet.at(one) for one in members} == {"r003"}
    with pytest.raises(ApprovalRefused, match="Bob asked for this"):
        rollouts.approve_rollout(bob, rollout.id)
    rollouts.approve_rollout(ada, rollout.id)
    fleet.drain()
    assert {fleet.at(one) for one in members} == {"r001"}


def test_without_the_property_all_is_as_before(fleet: Fleet) -> None:
    fleet.add("one")
    rollout = fleet.start()
    assert rollout.stage == Stage.RUNNING
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_each_way_to_change_one_database_waits_and_each_look_does_not(fleet: Fleet) -> None:
    member = fleet.add("one", "r002")
    databases.run_one(ROOT, member.id, Kind.SNAPSHOT)
    fleet.drain()
    require(fleet)
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    ways = {
        Kind.UPGRADE: "",
        Kind.DOWNGRADE: "r001",
        Kind.STAMP: "r003",
        Kind.RESTORE: "",
    }
    assert set(ways) == {kind for kind in rollouts.OPERATIONS if kind.needs_approval}
    for actor in (ROOT, ada):
        for kind, target in ways.items():
            rollout = databases.run_one(actor, member.id, kind, target)
            assert is_held(fleet, rollout), kind
            assert fleet.at(member) == "r002"
            rollouts.cancel_rollout(bob, rollout.id)
    for kind in (Kind.CHECK, Kind.SNAPSHOT):
        rollout = databases.run_one(ada, member.id, kind)
        fleet.drain()
        assert fleet.stage(rollout) is Stage.SUCCEEDED
    rollout = databases.run_one(ada, member.id, Kind.DOWNGRADE, "r001")
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.at(member) == "r001"


def test_no_kind_is_forgotten() -> None:
    free = {Kind.CHECK, Kind.SNAPSHOT, Kind.REHEARSE, Kind.CREATE}
    assert {kind for kind in Kind if not kind.needs_approval} == free


@pytest.mark.parametrize(
    "other",
    [
        {"waves": ["1", "100%"]},
        {"selector": {"labels": {"tier": "gold"}}},
        {"gate": {"failures": 9}},
        {"kind": "downgrade", "target": "base"},
        {"kind": "stamp", "target": "r003"},
        {"snapshot": True, "retreat": False, "concurrency": 1},
    ],
    ids=str,
)
def test_another_one_with_other_options_waits_too(fleet: Fleet, other: dict[str, Any]) -> None:
    member = fleet.add("one", labels={"tier": "gold"})
    require(fleet)
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    for actor in (ada, bob):
        first = started(fleet, actor)
        rollouts.cancel_rollout(actor, first.id)
        again = started(fleet, actor, **other)
        assert is_held(fleet, again)
        assert fleet.at(member) == "r001"
        with pytest.raises(ApprovalRefused):
            rollouts.approve_rollout(actor, again.id)
        rollouts.cancel_rollout(actor, again.id)
    assert fleet.stage(first) is Stage.CANCELLED


def test_what_waits_can_be_cancelled_and_not_be_paused_resumed_retried_or_undone(
    fleet: Fleet,
) -> None:
    member = fleet.add("one")
    require(fleet)
    _, ada = person(Role.ADMIN, "Ada")
    rollout = started(fleet, ada)
    for action in (
        *(rollouts.pause_rollout, rollouts.resume_rollout, rollouts.retry_rollout),
        *(rollouts.undo_rollout, rollouts.start_rollout),
    ):
        with pytest.raises(RolloutRefused):
            action(ada, rollout.id)
        assert is_held(fleet, rollout)
    rollouts.cancel_rollout(ada, rollout.id)
    assert databases.get_database(ROOT, member.id).rollout_id is None


def test_an_undo_needs_an_approval_of_its_own_by_another_than_who_asked(anyfleet: Fleet) -> None:
    fleet = anyfleet
    members = fleet.add_many(2)
    require(fleet)
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    rollout = started(fleet, ada)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    rollouts.undo_rollout(bob, rollout.id)
    assert is_held(fleet, rollout, Stage.UNDOING)
    assert {fleet.at(one) for one in members} == {"r003"}
    with pytest.raises(ApprovalRefused, match="Bob asked for this"):
        rollouts.approve_rollout(bob, rollout.id)
    rollouts.cancel_rollout(ada, rollout.id)  # not now
    rollouts.undo_rollout(ada, rollout.id)
    assert is_held(fleet, rollout, Stage.UNDOING)
    with pytest.raises(ApprovalRefused, match="Ada asked for this"):
        rollouts.approve_rollout(ada, rollout.id)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert {fleet.at(one) for one in members} == {"r001"}
    assert approvals(rollout) == [(-2, "Bob"), (-1, "Bob")]


def test_a_further_undo_is_not_covered_by_the_one_before(fleet: Fleet) -> None:
    fleet.add("one")
    require(fleet)
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    rollout = started(fleet, ada)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    rollouts.undo_rollout(ada, rollout.id)
    rollouts.approve_rollout(bob, rollout.id)
    rollouts.pause_rollout(ada, rollout.id)
    rollouts.cancel_rollout(ada, rollout.id)  # before a worker came
    rollouts.undo_rollout(ada, rollout.id)
    assert is_held(fleet, rollout, Stage.UNDOING)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert approvals(rollout) == [(-3, "Bob"), (-2, "Bob"), (-1, "Bob")]
    assert fleet.stage(rollout) is Stage.UNDONE


def _halted(fleet: Fleet, actor: Actor) -> tuple[Rollout, Callable[[], None]]:
    members = fleet.add_many(2)
    broken(fleet, members[0])
    rollout = started(fleet, actor, retreat=False)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    return rollout, lambda: mended(members[0])


@pytest.mark.parametrize("action", [rollouts.retry_rollout, rollouts.resume_rollout])
def test_what_failed_before_the_project_required_it_waits_when_it_is_tried_again(
    fleet: Fleet, action: Callable[[Actor, int], Rollout]
) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    rollout, mend = _halted(fleet, ada)
    require(fleet)
    mend()
    action(ada, rollout.id)
    assert is_held(fleet, rollout)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_an_approved_rollout_tries_its_failures_again_without_another(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    require(fleet)
    members = fleet.add_many(2)
    broken(fleet, members[0])
    rollout = started(fleet, ada, retreat=False)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    mended(members[0])
    rollouts.retry_rollout(ada, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_what_was_paused_before_the_project_required_it_waits_when_it_is_resumed(
    fleet: Fleet,
) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    fleet.add_many(2)
    rollout = started(fleet, ada)
    rollouts.pause_rollout(ada, rollout.id)
    require(fleet)
    rollouts.resume_rollout(ada, rollout.id)
    assert is_held(fleet, rollout)
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_a_failed_canary_goes_back_by_itself(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    require(fleet)
    members = fleet.add_many(3)
    broken(fleet, members[1])
    rollout = started(fleet, ada, waves=["2", "100%"])
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    assert {fleet.at(one) for one in members} == {"r001"}


def test_a_gate_asks_for_its_own_approvals_besides(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    require(fleet)
    members = fleet.add_many(2)
    rollout = started(fleet, ada, waves=["1", "100%"], gate={"approval": True})
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.WAITING
    assert sorted(fleet.at(one) for one in members) == ["r001", "r003"]
    with pytest.raises(RolloutRefused, match="wave 1 waits"):
        rollouts.approve_rollout(bob, rollout.id, wave=0)
    with pytest.raises(ApprovalRefused, match="Ada created this rollout"):
        rollouts.approve_rollout(ada, rollout.id)
    rollouts.pause_rollout(ada, rollout.id)
    rollouts.resume_rollout(ada, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.WAITING
    rollouts.approve_rollout(bob, rollout.id, wave=1)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_turning_it_off_starts_nothing_that_waits(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    fleet.add("one")
    pending = rollouts.create_rollout(ada, {"project_id": fleet.project_id})[0]
    require(fleet)
    rollouts.start_rollout(ada, pending.id)  # made before, started after
    assert is_held(fleet, pending)
    require(fleet, required=False)
    assert is_held(fleet, pending)
    with pytest.raises(ApprovalRefused):
        rollouts.approve_rollout(ada, pending.id)
    assert is_held(fleet, pending)
    rollouts.approve_rollout(bob, pending.id)
    fleet.drain()
    assert fleet.stage(pending) is Stage.SUCCEEDED


def test_a_database_that_migrates_when_it_is_opened_waits(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    member = fleet.add("one", strategy=Strategy.ON_OPEN)
    require(fleet)
    opened = databases.open_database(ada, member.id)
    assert not opened.ready
    assert opened.rollout
    assert is_held(fleet, opened.rollout)
    again = databases.open_database(bob, member.id)
    assert again.rollout
    assert again.rollout.id == opened.rollout.id
    rollouts.approve_rollout(bob, opened.rollout.id)
    fleet.drain()
    assert databases.open_database(ada, member.id).ready


def test_a_new_database_does_not_follow_a_rollout_whose_undo_waits(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    require(fleet)
    fleet.add_many(2)
    rollout = started(fleet, ada, target="r002", waves=["1", "100%"])
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    rollouts.undo_rollout(ada, rollout.id)
    assert fleet.at(fleet.created("new")) == "r003"
    assert is_held(fleet, rollout, Stage.UNDOING)
    assert len(fleet.runs_of(rollout, kind=Kind.UPGRADE)) == 2


def test_rehearsals_and_new_databases_need_none(fleet: Fleet) -> None:
    fleet.add("one")
    require(fleet)
    rollout = fleet.rollout()
    rollouts.rehearse_rollout(ROOT, rollout.id)
    fleet.drain()
    assert [run.state for run in fleet.runs_of(rollout)] == [State.SUCCEEDED]
    assert fleet.at(fleet.created("new")) == "r003"


def test_a_database_leaves_such_a_project_by_an_admin_alone(fleet: Fleet) -> None:
    """In another project it would be changed without."""
    _, operator = person(Role.OPERATOR, "Bob")
    member, other = fleet.add("one"), fleet.add("other")
    elsewhere = {"url": f"sqlite:///{fleet.file('elsewhere')}"}
    require(fleet)
    with pytest.raises(RoleInsufficient):
        databases.retire_database(operator, member.id)
    with pytest.raises(RoleInsufficient):
        databases.change_database(operator, member.id, elsewhere, version=None)
    databases.change_database(operator, member.id, {"notes": "as before"}, version=None)
    databases.change_database(ROOT, member.id, elsewhere, version=None)
    databases.retire_database(ROOT, member.id)
    require(fleet, required=False)
    databases.retire_database(operator, other.id)


def test_only_an_admin_of_the_project_says_whether_it_is_required(fleet: Fleet) -> None:
    _, operator = person(Role.OPERATOR, "Bob")
    with pytest.raises(RoleInsufficient):
        projects.change_project(
            operator, fleet.project_id, {"requires_approval": False}, version=None
        )
    made, _ = person(Role.MEMBER, "Carol")
    mine = {fleet.project_id: Role.ADMIN}
    carol = Actor(id=made.id, name=made.name, role=Role.MEMBER, grants=mine)
    changed = projects.change_project(
        carol, fleet.project_id, {"requires_approval": True}, version=None
    )
    assert changed.requires_approval
    fleet.add("one")
    rollout = started(fleet, carol)
    with pytest.raises(ApprovalRefused):
        rollouts.approve_rollout(carol, rollout.id)
    rollouts.approve_rollout(operator, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
