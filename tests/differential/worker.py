"""A server that forks: each job has a process of its own, without the cost of starting Python.

`Server("alembic")` imports Alembic and never Headway; `Server("headway")` both. A job is a
dictionary that names what to do; its answer is what the function of that name in
`alembic_jobs` or `headway_jobs` returned, or `{"crash": traceback}`.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SECONDS = 120.0


class Server:
    """Runs jobs one after the other, none for longer than `seconds`. Close it at the end."""

    def __init__(self, kind: str, seconds: float = SECONDS) -> None:
        command = [sys.executable, "-m", "tests.differential.worker", kind, str(seconds)]
        mine = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=mine | {"PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, **job: Any) -> dict[str, Any]:
        """The answer of one job."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"name": name, **job}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End the server; its jobs have ended."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(kind: str, seconds: float) -> None:
    """Answer one line for each line, until there are no more."""
    jobs = importlib.import_module(f"tests.differential.{kind}_jobs")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(in_a_fork(jobs, json.loads(line), seconds)) + "\n")
        answers.flush()


def in_a_fork(jobs: Any, job: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What a job returned, in a process that ends with it."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        _child(jobs, job, writes)
    os.close(writes)
    answer = _all_of(reads, pid, seconds)
    os.close(reads)
    os.waitpid(pid, 0)
    if not answer:
        return {"crash": f"the process ended without an answer, or took more than {seconds} s"}
    found: dict[str, Any] = json.loads(answer)
    return found


def _all_of(reads: int, pid: int, seconds: float) -> bytes:
    answer, deadline = b"", time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([reads], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            os.killpg(pid, signal.SIGKILL)
            return b""
        part = os.read(reads, 1 << 20)
        if not part:
            return answer
        answer += part


def _child(jobs: Any, job: dict[str, Any], writes: int) -> None:
    os.setpgid(0, 0)
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123  # for as long as this lives
            warnings.resetwarnings()
            warnings.simplefilter("ignore")
            try:
                answer = getattr(jobs, job.pop("name"))(**job)
            except BaseException:  # noqa: BLE001  # it is the answer
                answer = {"crash": traceback.format_exc()}
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            out.seek(0)
            answer["stdout"] = out.read().decode(errors="replace")
            err.seek(0)
            answer["stderr"] = err.read().decode(errors="replace")[-2000:]
        with os.fdopen(writes, "w") as pipe:
            json.dump(answer, pipe)
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
