"""`flask` commands on a fleet, and a worker beside them."""

import contextlib
import json
import os
import pty
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask.testing import FlaskCliRunner
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from app.extensions import db
from app.fleet import databases
from headway.cli.commands import migrate
from headway.cli.fleet import watching
from tests.fleet.fleets import ROOT, Fleet, fleet_on


@pytest.fixture
def fleet(template_copy: URL, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(template_copy, tmp_path) as made:
        yield made


class Shell:
    """`flask …` in this process."""

    def __init__(self, fleet: Fleet) -> None:
        self.runner: FlaskCliRunner = fleet.app.test_cli_runner()

    def __call__(self, *words: str, code: int = 0, **env: str) -> Result:
        db.session.remove()  # the test's own
        done = self.runner.invoke(args=list(words), env=env)
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture
def flask(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.05)
    return Shell(fleet)


class Working:
    """A worker that works while a command waits, until the block ends."""

    def __init__(self, fleet: Fleet, pause: float = 0.0) -> None:
        self.fleet = fleet
        self.pause = pause
        self.failed: list[BaseException] = []
        self.ended = threading.Event()

    def __enter__(self) -> None:
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        time.sleep(self.pause)
        with self.fleet.app.app_context():
            try:
                while True:
                    with contextlib.suppress(OperationalError):  # a busy catalog ends no worker
                        self.fleet.drain()
                    db.session.rollback()
                    if self.ended.wait(0.1):
                        return
            except BaseException as error:  # noqa: BLE001
                self.failed.append(error)
            finally:
                db.session.remove()

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
        assert not self.failed, self.failed


def stands(fleet: Fleet, *names: str) -> list[str]:
    """Where these files say that they stand."""
    return [fleet.at(databases.find_database(ROOT, name)) for name in names]


def broken(fleet: Fleet, name: str) -> None:
    path = fleet.folder / f"{name}.db"
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t2 (x INTEGER)")


def headway(command: str, scripts: Path | None, url: URL | None, *more: str) -> Result:
    """In this process, as the entry point calls it."""
    arguments = [command]
    if scripts:
        arguments += ["--scripts", str(scripts)]
    env = {"HEADWAY_MIGRATE_URL": url.render_as_string(hide_password=False)} if url else {}
    return CliRunner(env=env).invoke(migrate, [*arguments, *more])


def at_a_terminal(command: Sequence[str], env: Mapping[str, str], answer: str) -> tuple[int, str]:
    """What a person at a terminal sees who answers the question; the exit code comes first."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 4096):
            said += part
            if said.rstrip().endswith(b"[y/N]:"):
                os.write(ours, f"{answer}\n".encode())
                answer = ""
    os.close(ours)
    return process.wait(60), said.decode()
