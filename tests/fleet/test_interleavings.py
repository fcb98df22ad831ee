"""What comes between two steps of a rollout: each order is forced, none of it loses anything."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, current_app
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from app.cli.catalog_fleet import CatalogFleet
from app.errors import InputInvalid, RolloutRefused
from app.extensions import db
from app.fleet import databases, rollouts, workers
from app.fleet.core import leases
from app.fleet.core.transactions import repeated, writing
from app.fleet.counts import positions, tallies
from app.fleet.isolation.remote import RemoteDatabase
from app.fleet.refresh import refresh as refreshing
from app.fleet.rollouts import start
from app.fleet.runs import claims, execute, tasks
from app.fleet.workers import periodic
from app.models import Database, Rollout, Run, Stage
from headway import Project as Scripts
from headway.cli.fleet import watching
from headway.errors import StillNeeded
from headway.types import Outcome, Status
from tests.fleet.fleets import (
    ME,
    ROOT,
    Fleet,
    broken,
    created,
    fleet_on,
    fresh,
    lose_worker,
    mended,
    sqlite,
    stages,
)


@pytest.fixture(params=["postgresql", "mariadb"])
def serverfleet(
    request: pytest.FixtureRequest, migrated: Callable[[str], URL], tmp_path: Path
) -> Iterator[Fleet]:
    """Where two can write at once."""
    with fleet_on(migrated(request.param), tmp_path) as made:
        yield made


def in_another(call: Callable[[], object]) -> object:
    """What this gives in another thread, with a session of its own."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def run() -> object:
        with app.app_context():
            return call()

    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(run).result(3)
    finally:
        pool.shutdown(wait=False)


def unseen(fleet: Fleet, name: str) -> Database:
    """A file at r001 that is registered, and that nobody has looked at."""
    asked = {"project_id": fleet.project_id, "name": name, "url": f"sqlite:///{fleet.file(name)}"}
    made, _ = databases.register_database(ROOT, asked)
    return databases.get_database(ROOT, made.id)


# --- undo goes back to where a database was found, whatever the catalog believed -------------------


def test_a_canary_that_nobody_had_looked_at_stays_where_it_was(fleet: Fleet) -> None:
    member = unseen(fleet, "a")
    broken(fleet, member)
    rollout = fleet.start()
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    assert fleet.at(member) == "r001"


def test_one_that_was_moved_by_hand_goes_back_to_there(fleet: Fleet) -> None:
    member = fleet.add("a")
    Scripts.load(fleet.scripts).at(member.address).upgrade("r002")
    with sqlite(member) as connection:
        connection.exec_driver_sql("CREATE TABLE t3 (x INTEGER)")
    fleet.start()
    fleet.drain()
    assert fleet.at(member) == "r002"


def test_one_that_was_locked_at_first_goes_back_to_where_it_was(fleet: Fleet) -> None:
    member = unseen(fleet, "a")
    rollout = fleet.start(timeout_seconds=0.3)
    with Scripts.load(fleet.scripts).at(member.address).operations():
        fleet.work()
    with writing() as session:
        session.execute(sa.update(Run).values(retry_at=datetime.now(UTC)))
    fleet.drain()
    assert fleet.at(member) == "r003"
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert (fleet.stage(rollout), fleet.at(member)) == (Stage.UNDONE, "r001")


def test_a_look_does_not_overwrite_where_a_lost_run_came_from(anyfleet: Fleet) -> None:
    fleet = anyfleet
    member = fleet.add("a")
    rollout = fleet.start()
    claims.claim(ME, 1)
    Scripts.load(fleet.scripts).at(member.address).upgrade()
    lose_worker()
    with Scripts.load(fleet.scripts).at(member.address).operations():
        periodic.advance_rollouts()
        refreshing.refresh(fleet.project_id)
    fleet.drain()
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert (fleet.stage(rollout), fleet.at(member)) == (Stage.UNDONE, "r001")


def test_what_a_lost_run_did_by_half_is_taken_back(fleet: Fleet) -> None:
    _, second = fleet.add_many(2)
    rollout = fleet.start(concurrency=1)
    fleet.work(1)
    claims.claim(ME, 1)
    Scripts.load(fleet.scripts).at(second.address).upgrade("r002")
    lose_worker()
    periodic.advance_rollouts()
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    assert (fleet.stage(rollout), fleet.at(second)) == (Stage.UNDONE, "r001")


# --- a database is in one rollout -----------------------------------------------------------------


