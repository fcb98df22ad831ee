"""A worker's hand in this process, when the catalog fails it at the worst moment."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from app import boot
from app.extensions import db
from app.fleet.core import leases
from app.fleet.runs import claims, execute, operations, results
from app.fleet.runs.tasks import Ended, Task
from app.fleet.workers import heartbeat, periodic, registry
from app.fleet.workers.worker import WorkerLoop, WorkerProcess
from tests.fleet.fleets import sqlite
from tests.fleet.sites import Site, site_on

LOST = OperationalError("COMMIT", None, Exception("the server closed the connection"))


@pytest.fixture
def site(migrated_url: URL, tmp_path: Path) -> Iterator[Site]:
    """On each kind of catalog."""
    with site_on(migrated_url, tmp_path) as made:
        yield made


@pytest.fixture
def hand(site: Site) -> Iterator[WorkerProcess]:
    outdated = threading.Event()
    made = WorkerProcess(
        site.fleet.app, engine="embedded", state=boot.state, outdated=outdated.set, tasks=()
    )
    made.start()
    yield made
    made.end()
    assert not outdated.is_set()


def name_of(hand: WorkerProcess) -> str:
    deadline = time.monotonic() + 30
    while (name := hand.name) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return name


def after_which_the_answer_is_lost(real: Callable[..., Any]) -> Callable[..., Any]:
    """The catalog has done it, and the connection is gone before it says so."""

    def lost(*args: Any) -> None:
        real(*args)
        raise LOST

    return lost


def go_on(site: Site, hand: WorkerProcess, old: str) -> None:
    """Another name, the old one's runs looked at, and the rest of the rollout."""
    site.until(lambda: hand.name not in (None, old))
    loop = WorkerLoop(hand, threading.Event())
    for _ in range(10):
        periodic.advance_rollouts()
        loop.take_and_run(name_of(hand))
        db.session.rollback()


