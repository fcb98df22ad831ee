"""What docs/rollouts.md shows was run as written, and answered as it shows: here, each time."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import run_forking

HOME = Path(__file__).parent.parent
PAGE = HOME / "docs" / "rollouts.md"
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"^(.*?)  # exits with (\d+)$", re.MULTILINE)
WORKERS = "flask workers run --concurrency 2"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copytree(HOME / "examples", tmp_path / "examples")
    return tmp_path


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    beside = str(Path(sys.executable).parent)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HEADWAY"))}
    catalog = f"sqlite:///{place}/catalog.sqlite"  # `make run` brings one to head
    return kept | {
        "PATH": f"{beside}:{os.environ['PATH']}",
        "PYTHONPATH": str(HOME),
        "FLASK_APP": "wsgi:app",
        "HEADWAY_DATABASE_URL": catalog,
    }


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(PAGE.read_text()) if found == kind]


@pytest.fixture
def workers(place: Path, environment: dict[str, str]) -> Iterator[None]:
    """The other terminal of the page."""
    assert f"{WORKERS}\n" in blocks("")
    command = ["sh", "-ec", f"flask db upgrade\nexec {WORKERS}"]
    with (place / "workers.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    yield
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


def test_every_command_runs_as_written(
    place: Path, environment: dict[str, str], workers: None
) -> None:
    script = EXITS.sub(
        r"code=0; \1 || code=$?; test $code -eq \2", "\n".join(["flask db upgrade", *blocks("sh")])
    )
    done = run_forking(["sh", "-ec", script], place, environment, 600)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    assert "No worker is running" not in done.stderr
    shown = [line for text in blocks("") for line in text.splitlines()]
    others = ("flask", "headway", "curl", "Rollout 1: halted")
    lines = [line for line in shown if not line.startswith(others)]
    assert len(lines) >= 7
    for line in lines:
        assert re.sub(r" {2,}", "\t", line) in done.stdout, line
    assert re.search(r"Rollout 1: halted, wave 3 of 3, \d+ of 40 done, 1 failed\.", done.stdout)
    assert done.stdout.rstrip().splitlines()
    assert (place / "runs.csv").read_text().count("shop-0005") >= 3
