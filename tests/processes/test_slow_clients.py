"""The service as it is shipped, with two processes; and two hundred slow clients. Figures: benchmarks/slow_clients.py."""

import asyncio
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from app.fleet.accounts import limits
from tests import servers
from tests.conftest import environment_for
from tests.live import ready
from tests.slow_clients import SENT, ask, slow_clients

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with its own configuration and two web processes."""
    url = URL.create("sqlite", database=str(tmp_path_factory.mktemp("slow") / "catalog.sqlite"))
    port = servers.free_port()
    env = environment_for(url, PORT=str(port), WEB_CONCURRENCY="2")
    command = [str(Path(sys.executable).with_name("gunicorn")), "wsgi:app"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=env, **quiet)
    try:
        deadline = time.monotonic() + 120
        while not ready(port):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("kind", SENT)
def test_others_are_served_while_clients_are_slow(port: int, kind: str) -> None:
    """gunicorn's own worker answers nobody while eight of these send a head or a body."""
    paths = ["/healthz", "/sign-in", "/readyz", "/api/docs"]
    with slow_clients(port, kind, 200):
        answers = asyncio.run(ask(port, paths, rate=5, seconds=3, most=60))
    assert answers.wrong == []
    assert len(answers.seconds) == 15


def test_nobody_is_believed_who_says_that_a_proxy_took_tls_off(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl"}
    connection.request("GET", "/sign-in", headers=said)
    answer = connection.getresponse()
    assert answer.status == 200
    assert "Strict-Transport-Security" not in answer.headers
    assert "__Host-" not in answer.headers["Set-Cookie"]
    connection.close()


def test_refusals_are_counted_once_for_both_processes(port: int) -> None:
    statuses = []
    for _ in range(limits.NETWORK.free + 5):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        wrong = {"Authorization": "Bearer hw_0000_" + "a" * 43}
        connection.request("GET", "/api/v1/me", headers=wrong)
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses.count(401) in range(limits.NETWORK.free, limits.NETWORK.free + 3)
    assert statuses[limits.NETWORK.free] == 429
