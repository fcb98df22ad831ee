"""While a boot takes its time: alive, not ready, and why."""

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.engine import URL

from tests import servers
from tests.conftest import environment_for
from tests.releases import HEAD, Release

SLOW = "time.sleep({})"


def get(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, Any], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else {}, answer.headers
    finally:
        connection.close()


def until_open(port: int) -> None:
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Servers:
    """Replicas under gunicorn with the shipped configuration."""

    def __init__(self, release: Release, url: URL) -> None:
        self.release, self.url, self.running = release, url, []

    def start(self, *arguments: str) -> int:
        port = servers.free_port()
        env = environment_for(self.url, PORT=str(port), WEB_CONCURRENCY="1")
        self.running.append(
            self.release.start(
                "gunicorn",
                "wsgi:app",
                *arguments,
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        until_open(port)
        return port


@pytest.fixture
def replicas(release: Release, at_head: URL) -> Iterator[Servers]:
    found = Servers(release, at_head)
    yield found
    for process in found.running:
        process.terminate()
    for process in found.running:
        process.wait(30)


def watch(port: int, seconds: float = 30) -> list[dict[str, Any]]:
    """What readiness says until it says ready, with liveness good all the time."""
    seen, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert get(port, "/healthz")[:2] == (200, {"state": "alive"})
        status, body, _ = get(port, "/readyz")
        seen.append(body)
        if status == 200:
            return seen
        assert status == 503
        time.sleep(0.05)
    raise AssertionError(f"never ready: {seen[-1]}")


def test_a_slow_boot_is_alive_and_says_how_far_it_is(replicas: Servers) -> None:
    replicas.release.add("c0115", HEAD, SLOW.format(1.2))
    replicas.release.add("c0116", "c0115", SLOW.format(1.2))
    seen = watch(replicas.start())
    migrating = [body for body in seen if body["state"] == "migrating"]
    assert {body["revision"] for body in migrating} == {"1 of 2", "2 of 2"}
    assert {body["running"] for body in migrating} == {"c0115", "c0116"}
    assert migrating[-1]["seconds"] > migrating[0]["seconds"]
    holder = migrating[0]["lock"]["holder"]
    assert holder["host"] == socket.gethostname()
    assert holder["pid"] > 1
    assert holder["release"][0].isdigit()
    assert holder["since"].startswith("20")
    assert seen[-1]["state"] == "head"
    assert seen[-1]["revision"] == "c0116"


def test_a_replica_that_waits_says_for_whom(replicas: Servers) -> None:
    replicas.release.add("c0115", HEAD, SLOW.format(8))
    first = replicas.start()
    while get(first, "/readyz")[1]["state"] != "migrating":
        time.sleep(0.05)
    holder = get(first, "/readyz")[1]["lock"]["holder"]
    seen = watch(replicas.start())
    waiting = [body for body in seen if body["state"] == "waiting_for_lock"]
    assert waiting
    assert waiting[-1]["lock"]["holder"]["pid"] == holder["pid"]
    assert not [body for body in seen if body["state"] == "migrating"], "one migrates, once"
    assert watch(first)[-1]["state"] == "head"


def test_nothing_but_probes_is_answered_early(replicas: Servers) -> None:
    replicas.release.add("c0115", HEAD, SLOW.format(2))
    port = replicas.start()
    for path in ("/", "/api/v1/accounts", "/metrics", "/healthz/x"):
        status, body, headers = get(port, path)
        assert status == 503
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["Retry-After"]
        assert "/readyz" in body["detail"]
    assert get(port, "/readyz", method="HEAD")[0] == 503
    watch(port)
    assert get(port, "/api/v1/accounts")[0] == 401


def test_slow_clients_do_not_block_the_probes(replicas: Servers) -> None:
    replicas.release.add("c0115", HEAD, SLOW.format(2))
    port = replicas.start()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
    for client in silent[:15]:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
    began = time.monotonic()
    assert get(port, "/healthz")[0] == 200
    assert time.monotonic() - began < 1
    watch(port)
    for client in silent:
        client.close()


def test_no_request_is_lost_between_the_probes_and_the_workers(replicas: Servers) -> None:
    replicas.release.add("c0115", HEAD, SLOW.format(1))
    port = replicas.start()
    wrong: list[str] = []
    ready = threading.Event()

    def ask() -> None:
        while not ready.is_set():
            try:
                if get(port, "/healthz")[0] != 200:
                    wrong.append("not 200")
            except OSError as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    watch(port)
    time.sleep(0.5)
    ready.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_preloaded_app_boots_too(replicas: Servers) -> None:
    replicas.release.add("c0115", HEAD, "pass")
    assert watch(replicas.start("--preload"))[-1]["revision"] == "c0115"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_without_our_configuration_the_workers_boot(replicas: Servers, tmp_path: Any) -> None:
    replicas.release.add("c0115", HEAD, "pass")
    (replicas.release.path / "gunicorn.conf.py").unlink()
    port = servers.free_port()
    replicas.running.append(
        replicas.release.start(
            "gunicorn",
            "wsgi:app",
            "-b",
            f"127.0.0.1:{port}",
            "-w",
            "4",
            env=environment_for(replicas.url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    until_open(port)
    assert watch_ready_only(port)["revision"] == "c0115"


def watch_ready_only(port: int) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        status, body, _ = get(port, "/readyz")
        if status == 200:
            return body
        assert time.monotonic() < deadline
