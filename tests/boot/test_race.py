"""Many processes boot at once. The whole matrix, 50 tries each, is `benchmarks/race.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

RACE = Path(__file__).resolve().parents[2] / "benchmarks" / "race.py"


def race(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(RACE), *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


def test_of_eight_processes_one_migrates_and_none_dies(backend: str) -> None:
    told = race("--only", backend, "--tries", "3", "--kind", "8 processes")
    assert told.count("3 of 3 good") == 3


def test_the_same_with_a_revision_that_takes_its_time(backend: str) -> None:
    race("--only", backend, "--tries", "2", "--kind", "8 processes", "--slow", "--state", "behind")


@pytest.mark.parametrize("state", ["empty", "behind", "head"])
def test_two_masters_with_four_workers_each_all_come_up(state: str) -> None:
    race("--only", "postgresql", "--tries", "1", "--kind", "masters", "--state", state)
