"""The same work carried by Celery: two workers, real brokers, on a PostgreSQL catalog."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kombu
import psutil
import pytest
from celery import Celery
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet.workers import celery as workers_celery
from app.models import Project
from tests import servers
from tests.fleet.sites import Site, family, is_running, kill, site_on
from tests.migrator.scripts import write_revision


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.thorough), "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind, with nothing in our queue."""
    url = {"redis": servers.redis, "rabbitmq": servers.rabbitmq}[request.param]()
    empty(url)
    yield url
    empty(url)


@pytest.fixture
def redis() -> Iterator[str]:
    url = servers.redis()
    empty(url)
    yield url
    empty(url)


def empty(url: str) -> None:
    with kombu.Connection(url) as connection, connection.channel() as channel:
        channel.queue_delete(workers_celery.QUEUE)


@pytest.fixture
def site(migrated: Callable[[str], URL], tmp_path: Path) -> Iterator[Site]:
    with site_on(migrated("postgresql"), tmp_path) as made:
        yield made


@pytest.fixture
def slow(migrated: Callable[[str], URL], tmp_path: Path) -> Iterator[Site]:
    """Each database takes two seconds."""
    with site_on(migrated("postgresql"), tmp_path, seconds=1.0) as made:
        yield made


def children(worker: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    return family(worker.pid)


def test_two_workers_do_a_rollout_and_each_database_once(site: Site, broker: str) -> None:
    both = [site.celery(broker) for _ in range(2)]
    alive = site.until_alive(2)
    assert {one.engine for one in alive} == {"celery"}
    # Each of its children does runs, and has a child that runs the project's code.
    direct = [psutil.Process(one.pid).children() for one in both]
    assert {one.pid for one in alive} == {child.pid for one in direct for child in one}
    with Celery(broker=broker, set_as_current=False) as stranger:
        stranger.control.shutdown()  # which nobody hears
        assert stranger.control.ping(timeout=1) == []
    rollout = site.begin(30, waves=["1", "30%", "100%"])
    site.until_ended(rollout)
    assert site.found() == {"r002+r003": 30}
    assert {run.worker for run in site.runs_of(rollout)} == {one.name for one in alive}
    for one in both:
        one.terminate()
    assert [one.wait(30) for one in both] == [0, 0]
    assert site.alive() == []


def test_scripts_that_changed_are_read_by_a_worker(site: Site, redis: str) -> None:
    site.celery(redis)
    site.until_alive(1)
    write_revision(site.folder / "scripts", "r009", "r003", ["pass"], ["pass"])

    def heads() -> list[str]:
        return db.session.get_one(Project, site.fleet.project_id).heads

    site.until(lambda: heads() == ["r009"])


def test_told_to_stop_it_finishes_its_database_and_others_do_the_rest(
    slow: Site, broker: str
) -> None:
    first = slow.celery(broker)
    slow.until_alive(1)
    rollout = slow.begin(3)
    slow.until_running(rollout)
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert slow.alive() == []
    states = slow.states(rollout)
    assert set(states) == {"succeeded", "pending"}
    slow.celery(broker)
    slow.until_ended(rollout)
    assert slow.found() == {"r002+r003": 3}
    assert {run.attempt for run in slow.runs_of(rollout)} == {1}


def test_a_killed_child_is_replaced_and_its_database_is_done_once(slow: Site, redis: str) -> None:
    worker = slow.celery(redis)
    first = slow.until_alive(1)[0]
    rollout = slow.begin(2)
    slow.until_running(rollout)
    kill(first.pid)
    slow.until_ended(rollout)
    assert slow.found() == {"r002+r003": 2}
    assert max(run.attempt for run in slow.runs_of(rollout)) == 2
    assert worker.poll() is None


@pytest.mark.thorough
def test_the_children_of_a_killed_worker_finish_their_database_and_end(
    slow: Site, redis: str
) -> None:
    worker = slow.celery(redis, 2)
    slow.until_alive(2)
    rollout = slow.begin(4)
    slow.until_running(rollout, 2)
    below = [child.pid for child in children(worker)]
    kill(worker.pid)
    worker.wait()
    slow.until(lambda: not any(is_running(pid) for pid in below))
    assert slow.alive() == []
    states = slow.states(rollout)
    assert states["succeeded"] == 2, states
    slow.celery(redis)
    slow.until_ended(rollout)
    assert {run.attempt for run in slow.runs_of(rollout)} == {1}


@pytest.mark.thorough
def test_a_run_that_takes_too_long_ends_its_child(slow: Site, redis: str) -> None:
    slow.celery(redis)
    first = slow.until_alive(1)[0]
    rollout = slow.begin(1, timeout_seconds=0.6)
    slow.until(lambda: slow.fleet.stage(rollout) == "halted")
    assert [run.problem for run in slow.runs_of(rollout)] == ["run-timed-out"]
    assert [one.name for one in slow.alive()] == [first.name], "the worker goes on"


def test_what_the_broker_lost_is_sent_again(slow: Site) -> None:
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    broker = servers.own_redis(port)
    try:
        slow.celery(url)
        slow.until_alive(1)
        rollout = slow.begin(6)
        slow.until_running(rollout)
        broker.kill()
        broker.wait()
        time.sleep(3)
        broker = servers.own_redis(port)
        slow.until_ended(rollout)
    finally:
        broker.kill()
        broker.wait()
    assert slow.found() == {"r002+r003": 6}


@pytest.mark.thorough
def test_a_broker_that_is_not_there_yet_is_waited_for(site: Site) -> None:
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    worker = site.celery(url)
    rollout = site.begin(2)
    time.sleep(5)
    assert worker.poll() is None
    broker = servers.own_redis(port)
    try:
        site.until_ended(rollout)
    finally:
        broker.kill()
        broker.wait()


@pytest.mark.thorough
def test_celery_knows_the_app_by_its_path(site: Site, redis: str) -> None:
    celery = (sys.executable, "-m", "celery", "-A", "app.processes.celery")
    site.start(*celery, "worker", "--pool", "solo", HEADWAY_BROKER_URL=redis)
    site.until_alive(1)
    rollout = site.begin(3)
    site.until_ended(rollout)
    assert site.found() == {"r002+r003": 3}


def test_threads_are_refused(site: Site, redis: str) -> None:
    celery = (sys.executable, "-m", "celery", "-A", "app.processes.celery")
    worker = site.start(*celery, "worker", "--pool", "threads", HEADWAY_BROKER_URL=redis)
    assert worker.wait(30) != 0
    assert "Use --pool=prefork" in site.log.read_text()


class _Runs:
    """What would make a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_whoever_reaches_the_broker_ends_no_worker_and_runs_nothing(
    site: Site, redis: str, tmp_path: Path
) -> None:
    worker = site.celery(redis)
    site.until_alive(1)
    stranger = Celery(broker=redis)
    queue = {"queue": workers_celery.QUEUE}
    known, mark = workers_celery.TASK, tmp_path / "made by a message"
    kombu.enable_insecure_serializers(["pickle"])
    try:
        for task in (known, "os.system"):
            stranger.send_task(task, args=[_Runs(mark)], serializer="pickle", **queue)
    finally:
        kombu.disable_insecure_serializers()
    stranger.send_task("os.system", args=[f"touch {mark}"], **queue)
    stranger.send_task(known, args=["no number"], **queue)
    assert stranger.control.ping(timeout=2) == []
    stranger.control.shutdown()
    rollout = site.begin(2)
    site.until_ended(rollout)
    assert site.found() == {"r002+r003": 2}
    assert worker.poll() is None
    assert not mark.exists()


def test_a_password_of_the_broker_is_in_no_log(site: Site) -> None:
    url = f"redis://:hunter2@127.0.0.1:{servers.free_port()}/0"
    worker = site.celery(url)
    site.until_alive(1)
    site.begin(1)
    site.until(lambda: "The broker does not answer" in site.log.read_text())
    worker.terminate()
    worker.wait(30)
    assert "hunter2" not in site.log.read_text()