def test_runs_that_were_taken_unknown_to_us_are_not_ours_for_ever(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = site.begin(2)
    old = name_of(hand)
    loop = WorkerLoop(hand, threading.Event())
    with monkeypatch.context() as patch:
        patch.setattr(claims, "claim", after_which_the_answer_is_lost(claims.claim))
        with pytest.raises(OperationalError):
            loop.take_and_run(old)
    assert site.states(rollout)["running"] == 1
    go_on(site, hand, old)
    assert site.fleet.stage(rollout) == "succeeded"
    assert site.found() == {"r002+r003": 2}


def test_a_run_that_was_left_in_the_middle_is_looked_at(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = site.begin(2)
    old = name_of(hand)
    with monkeypatch.context() as patch:
        patch.setattr(results, "finish", after_which_the_answer_is_lost(lambda *_: None))
        loop = WorkerLoop(hand, threading.Event())
        loop.take_and_run(old)
        with pytest.raises(OperationalError):
            loop.let_go(old)
    assert site.found() == {"r002+r003": 1, "": 1}, "it was migrated"
    assert site.states(rollout)["running"] == 1, "and nobody wrote that down"
    go_on(site, hand, old)
    assert site.fleet.stage(rollout) == "succeeded"
    assert site.found() == {"r002+r003": 2}
    assert {run.attempt for run in site.runs_of(rollout)} == {1}, "it was seen to be done"


def test_what_was_done_and_not_written_is_found_with_its_snapshot(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several: results wait for each other, and a worker that dies has written none of them."""
    monkeypatch.setattr("app.fleet.runs.results.UNWRITTEN_SECONDS", 60.0)
    rollout = site.begin(3, snapshot=True)
    old, loop = name_of(hand), WorkerLoop(hand, threading.Event())
    loop.average = 0.01
    with monkeypatch.context() as patch:
        patch.setattr(results, "finish", after_which_the_answer_is_lost(lambda *_: None))
        loop.take_and_run(old)
        with pytest.raises(OperationalError):
            loop.let_go(old)
    assert site.found() == {"r002+r003": 3}
    assert site.states(rollout) == {"running": 3}
    go_on(site, hand, old)
    assert site.fleet.stage(rollout) == "succeeded"
    runs = site.runs_of(rollout)
    assert {run.attempt for run in runs} == {1}
    assert all(Path(str(run.snapshot)).is_file() for run in runs)
    assert {(run.before, run.after) for run in runs} == {("r001", "r003")}


def test_after_the_failure_that_is_one_too_many_no_worker_begins(
    site: Site, hand: WorkerProcess
) -> None:
    """Nor one that had claimed before."""
    rollout = site.begin(4)
    name_of(hand)
    (first,) = Task.read(claims.claim("first", 1), "first")
    others = Task.read(claims.claim("second", 3), "second")
    path = str(sa.make_url(first.database.address).database)
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE log")
    result = execute.execute_task(first)
    assert result
    results.finish([result])
    assert [execute.execute_task(task) for task in others] == [None, None, None]
    assert site.states(rollout) == {"failed": 1, "pending": 3}
    assert site.fleet.stage(rollout) == "halted"


def test_who_is_not_heard_begins_nothing(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = site.begin(2)
    name_of(hand)
    monkeypatch.setattr(registry, "FRESH_SECONDS", 0.0)
    assert hand.name is None
    loop, stop = WorkerLoop(hand, threading.Event()), threading.Event()
    loop.stop = stop
    threading.Timer(1.0, stop.set).start()
    loop.run()
    assert site.states(rollout) == {"pending": 2}


def test_who_was_believed_to_be_gone_goes_on_under_another_name(
    site: Site, hand: WorkerProcess
) -> None:
    old = name_of(hand)
    registry.stop(old)
    site.until(lambda: hand.name not in (None, old))
    assert [one.name for one in site.alive()] == [hand.name]


def test_a_lease_is_kept_for_as_long_as_the_work_takes(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LEASE_SECONDS", 5.0)
    name_of(hand)
    with hand.heartbeat.keeping("long") as held:
        assert held
        time.sleep(7)
        assert not leases.hold("long", "another", 5.0)


def test_a_log_says_why_its_steps_begin_again(site: Site, hand: WorkerProcess) -> None:
    """What was recorded of the first fails in the second: only the scripts can tell why."""
    first = site.fleet.add("first")
    second = site.fleet.add("second")
    with sqlite(second) as connection:
        connection.exec_driver_sql("DROP TABLE log")
    rollout = site.fleet.start(gate={"failures": 1})
    db.session.rollback()
    name, loop = name_of(hand), WorkerLoop(hand, threading.Event())
    while loop.take_and_run(name):
        pass
    logs = {run.database_id: run.log or "" for run in site.runs_of(rollout)}
    again = "the recorded statements do not fit: rolled back, and run by the scripts"
    assert again not in logs[first.id]
    assert logs[second.id].count("1 of 2: r002") == 2
    assert logs[second.id].count(again) == 1
    assert "Revision r002 failed: no such table: log" in logs[second.id]


def test_results_wait_for_those_of_the_next_claim(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While runs of their rollout are claimed; the last of a wave are written at once."""
    monkeypatch.setattr("app.fleet.runs.results.UNWRITTEN_SECONDS", 60.0)
    rollout = site.begin(3)
    name, loop = name_of(hand), WorkerLoop(hand, threading.Event())
    loop.average = 60.0  # one for each claim
    for done in (1, 2, 3):
        assert loop.take_and_run(name)
        assert site.states(rollout) == {"running": done} | (
            {"pending": 3 - done} if done < 3 else {}
        )
    assert not loop.take_and_run(name)
    assert site.states(rollout) == {"succeeded": 3}
    assert site.fleet.stage(rollout) == "succeeded"


def test_results_do_not_wait_for_runs_of_another_rollout(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fleet.runs.results.UNWRITTEN_SECONDS", 60.0)
    first = site.begin(1)
    name, loop = name_of(hand), WorkerLoop(hand, threading.Event())
    assert loop.take_and_run(name)
    assert site.states(first) == {"running": 1}
    site.fleet.add("other")
    site.fleet.start()
    db.session.rollback()
    assert loop.take_and_run(name)
    assert site.states(first) == {"succeeded": 1}


def test_what_is_claimed_behind_a_run_that_takes_long_is_released(
    site: Site, hand: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the catalog refuses that at first."""
    rollout = site.begin(4)
    name, loop = name_of(hand), WorkerLoop(hand, threading.Event())
    loop.average = 0.01
    begun, goes_on = threading.Event(), threading.Event()
    operate, release = operations.operate, claims.release
    tries: list[object] = []

    def waits(task: Task) -> Ended:
        begun.set()
        assert goes_on.wait(60)
        return operate(task)

    def refused_once(*asked: Any) -> int:
        tries.append(asked)
        if len(tries) == 1:
            raise LOST
        return release(*asked)

    monkeypatch.setattr(operations, "operate", waits)
    monkeypatch.setattr(claims, "release", refused_once)
    worker = threading.Thread(target=loop.take_and_run, args=(name,))
    worker.start()
    try:
        assert begun.wait(30)
        assert site.states(rollout) == {"running": 4}
        site.until(lambda: site.states(rollout) == {"running": 1, "pending": 3})
        others = claims.claim("another", 10)
        assert len(others) == 3
    finally:
        goes_on.set()
        worker.join(60)
    loop.let_go(name)
    assert site.states(rollout) == {"succeeded": 1, "running": 3}
    assert {run.worker for run in site.runs_of(rollout) if run.id in others} == {"another"}
    assert len(tries) == 2
