"""A rolling restart to a release with a migration, under load: no request is lost."""

import http.client
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests import servers
from tests.boot.conftest import rows
from tests.conftest import environment_for
from tests.live import ready
from tests.releases import HEAD, Release, make_release

DRAIN = 0.5
"""Between "send it nothing more" and SIGTERM: what a preStop hook waits."""


class Balancer:
    """Sends each request to a replica that is in turn: ready, and not about to stop."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.turn = 0
        self.lock = threading.Lock()

    def port(self) -> int:
        with self.lock:
            self.turn += 1
            return self.ports[self.turn % len(self.ports)]


def start(release: Release, url: URL) -> tuple[subprocess.Popen[str], int]:
    port = servers.free_port()
    env = environment_for(
        url, PORT=str(port), WEB_CONCURRENCY="1", GUNICORN_CMD_ARGS="--threads 32"
    )
    null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = release.start("gunicorn", "wsgi:app", env=env, **null)
    deadline = time.monotonic() + 40
    while not ready(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process, port


@pytest.mark.parametrize("in_flight", [50, pytest.param(200, marks=pytest.mark.thorough)])
def test_no_request_is_lost(
    release: Release, booted: Callable[[str], URL], tmp_path: Path, in_flight: int
) -> None:
    url = booted("postgresql")
    balancer, done, lost = Balancer(), threading.Event(), []
    answered = [0] * in_flight
    old = [start(release, url) for _ in range(2)]
    balancer.ports = [port for _, port in old]
    make = ("flask", "tokens", "create", "--account", "1", "--name", "load")
    made = release.run(*make, env=environment_for(url))
    token = {"Authorization": f"Bearer {made.stdout.strip()}"}

    def client(number: int) -> None:
        while not done.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", balancer.port(), timeout=30)
            try:
                connection.request("GET", "/readyz" if number % 2 else "/api/v1/me", headers=token)
                status = connection.getresponse().status
                if status != 200:
                    lost.append(str(status))
                answered[number] += 1
            except OSError as error:
                lost.append(repr(error))
            finally:
                connection.close()
            time.sleep(0.2)

    clients = [threading.Thread(target=client, args=(n,)) for n in range(in_flight)]
    for thread in clients:
        thread.start()
    newer = make_release(tmp_path / "newer")
    newer.add("c0115", HEAD, 'time.sleep(1)\nop.add_column("account", sa.Column("nick", sa.Text))')
    new = []
    for process, port in old:
        new.append(start(newer, url))
        with balancer.lock:
            balancer.ports = [p for p in balancer.ports if p != port] + [new[-1][1]]
        time.sleep(DRAIN)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    time.sleep(1)
    done.set()
    for thread in clients:
        thread.join()
    for process, _ in new:
        process.terminate()
        assert process.wait(40) == 0
    assert lost == []
    assert min(answered) > 0
    assert rows(url, "SELECT version_num FROM alembic_version") == [("c0115",)]
