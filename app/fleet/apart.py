"""A process apart for a project's code, which a web process never imports.

It lives as long as the one that asks, so that it builds each template once, and ends with it.
"""

import atexit
import os
import pickle
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL

from app.errors import HeadwayError, MigrationFailed
from app.settings import ROOT

PATIENCE_SECONDS = 300


def create(
    places: tuple[str, str | None], url: URL, *, x: Mapping[str, str], target: str, release: str
) -> Any:
    """Make a database at a target, in the process apart; where it stands then (a Look).

    `places` are the folder of the scripts and their file of options. Raises what the migrator's
    `create` raises, and MigrationFailed if the process ends or takes too long.
    """
    return _helper.ask(
        {"places": places, "url": url, "x": dict(x), "target": target, "release": release}
    )


class _Helper:
    """The process, started when first asked and again after it ended."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, work: dict[str, Any]) -> Any:
        with self._one_at_a_time:
            process = self._started()
            try:
                answer = self._exchange(process, work)
            except (EOFError, OSError, pickle.UnpicklingError):
                self.end()
                raise MigrationFailed(
                    "The process that made the database ended before it was done. Its last words "
                    "are in the log."
                ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """Let it go."""
        process, self._process = self._process, None
        if process and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.end()
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.fleet.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        self._owner = os.getpid()
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], work: dict[str, Any]) -> Any:
        assert process.stdin  # noqa: S101
        assert process.stdout  # noqa: S101
        pickle.dump(work, process.stdin)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], PATIENCE_SECONDS)[0]:
            self.end()
            raise MigrationFailed(f"The database was not made within {PATIENCE_SECONDS} s.")
        return pickle.load(process.stdout)  # noqa: S301  # our own process


_helper = _Helper()
atexit.register(_helper.end)


def _serve() -> None:
    """Do what comes in until the one that asks is gone."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a project prints is for the log
    while True:
        try:
            work = pickle.load(sys.stdin.buffer)  # noqa: S301  # our own process
        except EOFError:
            return
        try:
            answer = _create(work)
        except HeadwayError as error:
            answer = error
        except Exception as error:  # noqa: BLE001  # a project's code may raise anything
            answer = MigrationFailed(f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()


def _create(work: dict[str, Any]) -> Any:
    from app.migrator.project import Project

    member = Project.shared(*work["places"]).at(work["url"], work["x"], release=work["release"])
    member.create(work["target"])
    return member.status()


if __name__ == "__main__":
    _serve()