def test_of_two_rollouts_that_start_at_once_one_gets_a_database(
    serverfleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = serverfleet
    member = fleet.add("a")
    first, second = fleet.rollout(), fleet.rollout()
    choose, started = start.choose, threading.Event()

    def chosen(*given: object) -> object:
        found = choose(*given)  # type: ignore[arg-type]
        if not started.is_set():
            started.set()
            with suppress(TooLong, RolloutRefused):
                in_another(lambda: rollouts.start_rollout(ROOT, second.id))
        return found

    monkeypatch.setattr(start, "choose", chosen)
    with suppress(RolloutRefused):
        rollouts.start_rollout(ROOT, first.id)
    fresh()
    runs = db.session.scalars(sa.select(Run).where(Run.database_id == member.id)).all()
    assert len({run.rollout_id for run in runs}) == 1


def test_undo_takes_no_database_from_another_rollout(anyfleet: Fleet) -> None:
    fleet = anyfleet
    members = fleet.add_many(2)
    first = fleet.start(target="r002")
    fleet.drain()
    second = fleet.start(target="r003", concurrency=1)
    fleet.work(1)
    rollouts.pause_rollout(ROOT, second.id)
    with pytest.raises(RolloutRefused, match=f"is part of rollout {second.id}"):
        rollouts.undo_rollout(ROOT, first.id)
    fresh()
    kept = {databases.get_database(ROOT, one.id).rollout_id for one in members}
    assert kept == {second.id}
    assert fleet.stage(first) is Stage.SUCCEEDED


def test_a_lost_run_of_a_cancelled_rollout_lets_go_nothing_of_another(anyfleet: Fleet) -> None:
    fleet = anyfleet
    member = fleet.add("a")
    first = fleet.start()
    claims.claim("gone", 1)
    rollouts.cancel_rollout(ROOT, first.id)
    second = fleet.start()
    periodic.advance_rollouts()
    periodic.advance_rollouts()
    fresh()
    assert databases.get_database(ROOT, member.id).rollout_id == second.id
    (run,) = fleet.runs_of(first)
    assert run.state == "cancelled"


def test_what_is_at_work_cannot_be_dropped_or_moved_elsewhere(fleet: Fleet) -> None:
    member = fleet.add("a")
    rollout = fleet.start()
    claims.claim(ME, 1)
    rollouts.cancel_rollout(ROOT, rollout.id)
    other = {"url": f"sqlite:///{fleet.file('other')}"}
    with pytest.raises(StillNeeded, match=f"Rollout {rollout.id} is working on"):
        databases.change_database(ROOT, member.id, other, version=member.version)


# --- one thing goes on while another changes ------------------------------------------------------


def test_what_failed_is_tried_again_where_a_wave_soaked(fleet: Fleet) -> None:
    members = fleet.add_many(10)
    broken(fleet, members[1])
    gate = {"failures": 1, "soak_seconds": 3600}
    rollout = fleet.start(waves=["5", "100%"], gate=gate)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SOAKING
    rollouts.pause_rollout(ROOT, rollout.id)
    mended(members[1])
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(members[1]) == "r003"
    assert fleet.stage(rollout) is Stage.SOAKING


def test_leaving_out_the_failed_canary_brings_the_others_back(fleet: Fleet) -> None:
    members = fleet.add_many(4)
    broken(fleet, members[1])
    rollout = fleet.start(waves=["2", "100%"], concurrency=1)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    rollouts.resume_rollout(ROOT, rollout.id, skip_failed=True)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert [fleet.at(one) for one in members] == ["r003", "r001", "r003", "r003"]


def test_a_pin_holds_what_was_claimed_and_not_begun(fleet: Fleet) -> None:
    members = fleet.add_many(2)
    fleet.start()
    first, second = claims.claim(ME, 2)
    execute.execute(first, ME)
    later = datetime.now(UTC) + timedelta(days=1)
    databases.pin_database(ROOT, members[1].id, reason="audit", until=later)
    execute.execute(second, ME)
    assert [fleet.at(one) for one in members] == ["r003", "r001"]


def test_a_url_that_cannot_be_read_fails_its_own_run_only(fleet: Fleet) -> None:
    first, second = fleet.add_many(2)
    rollout = fleet.start(gate={"failures": 1})
    with writing() as session:
        sealed = sa.text("UPDATE database SET url = 'gAAAAAB' WHERE id = :id")
        session.execute(sealed, {"id": first.id})
    refreshing.refresh(fleet.project_id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert fleet.at(second) == "r003"
    states = {run.database_id: run.state for run in fleet.runs_of(rollout)}
    assert states == {first.id: "failed", second.id: "succeeded"}


def test_a_lease_that_others_lock_is_not_had(serverfleet: Fleet) -> None:
    assert leases.hold("test", "a", 0.01)
    with db.engine.connect() as other:
        other.exec_driver_sql("SELECT * FROM lease WHERE name = 'test' FOR UPDATE")
        assert not leases.hold("test", "b", 10)


def test_two_that_enter_a_place_at_once_are_both_counted(
    serverfleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, barrier = serverfleet.project_id, threading.Barrier(2, timeout=2)
    insert = positions.insert

    def together(*given: object) -> object:
        with suppress(threading.BrokenBarrierError):
            barrier.wait()
        return insert(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(positions, "insert", together)

    @repeated
    def enter() -> None:
        with writing() as session:
            positions.shift(session, entered=[(project_id, "behind", "r00x")])

    app: Flask = serverfleet.app

    def run() -> None:
        with app.app_context():
            enter()

    db.session.remove()
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(run) for _ in range(2)]:
            one.result(20)
    found = {count.current: count.databases for count in positions.counts(project_id)}
    assert found["r00x"] == 2


# --- what a gate and a birth are for --------------------------------------------------------------


def test_an_approval_needs_a_wave_to_approve(fleet: Fleet) -> None:
    fleet.add("a")
    with pytest.raises(RolloutRefused, match="has only one wave"):
        fleet.start(waves=["1", "100%"], gate={"approval": True})


# --- what one sees, and what is there when its turn comes ------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_a_worker_that_stood_still_moves_nothing_when_it_wakes(
    fleet: Fleet, kind: str, fresh_url: Callable[[str], URL], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fresh_url(kind)
    Scripts.load(fleet.scripts).at(url).upgrade("r001")
    member = fleet.register("a", url)
    rollout = fleet.start()
    taken = claims.claim(ME, 1)
    moves = RemoteDatabase.move

    def sleeps(member: RemoteDatabase, *args: Any, **kwargs: Any) -> Outcome:
        """Before it has the lock: lost, done by another, and taken back."""
        monkeypatch.undo()
        monkeypatch.setattr(tasks, "SURE_SECONDS", 0.0)
        lose_worker()
        periodic.advance_rollouts()
        workers.register("another", "embedded")
        assert fleet.work(worker="another") == 1
        rollouts.undo_rollout(ROOT, rollout.id)
        workers.beat("another")
        assert fleet.work(worker="another") == 1
        periodic.advance_rollouts()
        return moves(member, *args, **kwargs)

    monkeypatch.setattr(RemoteDatabase, "move", sleeps)
    execute.execute(taken[0], ME)
    assert fleet.stage(rollout) is Stage.UNDONE
    seen = Scripts.load(fleet.scripts).at(url).status()
    assert (seen.current, seen.torn) == (("r001",), None)
    run = next(run for run in fleet.runs_of(rollout) if run.kind == "upgrade")
    assert (run.state, run.worker) == ("succeeded", "another")
    assert databases.get_database(ROOT, member.id).current == "r001"


def test_a_catalog_that_is_away_for_a_moment_costs_an_attempt_and_no_failure(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = fleet.add("a")
    rollout = fleet.start()
    (run_id,) = claims.claim(ME, 1)
    moves = RemoteDatabase.move

    def away(*_: object) -> None:
        raise sa.exc.OperationalError("SELECT", {}, Exception("connection refused"))

    def begins(member: RemoteDatabase, *args: Any, **kwargs: Any) -> Outcome:
        monkeypatch.setattr(tasks, "Session", away)
        return moves(member, *args, **kwargs)

    monkeypatch.setattr(tasks, "SURE_SECONDS", 0.0)
    monkeypatch.setattr(RemoteDatabase, "move", begins)
    execute.execute(run_id, ME)
    monkeypatch.undo()
    (run,) = fleet.runs_of(rollout)
    assert (run.state, run.problem, run.attempt) == ("pending", "catalog-busy", 2)
    assert fleet.at(member) == "r001"
    with writing() as session:
        session.execute(sa.update(Run).values(retry_at=datetime.now(UTC)))
    fleet.drain()
    assert (fleet.stage(rollout), fleet.at(member)) == (Stage.SUCCEEDED, "r003")


def test_a_database_that_is_being_created_is_in_no_rollout(
    anyfleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = anyfleet
    fleet.add("a")
    begun: list[Rollout] = []

    def meanwhile() -> None:
        begun.append(fleet.start())
        fleet.drain()

    new = created_while(fleet, meanwhile, monkeypatch)
    rollout = begun[0]
    assert fleet.stage(rollout) is Stage.SUCCEEDED, "it did not wait for what was not there"
    assert new.id not in [run.database_id for run in fleet.runs_of(rollout)]
    assert (new.pin_until, new.pin_reason, fleet.at(new)) == (None, None, "r003")


def test_one_that_is_created_while_the_canary_goes_through_is_brought_along(
    anyfleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = anyfleet
    fleet.add_many(3)
    rollout = fleet.start(waves=["1", "100%"], concurrency=1)

    def meanwhile() -> None:
        fleet.work(1)
        periodic.advance_rollouts()

    new = created_while(fleet, meanwhile, monkeypatch)
    assert rollouts.get_rollout(ROOT, rollout.id).wave == 1
    assert (fleet.at(new), new.rollout_id) == ("r001", rollout.id)
    fleet.drain()
    assert (fleet.stage(rollout), fleet.at(new)) == (Stage.SUCCEEDED, "r003")


def created_while(
    fleet: Fleet, meanwhile: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> Database:
    """A database whose run comes before all others, and what happens as it is being made."""
    real = RemoteDatabase.create

    def slow(*args: Any, **kwargs: Any) -> Status:
        meanwhile()
        return real(*args, **kwargs)

    monkeypatch.setattr(RemoteDatabase, "create", slow)
    url = f"sqlite:///{fleet.folder}/new.db"
    asked = {"project_id": fleet.project_id, "name": "new", "url": url}
    creation = databases.create_database(ROOT, asked)
    run_id = db.session.scalars(sa.select(Run.id).where(Run.kind == "create")).one()
    claimed = claims.claim(ME, 50)
    claims.release(ME, [one for one in claimed if one != run_id])
    execute.execute(run_id, ME)
    return created(creation)


def test_a_rollout_of_others_does_not_say_where_a_new_database_belongs(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = fleet.add("a")
    broken(fleet, member)
    databases.run_one(ROOT, member.id, "upgrade")
    fleet.drain()
    other = fleet.add("b", labels={"shelf": "1"})
    fleet.start(selector={"labels": {"shelf": "1"}}, waves=["1"])
    assert other.position == "behind"
    made = created_while(fleet, lambda: None, monkeypatch)
    assert (made.position, made.current, made.rollout_id) == ("at_head", "r003", None)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_a_check_changes_nothing(fleet: Fleet, kind: str, fresh_url: Callable[[str], URL]) -> None:
    url: URL | str = f"sqlite:///{fleet.file('a')}"
    if kind != "sqlite":
        url = fresh_url(kind)
        Scripts.load(fleet.scripts).at(url).upgrade("r001")
    fleet.register("a", url)
    rollout = fleet.start(gate={"check": "sql", "sql": "SELECT 1"})
    with writing() as session:  # as if it had been let in
        gate = rollout.gate | {"sql": "DROP TABLE t1"}
        session.execute(sa.update(Rollout).where(Rollout.id == rollout.id).values(gate=gate))
    fleet.drain()
    (run,) = fleet.runs_of(rollout, kind="upgrade")
    assert run.problem == "check-failed"  # on a server it is not even sent: see test_checks
    assert "t1" in tables(url)
    with pytest.raises(InputInvalid, match="one statement"):
        fleet.rollout(gate={"check": "sql", "sql": "SELECT 1; DROP TABLE t1"})


def tables(url: URL | str) -> list[str]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return sa.inspect(connection).get_table_names()


def test_watching_waits_for_a_catalog_that_is_restarted(
    migrated: Callable[[str], URL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = migrated("postgresql")
    with fleet_on(url, tmp_path) as fleet:
        fleet.add("a")
        rollout = fleet.start()
        states, cut = tallies.states, threading.Event()

        def interrupted(of: Rollout) -> object:
            if not cut.is_set():
                cut.set()
                end_sessions(url)
            elif stages()[-1][1] == "running":
                fleet.drain()
            return states(of)

        monkeypatch.setattr(tallies, "states", interrupted)
        assert watching.watch(CatalogFleet(ROOT), rollout.id) == 0
        assert cut.is_set()


def test_a_catalog_that_is_away_in_the_middle_of_a_run_fails_no_database(
    migrated: Callable[[str], URL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = migrated("postgresql")
    with fleet_on(url, tmp_path) as fleet:
        member = fleet.add("a")
        rollout = fleet.start()
        (run_id,) = claims.claim(ME, 1)

        def cut_off(_: tasks.Task) -> tasks.Ended:
            db.session.execute(sa.text("SELECT 1"))
            end_sessions(url)
            db.session.execute(sa.text("SELECT 1"))
            raise AssertionError("the catalog is away")

        with monkeypatch.context() as broken_off:
            broken_off.setattr(execute.operations, "operate", cut_off)
            with pytest.raises(OperationalError):
                execute.execute(run_id, ME)
        db.session.rollback()
        assert fleet.runs_of(rollout)[0].state == "running", "nothing is said of the database"
        lose_worker()
        periodic.advance_rollouts()
        fleet.drain()
        assert fleet.stage(rollout) == "succeeded"
        assert fleet.at(member) == "r003"


def end_sessions(url: URL) -> None:
    """All that others have on this PostgreSQL database."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
