"""The plugin, as another project uses it: in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway.dialects import dialect_of
from tests.migrator.scripts import write_project

TESTS = """
import os, pathlib
import sqlalchemy as sa

pathlib.Path("pid").write_text(str(os.getpid()))

def add(url):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t1 (id, name) VALUES (1, 'Ada')")
        count = connection.exec_driver_sql("SELECT count(*) FROM t1").scalar()
    engine.dispose()
    return count

def test_one(migrated_url): assert add(migrated_url) == 1
def test_each_has_its_own(migrated_url): assert add(migrated_url) == 1
def test_it_is_at_head(migrated_url, headway_project):
    assert headway_project.at(migrated_url).status().position == "at_head"
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    write_project(tmp_path / "migrations", 3)
    (tmp_path / "test_theirs.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_words_of_configuration_are_enough(theirs: Path) -> None:
    (theirs / "pytest.ini").write_text("[pytest]\nheadway_scripts = migrations\n")
    assert "3 passed" in run(theirs)


def test_on_a_server_each_test_has_a_database_and_none_is_left(
    theirs: Path, backend: str, fresh_url: object
) -> None:
    url: URL = fresh_url(backend)  # type: ignore[operator]
    text = "sqlite://" if backend == "sqlite" else url.render_as_string(hide_password=False)
    (theirs / "pytest.ini").write_text(f"[pytest]\nheadway_url = {text}\n")
    assert "3 passed" in run(theirs, "-p", "no:cacheprovider")
    if backend == "postgresql":
        mine = f"headway_pytest_{(theirs / 'pid').read_text()}_"
        assert dialect_of(url).named(url, mine) == []
