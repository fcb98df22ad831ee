"""Rollouts on real files, by a worker in this process: waves, gates, halts, retreats, undo."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import current_app
from sqlalchemy.engine import URL

from app.errors import ApprovalRefused, RolloutRefused
from app.extensions import db
from app.fleet import databases, drift, rollouts, runs, workers
from app.fleet.core.permissions import Actor
from app.fleet.drift import differences_of
from app.fleet.rollouts import actions, advance, joins, preview
from app.fleet.rollouts.progress import Rehearsed, differing_of, progress, says
from app.fleet.runs import claims, execute, results
from app.fleet.runs.tasks import Task
from app.fleet.workers import periodic
from app.models import Database, Kind, Role, Rollout, Run, Stage, State
from headway import Project as Scripts
from headway.errors import DatabaseLocked
from tests.fleet.conftest import person
from tests.fleet.fleets import (
    ME,
    ROOT,
    Fleet,
    broken,
    fleet_on,
    fresh,
    lose_worker,
    mended,
    refresh,
    settled,
    sqlite,
)
from tests.migrator.scripts import write_revision

OLD = timedelta(days=31)


def test_a_rollout_brings_every_database_to_its_target_and_undo_takes_it_back(
    anyfleet: Fleet,
) -> None:
    fleet = anyfleet
    members = fleet.add_many(5)
    rollout = fleet.start(waves=["1", "50%", "100%"])
    assert (rollout.target, rollout.sizes) == ("r003", [1, 2, 2])
    assert fleet.counts() == {("behind", "r001"): 5}
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert {fleet.at(member) for member in members} == {"r003"}
    assert fleet.counts() == {("at_head", "r003"): 5}
    for run in fleet.runs_of(rollout):
        assert (run.before, run.after, run.applied) == ("r001", "r003", ["r002", "r003"])
        assert run.seconds is not None
        assert run.state == State.SUCCEEDED
    assert not any(databases.get_database(ROOT, one.id).rollout_id for one in members)
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert {fleet.at(member) for member in members} == {"r001"}
    assert fleet.counts() == {("behind", "r001"): 5}


def test_waves_open_one_after_the_other(fleet: Fleet) -> None:
    fleet.add_many(4)
    rollout = fleet.start(waves=["1", "2", "100%"])
    seen = []
    while fleet.stage(rollout) is not Stage.SUCCEEDED:
        seen.append(fleet.work())
        periodic.advance_rollouts()
    assert [done for done in seen if done] == [1, 1, 2]


def test_a_database_that_is_called_canary_goes_first(fleet: Fleet) -> None:
    fleet.add_many(3)
    canary = fleet.add("zz", labels={"canary": "yes"})
    rollout = fleet.start(waves=["1", "100%"])
    assert [run.database_id for run in fleet.runs_of(rollout) if run.wave == 0] == [canary.id]


def test_it_halts_says_why_and_goes_on_when_mended(anyfleet: Fleet) -> None:
    fleet = anyfleet
    members = fleet.add_many(6)
    broken(fleet, members[2])
    rollout = fleet.start(waves=["1", "3", "100%"])
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    told = progress(ROOT, rollout.id)
    assert told.reason is not None
    assert told.reason.startswith(
        "1 of 6 failed up to wave 2 of 3 (0 allowed). First failure: d002: "
    )
    assert "table t2" not in told.reason, "what a database says is for operators"
    assert told.first_error is not None
    assert told.first_error.database == "d002"
    assert "table t2 already exists" in (told.first_error.error or "")
    (failed,) = fleet.runs_of(rollout, states=["failed"])
    assert "CREATE TABLE t2" in (runs.sql_of(failed) or "")
    assert failed.seconds
    assert fleet.at(members[2]) == "r001"
    assert [fleet.at(one) for one in members[3:]] == ["r001"] * 3
    mended(members[2])
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert {fleet.at(member) for member in members} == {"r003"}
    history = [
        (run.attempt, run.first_attempt, run.state)
        for run in fleet.runs_of(rollout, database_id=members[2].id, replaced=True)
    ]
    assert history == [(1, 1, "failed"), (2, 2, "succeeded")]


def test_some_may_fail_and_can_be_tried_again_after_the_end(fleet: Fleet) -> None:
    members = fleet.add_many(5)
    broken(fleet, members[1])
    rollout = fleet.start(gate={"failures_percent": 20})
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert sorted(fleet.at(one) for one in members) == ["r001", *["r003"] * 4]
    mended(members[1])
    rollouts.retry_rollout(ROOT, rollout.id)
    fleet.drain()
    assert {fleet.at(one) for one in members} == {"r003"}
    with pytest.raises(RolloutRefused, match="Nothing failed"):
        rollouts.retry_rollout(ROOT, rollout.id)


def test_those_that_failed_can_be_left_out(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    broken(fleet, members[0])
    rollout = fleet.start(waves=["1", "100%"])
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    rollouts.resume_rollout(ROOT, rollout.id, skip_failed=True)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert [fleet.at(one) for one in members] == ["r001", "r003", "r003"]


def test_a_halt_is_immediate(fleet: Fleet) -> None:
    members = fleet.add_many(10)
    broken(fleet, members[0])
    fleet.start()
    taken = claims.claim(ME, 10)
    for run_id in taken:
        execute.execute(run_id, ME)
    assert [fleet.at(one) for one in members] == ["r001"] * 10


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_canary_that_fails_its_check_retreats_by_itself(fleet: Fleet, snapshot: bool) -> None:
    members = fleet.add_many(4)
    gate = {"check": "sql", "sql": "SELECT count(*) = 1 FROM t3"}
    rollout = fleet.start(waves=["2", "100%"], gate=gate, snapshot=snapshot)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    reason = rollouts.get_rollout(ROOT, rollout.id).reason or ""
    assert "The query of the check did not return true." in reason
    assert reason.endswith("The canary was undone.")
    assert [fleet.at(one) for one in members] == ["r001"] * 4
    kinds = [(run.kind, run.state) for run in fleet.runs_of(rollout) if run.wave == 0]
    assert kinds == [
        ("upgrade", "failed"),
        ("upgrade", "pending"),
        ("undo", "succeeded"),
    ]


def test_after_a_retreat_the_canary_can_be_tried_again(fleet: Fleet) -> None:
    members = fleet.add_many(2)
    gate = {"check": "sql", "sql": "SELECT count(*) > 0 FROM t1"}
    rollout = fleet.start(waves=["1", "100%"], gate=gate)
    fleet.drain()
    assert fleet.at(members[0]) == "r001"
    for member in members:
        with sqlite(member) as connection:
            connection.exec_driver_sql("INSERT INTO t1 (name) VALUES ('x')")
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED, progress(ROOT, rollout.id)
    assert [fleet.at(one) for one in members] == ["r003", "r003"]


@pytest.fixture
def halfway(anyfleet: Fleet, mariadb_url: URL) -> tuple[Rollout, Callable[[str], str]]:
    """A rollout that halted between two revisions of a MariaDB database; statements for that."""
    Scripts.load(anyfleet.scripts).at(mariadb_url).upgrade("r001")
    anyfleet.register("one", mariadb_url)

    def run(statement: str) -> str:
        engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            found = connection.exec_driver_sql(statement)
            return "+".join(found.scalars()) if found.returns_rows else ""

    run("CREATE TABLE t3 (id INT)")
    rollout = anyfleet.start(retreat=False)
    anyfleet.drain()
    assert run(WHERE) == "r002"
    return rollout, run


def returns(rollout: Rollout) -> list[tuple[str, str | None]]:
    """From where to where an undo would bring its database."""
    return [(one.current, one.ends) for one in rollouts.preview_undo(ROOT, rollout.id).groups]


WHERE = "SELECT version_num FROM alembic_version"


@pytest.mark.parametrize("then", ["mended", "failed again", "cancelled"])
def test_undo_goes_back_to_where_the_first_attempt_began(
    anyfleet: Fleet, halfway: tuple[Rollout, Callable[[str], str]], then: str
) -> None:
    (rollout, run), fleet = halfway, anyfleet
    if then == "mended":
        run("DROP TABLE t3")
    if then != "cancelled":
        rollouts.resume_rollout(ROOT, rollout.id)
        fleet.drain()
    assert run(WHERE) == ("r003" if then == "mended" else "r002")
    if then != "mended":
        rollouts.cancel_rollout(ROOT, rollout.id)
    assert returns(rollout) == [("r003" if then == "mended" else "r002", "r001")]
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert run(WHERE) == "r001"
    assert fleet.stage(rollout) is Stage.UNDONE


def test_an_undo_that_stops_half_way_is_tried_again_from_there(
    anyfleet: Fleet, halfway: tuple[Rollout, Callable[[str], str]]
) -> None:
    (rollout, run), fleet = halfway, anyfleet
    run("DROP TABLE t3")
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    run("ALTER TABLE t1 DROP COLUMN extra")
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert (fleet.stage(rollout), run(WHERE)) == (Stage.HALTED, "r002")
    assert returns(rollout) == [("r002", "r001")]
    run("ALTER TABLE t1 ADD COLUMN extra INT")
    rollouts.retry_rollout(ROOT, rollout.id)
    fleet.drain()
    assert (fleet.stage(rollout), run(WHERE)) == (Stage.UNDONE, "r001")


def test_undo_takes_back_what_was_still_at_work_when_it_was_asked_for(anyfleet: Fleet) -> None:
    fleet = anyfleet
    members = fleet.add_many(3)
    rollout = fleet.start(concurrency=2)
    fleet.work(1)
    (taken,) = claims.claim(ME, 1)
    # It has looked at its rollout and is at its database.
    (task,) = Task.read([taken], ME)
    rollouts.pause_rollout(ROOT, rollout.id)
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDOING
    results.finish([results.Result.of(task, execute._run_operation(task))])
    assert sorted(fleet.at(one) for one in members) == ["r001", "r001", "r003"]
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert {fleet.at(one) for one in members} == {"r001"}


def test_undo_of_a_lost_run_that_came_to_nothing_ends(fleet: Fleet) -> None:
    members = fleet.add_many(2)
    rollout = fleet.start(concurrency=2)
    fleet.work(1)
    claims.claim("gone", 1)
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert {fleet.at(one) for one in members} == {"r001"}
    assert {run.state for run in fleet.runs_of(rollout)} == {"succeeded", "cancelled"}


def test_undo_falls_back_to_the_snapshot(fleet: Fleet) -> None:
    write_revision(
        fleet.scripts,
        "r004",
        "r003",
        ['op.create_table("t4", sa.Column("id", sa.Integer))'],
        ["raise NotImplementedError"],
    )
    fleet.load()
    member = fleet.add("one", "r003")
    rollout = fleet.start(snapshot=True)
    fleet.drain()
    assert fleet.at(member) == "r004"
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(member) == "r003"
    (back,) = fleet.runs_of(rollout, kind="undo")
    assert "Revision r004 failed: NotImplementedError." in (back.log or "")
    assert fleet.stage(rollout) is Stage.UNDONE


@pytest.mark.parametrize("verb", ["retry", "undo"])
def test_undo_leaves_a_database_alone_that_somebody_moved_since(fleet: Fleet, verb: str) -> None:
    first, second = fleet.add("a"), fleet.add("b")
    rollout = fleet.start(target="r002")
    fleet.drain()
    Scripts.load(fleet.scripts).at(first.address).upgrade("r003")
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(first) == "r003"
    assert fleet.at(second) == "r001"
    assert fleet.stage(rollout) is Stage.HALTED
    reason = rollouts.get_rollout(ROOT, rollout.id).reason or ""
    assert reason.startswith(
        "1 of 2 could not be undone. First failure: a: The rollout left a at r002"
    )
    Scripts.load(fleet.scripts).at(first.address).downgrade("r002")
    getattr(actions, f"{verb}_rollout")(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(first) == "r001"
    assert fleet.stage(rollout) is Stage.UNDONE


def test_a_second_account_has_to_approve(anyfleet: Fleet) -> None:
    fleet = anyfleet
    members = fleet.add_many(2)
    _, first = person(Role.OPERATOR, "first")
    _, second = person(Role.OPERATOR, "second")
    asked = {
        "project_id": fleet.project_id,
        "waves": ["1", "100%"],
        "gate": {"approval": True},
    }
    rollout, _ = rollouts.create_rollout(first, asked)
    rollouts.start_rollout(first, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.WAITING
    assert sorted(fleet.at(one) for one in members) == ["r001", "r003"]
    for nobody in (first, ROOT):
        with pytest.raises(ApprovalRefused):
            rollouts.approve_rollout(nobody, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.WAITING
    with pytest.raises(RolloutRefused, match="wave 1 waits for approval now"):
        rollouts.approve_rollout(second, rollout.id, wave=2)
    rollouts.approve_rollout(second, rollout.id, wave=1)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert [one.account_name for one in progress(ROOT, rollout.id).approvals] == ["second"]


def test_a_wave_soaks(fleet: Fleet) -> None:
    fleet.add_many(2)
    rollout = fleet.start(waves=["1", "100%"], gate={"soak_seconds": 3600})
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SOAKING
    past = datetime.now(UTC) - timedelta(seconds=3601)
    with db.engine.begin() as connection:
        connection.execute(sa.update(Rollout).values(wave_done_at=past))
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_nothing_begins_outside_the_window(fleet: Fleet) -> None:
    member = fleet.add("one")
    now = datetime.now(UTC)
    window = {
        "from": f"{now + timedelta(hours=2):%H:%M}",
        "until": f"{now + timedelta(hours=3):%H:%M}",
    }
    rollout = fleet.start(window=window)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.RUNNING
    assert "Outside its window, which opens at" in (
        rollouts.get_rollout(ROOT, rollout.id).reason or ""
    )
    assert fleet.at(member) == "r001"


def test_pause_begins_nothing_more_and_resume_goes_on(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    rollout = fleet.start(concurrency=1)
    assert fleet.work(1) == 1
    taken = claims.claim(ME, 1)
    rollouts.pause_rollout(ROOT, rollout.id)
    execute.execute(taken[0], ME)  # it was claimed and not begun: it goes back
    fleet.drain()
    assert sorted(fleet.at(one) for one in members) == ["r001", "r001", "r003"]
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_cancel_leaves_what_is_done_and_lets_the_rest_go(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    rollout = fleet.start(concurrency=1)
    fleet.work(1)
    rollouts.cancel_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.CANCELLED
    states = [run.state for run in fleet.runs_of(rollout)]
    assert sorted(states) == ["cancelled", "cancelled", "succeeded"]
    assert fleet.start().sizes == [2]
    assert len(members) == 3


def test_a_database_is_in_one_rollout_at_a_time(fleet: Fleet) -> None:
    fleet.add_many(2)
    first = fleet.start()
    second = fleet.rollout()
    with pytest.raises(RolloutRefused, match=f"2 part of rollout {first.id}"):
        rollouts.start_rollout(ROOT, second.id)
    fleet.drain()
    with pytest.raises(RolloutRefused, match="2 already at r003"):
        rollouts.start_rollout(ROOT, second.id)


def test_who_is_left_out_and_why(fleet: Fleet) -> None:
    fleet.add_many(2)
    pinned = fleet.add("pinned")
    databases.pin_database(
        ROOT, pinned.id, reason="audit", until=datetime.now(UTC) + timedelta(days=1)
    )
    fleet.add("late", strategy="on_open")
    fleet.add("done", "r003")
    fleet.add("new", None)
    told = preview(ROOT, fleet.rollout().id)
    assert {(one.why, one.databases) for one in told.skipped} == {
        ("pinned: audit", 1),
        ("not in waves: migrated when they are next opened", 1),
        ("already at r003", 1),
    }
    assert told.total == 3
    by_current = {group.current: group for group in told.groups}
    group = by_current["r001"]
    assert (group.databases, group.dialect, group.ends) == (2, "sqlite", "r003")
    assert [step.revision for step in group.steps] == ["r002", "r003"]
    assert "CREATE TABLE t3" in (group.sql or "")
    assert by_current[""].ends == "r003"


def test_a_pin_that_comes_later_takes_a_database_out(fleet: Fleet) -> None:
    members = fleet.add_many(2)
    rollout = fleet.start(waves=["1", "100%"])
    fleet.work()
    databases.pin_database(
        ROOT, members[1].id, reason="audit", until=datetime.now(UTC) + timedelta(days=1)
    )
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert fleet.at(members[1]) == "r001"
    assert fleet.runs_of(rollout)[-1].error == "Pinned: audit"


def test_limits_of_a_rollout_and_of_a_server_hold(fleet: Fleet) -> None:
    fleet.add_many(6)
    with db.engine.begin() as connection:  # as if three were on one server
        first = sa.select(Database.id).order_by(Database.id).limit(3).scalar_subquery()
        connection.execute(sa.update(Database).where(Database.id.in_(first)).values(server="a:1"))
    rollout = fleet.start(concurrency=2, per_server=1)
    taken = {worker: claims.claim(worker, 2) for worker in (ME, "worker-2", "worker-3")}
    servers = {
        worker: [db.session.get_one(Run, run).server for run in runs]
        for worker, runs in taken.items()
    }
    assert sorted(map(str, servers[ME] + servers["worker-2"])) == ["None", "None", "a:1", "a:1"]
    assert all(len(set(each)) == 1 for each in (servers[ME], servers["worker-2"]))
    assert servers["worker-3"] == [], "two are at work"
    other = ME if servers[ME] == ["None", "None"] else "worker-2"
    claims.release(other)
    assert len(claims.claim(other, 2)) == 2, "one worker counts once, however much it claims"
    for worker in (ME, "worker-2"):
        claims.release(worker)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_relative_targets_are_fixed_when_a_run_begins(fleet: Fleet) -> None:
    first, second = fleet.add("a", "r001"), fleet.add("b", "r002")
    fleet.start(target="+1")
    fleet.drain()
    assert (fleet.at(first), fleet.at(second)) == ("r002", "r003")
    fleet.start(kind="downgrade", target="-1")
    fleet.drain()
    assert (fleet.at(first), fleet.at(second)) == ("r001", "r002")


@pytest.mark.parametrize("moved", [False, True])
def test_a_lost_run_is_looked_at(anyfleet: Fleet, moved: bool) -> None:
    fleet = anyfleet
    member = fleet.add("one")
    rollout = fleet.start()
    (run_id,) = claims.claim(ME, 1)
    if moved:  # its worker was killed after the commit, before it could say so
        Scripts.load(fleet.scripts).at(member.address).upgrade()
    lose_worker()
    periodic.advance_rollouts()
    run = fleet.runs_of(rollout)[0]
    assert run.id == run_id
    assert run.before == "r001"
    if moved:
        assert (run.state, run.after) == ("succeeded", "r003")
        assert fleet.stage(rollout) is Stage.SUCCEEDED
    else:
        assert (run.state, run.attempt) == ("pending", 2)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(member) == "r001"


def test_a_run_that_is_taken_while_a_step_looks_is_seen(
    migrated: Callable[[str], URL], tmp_path: Path
) -> None:
    # On SQLite and MariaDB who takes a run waits for the step to end.
    with fleet_on(migrated("postgresql"), tmp_path) as fleet:
        for nth in range(1, 5):
            fleet.add(f"d{nth}")
            rollout = fleet.start()
            with after_query_of_runs(nth, lambda: claims.claim(ME, 1)) as taken:
                advance.step(rollout.id)
            assert fleet.stage(rollout) is Stage.RUNNING, f"taken after query {nth}"
            if not taken:
                break
            for run_id in taken:
                execute.execute(run_id, ME)
            fleet.drain()
            assert fleet.stage(rollout) is Stage.SUCCEEDED
        assert nth > 2  # there were moments to take one at


@contextlib.contextmanager
def after_query_of_runs(nth: int, call: Callable[[], list[int]]) -> Iterator[list[int]]:
    """Have another thread do this after so many queries of this one; what that gives."""
    seen, given, here = 0, [], threading.get_ident()
    app = current_app._get_current_object()  # type: ignore[attr-defined]

    def in_context() -> list[int]:
        with app.app_context():
            return call()

    def after(conn: object, cursor: object, statement: str, *_: object) -> None:
        nonlocal seen
        if threading.get_ident() == here and "FROM run" in statement:
            seen += 1
            if seen == nth:
                with ThreadPoolExecutor(1) as other:
                    given.extend(other.submit(in_context).result())

    sa.event.listen(db.engine, "after_cursor_execute", after)
    try:
        yield given
    finally:
        sa.event.remove(db.engine, "after_cursor_execute", after)


def test_a_lost_run_whose_database_is_held_stays_lost(fleet: Fleet) -> None:
    member = fleet.add("one")
    rollout = fleet.start()
    claims.claim(ME, 1)
    lose_worker()
    with Scripts.load(fleet.scripts).at(member.address).operations():
        periodic.advance_rollouts()
        assert fleet.runs_of(rollout)[0].state == "lost"
    periodic.advance_rollouts()
    assert fleet.runs_of(rollout)[0].state == "pending"


def test_a_run_that_was_given_to_another_is_not_recorded_twice(fleet: Fleet) -> None:
    fleet.add("one")
    rollout = fleet.start()
    (run_id,) = claims.claim(ME, 1)
    lose_worker()
    periodic.advance_rollouts()
    execute.execute(run_id, ME)  # it was only slow, and comes back
    run = fleet.runs_of(rollout)[0]
    assert (run.state, run.attempt) == ("pending", 2)


def test_a_run_that_took_too_long_has_failed(fleet: Fleet) -> None:
    member = fleet.add("one")
    rollout = fleet.start()
    (run_id,) = claims.claim(ME, 1)
    execute.note_timeout(run_id, ME)
    periodic.advance_rollouts()
    run = fleet.runs_of(rollout)[0]
    assert (run.state, run.problem) == ("failed", "run-timed-out")
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    assert fleet.at(member) == "r001"


def test_a_database_that_is_away_is_tried_again(fleet: Fleet) -> None:
    member = fleet.add("one")
    rollout = fleet.start(timeout_seconds=0.3)
    with Scripts.load(fleet.scripts).at(member.address).operations():
        with pytest.raises(DatabaseLocked):
            Scripts.load(fleet.scripts).at(member.address, lock_wait=0).upgrade()
        fleet.work()
    run = fleet.runs_of(rollout)[0]
    assert (run.state, run.attempt, run.problem) == ("pending", 2, "database-locked")
    assert run.retry_at is not None
    assert fleet.work() == 0
    with db.engine.begin() as connection:
        connection.execute(sa.update(Run).values(retry_at=datetime.now(UTC)))
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_workers_that_were_killed_before_do_not_make_the_pauses_longer(fleet: Fleet) -> None:
    member = fleet.add("one")
    rollout = fleet.start(timeout_seconds=0.3)
    for _ in range(3):
        assert claims.claim(ME, 1)
        lose_worker()
        periodic.advance_rollouts()
        workers.beat(ME)
    with Scripts.load(fleet.scripts).at(member.address).operations():
        fleet.work()
    run = fleet.runs_of(rollout)[0]
    assert (run.state, run.attempt, run.waits, run.losses) == ("pending", 5, 1, 4)
    assert run.retry_at is not None
    assert run.retry_at < datetime.now(UTC) + timedelta(seconds=execute.PAUSES[1])


def test_a_file_that_is_gone_is_not_made_anew(fleet: Fleet) -> None:
    member = fleet.add("one")
    path = Path(sa.make_url(member.address).database or "")
    rollout = fleet.start()
    path.rename(path.with_suffix(".away"))
    fleet.drain()
    run = fleet.runs_of(rollout)[0]
    assert (run.state, run.problem) == ("failed", "database-missing")
    assert not path.exists()
    known = databases.get_database(ROOT, member.id)
    assert (known.position, known.current) == ("behind", "r001")
    assert fleet.stage(rollout) is Stage.HALTED
    path.with_suffix(".away").rename(path)
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(member) == "r003"


@pytest.mark.parametrize("sample", [1, None])
def test_a_rehearsal_tells_who_would_fail_and_changes_nothing(
    fleet: Fleet, sample: int | None
) -> None:
    members = fleet.add_many(4)
    broken(fleet, members[3])
    before = [Path(sa.make_url(one.address).database or "").read_bytes() for one in members]
    rollout = fleet.rollout()
    rollouts.rehearse_rollout(ROOT, rollout.id, sample=sample)
    fleet.drain()
    told = progress(ROOT, rollout.id)
    assert told.stage == Stage.PENDING
    assert told.rehearsal is not None
    assert (told.rehearsal.total, told.rehearsal.done) == ((1, 1) if sample else (4, 4))
    assert told.rehearsal.failed == (0 if sample else 1)
    if not sample:
        assert told.rehearsal.first_error is not None
        assert "table t2 already exists" in (told.rehearsal.first_error.error or "")
    after = [Path(sa.make_url(one.address).database or "").read_bytes() for one in members]
    assert after == before
    mended(members[3])
    rollouts.start_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_a_sample_tells_how_long_all_of_them_take(fleet: Fleet) -> None:
    fleet.add_many(4)
    fleet.add("further", at="r002")
    fleet.add("there", at="r003")
    rollout = fleet.rollout(waves=["1", "100%"], gate={"soak_seconds": 60})
    rollouts.rehearse_rollout(ROOT, rollout.id, sample=1)
    assert rehearsal_of(rollout).seconds_ahead is None
    fleet.drain()
    began = datetime.now(UTC)
    with db.engine.begin() as connection:  # 2 s of work, in 4 s
        change = sa.update(Run).values(started_at=began, finished_at=began + timedelta(seconds=4))
        connection.execute(change.values(seconds=sa.case((Run.before == "r001", 1.5), else_=0.5)))
    settled()
    told = rehearsal_of(rollout)
    assert (told.total, told.seconds) == (2, 2.0)
    assert told.seconds_ahead == pytest.approx(4 * (4 * 1.5 + 0.5) / 2 + 60)
    rollouts.start_rollout(ROOT, rollout.id)
    assert rehearsal_of(rollout).seconds_ahead is None


def rehearsal_of(rollout: Rollout) -> Rehearsed:
    found = progress(ROOT, rollout.id).rehearsal
    assert found is not None
    return found


def test_every_kind_of_run(fleet: Fleet) -> None:
    member = fleet.add("one")
    path = Path(sa.make_url(member.address).database or "")
    for kind, target, at in (
        (Kind.SNAPSHOT, "", "r001"),
        (Kind.UPGRADE, "heads", "r003"),
        (Kind.CHECK, "", "r003"),
        (Kind.RESTORE, "", "r001"),
        (Kind.STAMP, "r002", "r002"),
        (Kind.DOWNGRADE, "r001", "r001"),
    ):
        if kind is Kind.DOWNGRADE:
            Scripts.load(fleet.scripts).at(path).stamp("r001")
            Scripts.load(fleet.scripts).at(path).upgrade("r002")
        rollout = databases.run_one(ROOT, member.id, kind, target)
        fleet.drain()
        run = fleet.runs_of(rollout)[0]
        assert (run.state, run.after) == ("succeeded", at), (kind, run.error)
        assert fleet.at(member) == at
        assert fleet.counts() == {("behind" if at != "r003" else "at_head", at): 1}


def test_a_new_database_is_born_where_the_rollout_is(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    ids = [member.id for member in members]

    def born() -> str:
        return joins.target_of_new(db.session, databases.get_database(ROOT, ids[0]))

    assert born() == "heads"
    rollout = fleet.start(waves=["1", "100%"], target="r002", gate={"soak_seconds": 3600})
    assert born() == "r001"
    made = fleet.created("new")
    assert fleet.at(made) == "r001"
    ids.append(made.id)
    fleet.drain()
    past = datetime.now(UTC) - timedelta(seconds=3601)
    with db.engine.begin() as connection:
        connection.execute(sa.update(Rollout).values(wave_done_at=past))
    periodic.advance_rollouts()
    assert born() == "r002"
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert {fleet.at(databases.get_database(ROOT, one)) for one in ids} == {"r002"}


def test_the_sql_that_was_sent_is_kept_once(fleet: Fleet) -> None:
    from app.models import RunSql

    fleet.add_many(4)
    rollout = fleet.start()
    fleet.drain()
    texts = {runs.sql_of(run) for run in fleet.runs_of(rollout)}
    assert len(texts) == 1
    assert "CREATE TABLE t2" in (texts.pop() or "")
    assert db.session.scalar(sa.select(sa.func.count()).select_from(RunSql)) == 1


def test_an_older_release_takes_back_what_a_newer_one_did(fleet: Fleet) -> None:
    member = fleet.add("one", "r002")
    fleet.start()
    fleet.drain()
    (fleet.scripts / "versions" / "r003.py").unlink()
    fleet.load()
    from tests.fleet.fleets import refresh

    refresh(member.id, fleet.project_id)
    assert databases.get_database(ROOT, member.id).position == "ahead"
    rollout = fleet.start(kind="downgrade", target="r002")
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED, fleet.runs_of(rollout)[0].error
    assert fleet.at(member) == "r002"


def test_many_databases_are_a_few_groups(fleet: Fleet, make_many: Callable[[int], None]) -> None:
    make_many(3000)
    told = preview(ROOT, fleet.rollout().id)
    assert told.total == 3000
    assert len(told.groups) == 3


@pytest.fixture
def make_many(fleet: Fleet) -> Callable[[int], None]:
    """Rows of databases at three revisions; there are no files."""

    def make(count: int) -> None:
        with db.engine.begin() as connection:
            connection.execute(
                sa.insert(Database),
                [
                    {
                        "project_id": fleet.project_id,
                        "name": f"n{number}",
                        "address": f"sqlite:///{number}",
                        "dialect": "sqlite",
                        "position": "behind",
                        "current": ("r001", "r002", "")[number % 3],
                    }
                    for number in range(count)
                ],
            )

    return make


def test_roles(fleet: Fleet) -> None:
    from app.errors import RoleInsufficient

    fleet.add("one")
    _, viewer = person(Role.VIEWER)
    rollout = fleet.rollout()
    for use in (
        rollouts.start_rollout,
        rollouts.undo_rollout,
        rollouts.approve_rollout,
        rollouts.rehearse_rollout,
    ):
        with pytest.raises(RoleInsufficient):
            use(viewer, rollout.id)
    assert isinstance(viewer, Actor)
    assert rollouts.get_rollout(viewer, rollout.id).id == rollout.id


@pytest.mark.parametrize(
    ("kind", "target", "left_out"),
    [
        ("upgrade", "heads", {"already at r003": 1}),
        ("upgrade", "r002", {"already at r002": 1, "already past r002": 1}),
        ("upgrade", "r003-1", {"already past r003-1": 2}),
        ("downgrade", "r002", {"already at r002": 1}),
        ("downgrade", "base", {"already at base": 1}),
        ("stamp", "r001", {}),
        ("check", None, {}),
    ],
)
def test_who_needs_nothing_is_left_out(
    fleet: Fleet, kind: str, target: str | None, left_out: dict[str, int]
) -> None:
    for name, at in (("new", None), ("a", "r001"), ("b", "r002"), ("c", "r003")):
        fleet.add(name, at)
    told = preview(ROOT, fleet.rollout(kind=kind, target=target).id)
    assert {one.why: one.databases for one in told.skipped} == left_out
    assert told.total == 4 - sum(left_out.values())


def test_one_that_nobody_has_looked_at_is_not_taken_for_empty(fleet: Fleet) -> None:
    member = fleet.add("one")
    with db.engine.begin() as connection:
        unseen = sa.update(Database).where(Database.id == member.id)
        connection.execute(unseen.values(position="", current=""))
    fresh()
    assert preview(ROOT, fleet.rollout(kind="downgrade", target="base").id).total == 1


def test_what_a_check_found_is_said_before_a_revision_fails_on_it(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    broken(fleet, *members[:2])
    fleet.start(kind=Kind.CHECK)
    fleet.drain()
    new = {"project_id": fleet.project_id, "target": "r002"}
    says = "r002 makes table t2, which {} already, as the last check found: it fails there"
    assert says.format("2 databases have") in preview(ROOT, new).risks
    only = {"selector": {"ids": [members[2].id]}, **new}
    assert "table t2, which" not in " ".join(preview(ROOT, only).risks)
    step, *_ = databases.plan_of(
        ROOT, databases.get_database(ROOT, members[0].id), Kind.UPGRADE
    ).steps
    assert says.format("1 database has") in [f"r002 {risk.says}" for risk in step.risks]
    mended(*members[:2])
    fleet.start(kind=Kind.CHECK)
    fleet.drain()
    assert "table t2, which" not in " ".join(preview(ROOT, new).risks)


# --- drafts --------------------------------------------------------------------------------------


def age(rollout: Rollout, by: timedelta) -> None:
    """As if nobody had touched it for so long."""
    older = {"updated_at": rollout.updated_at - by}
    db.session.execute(sa.update(Rollout).where(Rollout.id == rollout.id).values(**older))
    db.session.commit()
    fresh()


def test_a_draft_that_nobody_starts_expires(fleet: Fleet) -> None:
    fleet.add_many(2)
    forgotten, rehearsed, started = (fleet.rollout() for _ in range(3))
    for one in (forgotten, rehearsed):
        assert one.expires_at == one.updated_at + timedelta(days=30)
        age(one, OLD)
    rollouts.rehearse_rollout(ROOT, rehearsed.id)
    rollouts.start_rollout(ROOT, started.id)
    age(started, OLD)
    advance.advance()
    assert fleet.stage(forgotten) is Stage.CANCELLED
    gone = rollouts.get_rollout(ROOT, forgotten.id)
    assert gone.reason == "This draft was not started within 30 days."
    assert gone.expires_at is None
    assert gone.finished_at is not None
    assert fleet.stage(rehearsed) is Stage.PENDING
    assert fleet.stage(started) is Stage.RUNNING
    with pytest.raises(RolloutRefused, match="is cancelled; `start` is for one that is a draft"):
        rollouts.start_rollout(ROOT, forgotten.id)
    fleet.drain()


def test_a_draft_that_is_started_as_it_expires_is_started(fleet: Fleet) -> None:
    fleet.add_many(1)
    draft = fleet.rollout()
    age(draft, OLD)
    rollouts.start_rollout(ROOT, draft.id)
    advance.step(draft.id)  # whose list was read before
    assert fleet.stage(draft) is Stage.RUNNING
    fleet.drain()


# --- checks --------------------------------------------------------------------------------------


def test_a_check_says_how_many_databases_differ(fleet: Fleet) -> None:
    members = fleet.add_many(3)
    for one, statement in (
        (members[0], "CREATE TABLE extra (x INTEGER)"),
        (members[2], "SELECT 1"),
    ):
        with sqlite(one) as connection:
            connection.exec_driver_sql(statement)
            connection.commit()
    rollout = fleet.start(kind="check", waves=["100%"])
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    found = progress(ROOT, rollout.id)
    assert (found.done, found.differing) == (3, 1)
    assert differing_of(ROOT, [rollout]) == {rollout.id: 1}
    assert [run.differences for run in fleet.runs_of(rollout)] == [1, 0, 0]
    assert says(rollouts.get_rollout(ROOT, rollout.id), 0, found.differing) == (
        f"Rollout {rollout.id} is succeeded, 1 with drift."
    )
    upgrade = fleet.start()
    fleet.drain()
    assert progress(ROOT, upgrade.id).differing is None


def test_what_was_found_before_a_move_is_not_said_after_it(fleet: Fleet) -> None:
    """What was in the way and is gone must not be offered to be dropped: it is the revision's."""
    (one, _) = fleet.add_many(2)
    broken(fleet, one)
    rollout = fleet.start(waves=["100%"])
    fleet.drain()
    (found,) = differences_of(ROOT, one.id)
    assert (found.says, found.fix_sql) == ("extra table t2", "DROP TABLE t2;")
    mended(one)
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(one) == "r003"
    assert differences_of(ROOT, one.id) == []
    fresh()
    again = databases.get_database(ROOT, one.id)
    assert (again.drift, again.drift_at is None) == (0, False)
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    foreseen = preview(ROOT, {"project_id": fleet.project_id})
    assert not [risk for risk in foreseen.risks if "already" in risk]


def test_a_comparison_is_old_once_somebody_else_moved_the_database(fleet: Fleet) -> None:
    one = fleet.add("one")
    broken(fleet, one)
    fleet.start(kind="check", waves=["100%"])
    fleet.drain()
    assert [found.fix_sql for found in differences_of(ROOT, one.id)] == ["DROP TABLE t2;"]
    asked = {"project_id": fleet.project_id}
    assert [risk for risk in preview(ROOT, asked).risks if "already" in risk]
    mended(one)
    Scripts.load(fleet.scripts).at(fleet.folder / "one.db").upgrade("r002")
    refresh(one.id, fleet.project_id)
    (found,) = differences_of(ROOT, one.id)
    assert (found.says, found.fix_sql, found.warning) == ("extra table t2", None, None)
    (group,) = drift.list_groups(ROOT, fleet.project_id, limit=9)[0]
    assert group.mends == ()
    assert not [risk for risk in preview(ROOT, asked).risks if "already" in risk]
    fleet.start(kind="check", waves=["100%"])
    fleet.drain()
    assert differences_of(ROOT, one.id) == []
