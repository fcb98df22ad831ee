"""The programs of `examples/` that serve: started, probed and stopped as real processes."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from tests import servers

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BIN = Path(sys.executable).parent
PATIENCE = 120  # of a test that waits for an event; it is late only on a machine that is busy
SLOW = '''"""one that waits to be told"""

import os
import time

import sqlalchemy as sa
from alembic import op

revision = "f0003"
down_revision = "f0002"


def upgrade() -> None:
    open(os.environ["STARTED"], "w").close()
    while not os.path.exists(os.environ["GO"]):
        time.sleep(0.02)
    op.create_table("late", sa.Column("id", sa.Integer, primary_key=True))
'''


def copied(name: str, folder: Path, *, slow: bool = False) -> Path:
    """An example in a folder of its own; `slow` adds a revision that waits for a file."""
    junk = shutil.ignore_patterns("__pycache__", "instance", "shop.db*")
    found = shutil.copytree(EXAMPLES / name, folder / name, ignore=junk)
    if slow:
        (found / "migrations" / "versions" / "f0003_slow.py").write_text(SLOW)
    return found


def environment(url: URL | None = None, **more: str) -> dict[str, str]:
    """That of a person who has nothing of Headway set but the database."""
    text = url.render_as_string(hide_password=False) if url else None
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HEADWAY", "FLASK"))}
    where = {"DATABASE_URL": text, "HEADWAY_MIGRATE_URL": text} if text else {}
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return mine | where | {"PATH": path, "PYTHONUNBUFFERED": "1", **more}


def until(true: Callable[[], Any]) -> Any:
    """Wait for an event; what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def get(port: int, path: str) -> tuple[int, dict[str, Any]] | None:
    """Status and body; None where nothing listens, or what did was closed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected):
        return None
    finally:
        connection.close()
    return answer.status, json.loads(body)


class Service:
    """A server with a slow revision, and the files that its boot waits for and writes."""

    def __init__(self, command: Sequence[str], cwd: Path, env: dict[str, str], folder: Path):
        self.started, self.go = folder / "started", folder / "go"
        self.log = folder / "log"
        mine = {"STARTED": str(self.started), "GO": str(self.go)}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                list(command), cwd=cwd, env=env | mine, stdout=log, stderr=log, stdin=-3
            )

    def until_migrating(self) -> None:
        """Until the slow revision runs."""
        until(lambda: self.started.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def stop(self) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextmanager
def running(
    command: Sequence[str], cwd: Path, env: dict[str, str], folder: Path
) -> Iterator[Service]:
    """A service for the time of a test; its descendants end with it."""
    service = Service(command, cwd, env, folder)
    try:
        yield service
    finally:
        service.go.touch()
        if service.process.poll() is None:
            service.stop()


@contextmanager
def asked_all_the_time(port: int, path: str = "/healthz") -> Iterator[list[object]]:
    """Two clients that ask again and again; all that was not a 200."""
    wrong: list[object] = []
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            try:
                answer = get(port, path)
            except OSError as error:
                wrong.append(repr(error))
            else:
                if answer is None or answer[0] != 200:
                    wrong.append(answer or "refused")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        end.set()
        for thread in threads:
            thread.join()


def free_port() -> int:
    return servers.free_port()
