"""Many processes boot at once. The whole matrix, 50 tries each, is `benchmarks/race.py`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

RACE = Path(__file__).resolve().parents[2] / "benchmarks" / "race.py"


Race = Callable[..., str]


@pytest.fixture
def race(request: pytest.FixtureRequest) -> Race:
    """Runs it on a server of the tests; what it prints."""

    def run(backend: str, *arguments: str, script: Path = RACE) -> str:
        env = dict(os.environ)
        if backend != "sqlite":
            url: URL = request.getfixturevalue(f"{backend}_server")
            env[f"TEST_{backend.upper()}_URL"] = url.render_as_string(hide_password=False)
        done = subprocess.run(
            [sys.executable, str(script), "--only", backend, *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        return done.stdout

    return run


@pytest.mark.parametrize("tries", [1, pytest.param(3, marks=pytest.mark.thorough)])
def test_of_eight_processes_one_migrates_and_none_dies(
    race: Race, backend: str, tries: int
) -> None:
    told = race(backend, "--tries", str(tries), "--kind", "8 processes")
    assert told.count(f"{tries} of {tries} good") == 3


@pytest.mark.parametrize("tries", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_the_same_with_a_revision_that_takes_its_time(race: Race, backend: str, tries: int) -> None:
    which = ("--kind", "8 processes", "--state", "behind")
    race(backend, *which, "--tries", str(tries), "--slow")


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("empty", marks=pytest.mark.thorough),
        "behind",
        pytest.param("head", marks=pytest.mark.thorough),
    ],
)
def test_two_masters_with_four_workers_each_all_come_up(race: Race, state: str) -> None:
    race("postgresql", "--tries", "1", "--kind", "masters", "--state", state)


@pytest.mark.parametrize("program", ["with_flask_migrate", "with_flask_alembic", "fastapi"])
def test_eight_processes_of_an_example_do_as_well(
    race: Race, backend: str, program: str, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    which = ("--kind", "8 processes", "--state", "behind", "--program", program)
    how = ("--tries", "1", "--out", str(out))
    race(backend, *which, *how, script=RACE.with_name("boot_examples.py"))
    results = map(json.loads, out.read_text().splitlines())
    assert [(one["kind"], one["wrong"]) for one in results] == [("8 processes", [])]
