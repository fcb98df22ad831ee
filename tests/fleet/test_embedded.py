"""Embedded workers as real processes, with real signals."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.models import State
from headway import Project
from tests.conftest import boot
from tests.fleet.sites import (
    ASKS,
    LOGGED,
    Site,
    answers,
    family,
    get,
    is_running,
    kill,
    site_on,
    supervisor_of,
    those_below,
)
from tests.migrator.making import rows, run
from tests.migrator.scripts import write_revision
from tests.releases import HEAD


@pytest.fixture
def quick(template_copy: URL, tmp_path: Path) -> Iterator[Site]:
    with site_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def slow(template_copy: URL, tmp_path: Path) -> Iterator[Site]:
    """Each database takes two seconds."""
    with site_on(template_copy, tmp_path, seconds=1.0) as made:
        yield made


def test_a_server_brings_its_workers_and_they_do_what_is_asked(quick: Site) -> None:
    server, port = quick.serve(2)
    names = {one.name for one in quick.until_alive(2)}
    rollout = quick.begin(12, waves=["1", "100%"])
    quick.until_ended(rollout)
    assert quick.found() == {"r002+r003": 12}
    assert {run.worker for run in quick.runs_of(rollout)} <= names
    quick.until(lambda: sum(one.done for one in quick.alive()) == 12)
    assert get(port, "/healthz") == 200
    below = [one.pid for one in family(server.pid)]
    most = "a web worker, the supervisor, two workers, a child of each, and one that refreshes"
    assert 6 <= len(below) <= 8, most
    server.terminate()
    assert server.wait(30) == 0
    assert not any(is_running(pid) for pid in below)
    assert quick.alive() == []
    listed = quick.flask("workers", "list", "--check")
    assert listed.returncode == 3
    assert "No worker is running" in listed.stderr


def test_told_to_stop_each_finishes_its_database_and_hands_the_rest_back(slow: Site) -> None:
    server, _ = slow.serve(2)
    slow.until_alive(2)
    rollout = slow.begin(8)
    slow.until_running(rollout, 2)
    time.sleep(0.5)
    began = time.monotonic()
    server.terminate()
    assert server.wait(30) == 0
    assert time.monotonic() - began < 15
    states = slow.states(rollout)
    assert set(states) == {State.SUCCEEDED, State.PENDING}, states
    assert states[State.SUCCEEDED] >= 2, "what was being migrated is"
    assert slow.found() == {"r002+r003": states["succeeded"], "": states["pending"]}
    assert slow.alive() == []
    slow.serve(2)
    slow.until_ended(rollout)
    assert slow.found() == {"r002+r003": 8}


def test_the_workers_of_a_killed_server_finish_their_database_and_end(slow: Site) -> None:
    server, _ = slow.serve(2)
    slow.until_alive(2)
    rollout = slow.begin(8)
    slow.until_running(rollout, 2)
    below = [one.pid for one in family(server.pid)]
    kill(server.pid)
    slow.until(lambda: not any(is_running(pid) for pid in below))
    states = slow.states(rollout)
    assert set(states) == {State.SUCCEEDED, State.PENDING}, states
    assert slow.found() == {"r002+r003": states["succeeded"], "": states["pending"]}
    assert slow.alive() == []


def test_a_killed_worker_is_replaced_and_what_it_did_is_done_once(slow: Site) -> None:
    server, port = slow.serve(2)
    first = slow.until_alive(2)
    rollout = slow.begin(4)
    slow.until_running(rollout, 2)
    kill(first[0].pid)
    killed = time.monotonic()
    slow.until(lambda: first[0].name not in {one.name for one in slow.alive()})
    slow.until_alive(2)
    assert time.monotonic() - killed < 15, "it is not waited until the silence is long"
    assert first[1].name in {one.name for one in slow.alive()}
    slow.until_ended(rollout)
    assert slow.found() == {"r002+r003": 4}
    again = [run for run in slow.runs_of(rollout) if run.attempt > 1]
    assert again, "the run that was lost was seen to be lost"
    assert server.poll() is None
    assert get(port, "/healthz") == 200


def test_a_killed_supervisor_takes_its_workers_along_and_another_one_comes(slow: Site) -> None:
    server, port = slow.serve(2)
    first = {one.name for one in slow.until_alive(2)}
    rollout = slow.begin(6)
    slow.until_running(rollout, 2)
    supervisor = supervisor_of(server)
    workers = [one.pid for one in supervisor.children()]
    supervisor.kill()
    slow.until(lambda: not any(is_running(pid) for pid in workers))
    assert get(port, "/healthz") == 200, "the web server goes on"
    slow.until_ended(rollout)
    assert slow.found() == {"r002+r003": 6}
    assert {run.attempt for run in slow.runs_of(rollout)} == {1}, "none was lost"
    assert first.isdisjoint(one.name for one in slow.until_alive(2))
    below = [one.pid for one in family(server.pid)]
    server.terminate()
    assert server.wait(30) == 0
    assert not any(is_running(pid) for pid in below)


def test_a_run_that_takes_too_long_is_ended_for_real(slow: Site) -> None:
    slow.supervise(1)
    first = slow.until_alive(1)[0]
    rollout = slow.begin(1, timeout_seconds=0.6)
    slow.until(lambda: slow.fleet.stage(rollout) == "halted")
    run = slow.runs_of(rollout)[-1]
    assert (run.state, run.problem) == (State.FAILED, "run-timed-out")
    assert slow.found() == {"": 1}, "nothing of it is left"
    assert [one.name for one in slow.alive()] == [first.name], "the worker goes on"
    assert is_running(first.pid)


def test_a_database_that_takes_long_holds_no_other_up_and_the_idle_take_more_at_once(
    quick: Site, tmp_path: Path
) -> None:
    goes_on = tmp_path / "goes_on"
    waits = f"place.endswith('d012.db') and not pathlib.Path({str(goes_on)!r}).exists()"
    up = ["import pathlib, time", "place = op.get_bind().engine.url.database"]
    up += [f"while {waits}: time.sleep(0.05)", ASKS, LOGGED.format("r002")]
    write_revision(quick.scripts, "r002", "r001", up, ["pass"])
    quick.fleet.load()
    quick.supervise(2)
    quick.until_alive(2)
    rollout = quick.begin(24, concurrency=24)
    quick.until(lambda: quick.states(rollout) == {"running": 1, "succeeded": 23})
    goes_on.touch()
    quick.until_ended(rollout)
    assert quick.found() == {"r002+r003": 24}
    late = quick.fleet.add("late")  # what becomes due is taken at once by those that are idle
    rollout = quick.fleet.start(selector={"ids": [late.id]})
    db.session.rollback()
    quick.until_ended(rollout)
    run = quick.runs_of(rollout)[0]
    assert run.started_at
    waited = (run.started_at - rollout.started_at).total_seconds()  # type: ignore[operator]
    assert waited < 2, "0.3 s on a machine that does nothing else"


def test_no_more_are_at_work_on_a_server_than_its_limit(
    quick: Site, postgresql_url: URL, tmp_path: Path
) -> None:
    """Sampled on the server itself: a worker claims several, and is at work on one."""
    wait = f'op.execute("SELECT pg_sleep(0.2)"); {LOGGED.format("r002")}'
    write_revision(quick.scripts, "r002", "r001", [wait], ["pass"])
    quick.fleet.load()
    names = [f"t{number}" for number in range(16)]
    run(postgresql_url, *(f"CREATE SCHEMA {name}" for name in names))
    for name in names:
        url = postgresql_url.update_query_dict({"schema": name})
        Project.load(quick.scripts).at(url).upgrade("r001")
        quick.fleet.register(name, url)
    quick.supervise(4)
    quick.until_alive(4)
    rollout = quick.fleet.start(target="r002", concurrency=3, per_server=2)
    db.session.remove()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ 'pg_sleep'"
    sampled = []
    while quick.fleet.stage(rollout) == "running":
        sampled += [int(rows(postgresql_url, f"{sleeping} AND pid <> pg_backend_pid()")[0][0])]
        time.sleep(0.01)
    quick.until_ended(rollout)
    assert max(sampled) == 2
    assert {tuple(run.applied or ()) for run in quick.runs_of(rollout)} == {("r002",)}


def test_a_worker_waits_until_its_catalog_is_at_head(
    quick: Site, sqlite_url: URL, tmp_path: Path
) -> None:
    quick.url = sqlite_url  # nothing is there yet
    supervisor = quick.supervise(1)
    time.sleep(4)
    assert len(those_below(supervisor.pid, "app.processes.worker")) == 1
    boot(sqlite_url)
    engine = sa.create_engine(sqlite_url, poolclass=sa.NullPool)

    def registered() -> int:
        with engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM worker").scalar() or 0)

    quick.until(registered)


def test_a_worker_ends_when_a_newer_release_has_migrated_the_catalog(quick: Site) -> None:
    supervisor = quick.supervise(1)
    first = quick.until_alive(1)[0]
    db.session.execute(sa.text("UPDATE alembic_version SET version_num = 'c9999'"))
    db.session.commit()
    quick.until(lambda: not is_running(first.pid))
    quick.until(lambda: family(supervisor.pid), 10)
    time.sleep(3)
    assert quick.alive() == [], "the next one waits for a catalog of its own release"
    db.session.execute(sa.text(f"UPDATE alembic_version SET version_num = '{HEAD}'"))
    db.session.commit()
    quick.until_alive(1)


def test_hup_renews_the_workers_which_have_no_socket_of_their_server(quick: Site) -> None:
    server, port = quick.serve(1)
    first = quick.until_alive(1)[0]
    listening = {
        one.laddr.port
        for one in psutil.Process(first.pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    }
    assert port not in listening, "the port is free once the server has ended"
    server.send_signal(signal.SIGHUP)
    quick.until(lambda: first.name not in {one.name for one in quick.alive()})
    quick.until_alive(1)
    supervisor_of(server)
    server.terminate()
    assert server.wait(30) == 0
    assert quick.alive() == []


def test_usr2_does_not_double_the_workers(quick: Site) -> None:
    server, port = quick.serve(1)
    first = quick.until_alive(1)[0]
    server.send_signal(signal.SIGUSR2)

    def new_master() -> psutil.Process | None:
        return next((one for one in psutil.Process(server.pid).children() if supervised(one)), None)

    def supervised(process: psutil.Process) -> bool:
        return len(those_below(process.pid, "app.processes.supervisor")) == 1

    quick.until(lambda: (new := new_master()) and len(family(new.pid)) >= 2)
    new = new_master()
    assert new
    time.sleep(3)
    assert [one.name for one in quick.alive()] == [first.name]
    server.send_signal(signal.SIGTERM)
    server.wait(30)
    quick.until(lambda: [one.name for one in quick.alive()] not in ([], [first.name]))
    assert get(port, "/healthz") == 200
    new.terminate()
    quick.until(lambda: not is_running(new.pid))
    assert quick.alive() == []


def test_with_no_workers_or_with_a_broker_none_is_beside_the_server(quick: Site) -> None:
    none, port = quick.serve(0)
    broker, other = quick.serve(2, HEADWAY_BROKER_URL="redis://127.0.0.1:1/0")
    quick.until(lambda: answers(port) and answers(other))
    for server in (none, broker):
        assert those_below(server.pid, "app.processes.supervisor") == []


def test_once_does_what_can_be_done_and_ends(quick: Site) -> None:
    rollout = quick.begin(5, waves=["1", "100%"])
    done = quick.flask("workers", "run", "--once")
    assert (done.returncode, done.stdout) == (0, "Finished 5 runs.\n"), done.stderr
    assert quick.fleet.stage(rollout) == "succeeded"
    assert quick.found() == {"r002+r003": 5}
    assert quick.alive() == []


def test_flask_workers_run_is_ended_by_a_signal(quick: Site) -> None:
    running = quick.start("flask", "workers", "run", "--concurrency", "2")
    assert len(quick.until_alive(2)) == 2
    rollout = quick.begin(4)
    quick.until_ended(rollout)
    below = [one.pid for one in family(running.pid)]
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 0
    assert not any(is_running(pid) for pid in below)
