"""The plugin, as another project uses it: in a pytest of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway.dialects import dialect_of
from tests.migrator.making import MODELS
from tests.migrator.scripts import write_env, write_project, write_revision

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


APP = """
import pytest
from flask_migrate import Migrate
from app.shop import db, make_app

@pytest.fixture(scope="session")
def headway_app():
    app = make_app()
    Migrate(app, db)
    return app
"""
READY = ("single_head", "up_and_down", "models_match", "rows_are_kept")
T = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'


def ready(folder: Path, *options: str) -> str:
    """What a run says that may fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def test_one_line_brings_the_ready_tests(theirs: Path, backend: str, fresh_url: object) -> None:
    url: URL = fresh_url(backend)  # type: ignore[operator]
    text = "sqlite://" if backend == "sqlite" else url.render_as_string(hide_password=False)
    (theirs / "pytest.ini").write_text(f"[pytest]\nheadway_tests = true\nheadway_url = {text}\n")
    (theirs / "tests").mkdir()
    (theirs / "test_theirs.py").rename(theirs / "tests" / "test_theirs.py")
    # As people do who keep the scripts elsewhere.
    (theirs / "migrations").rename(theirs / "db")
    (theirs / "tests" / "conftest.py").write_text(CONFTEST)
    found = ready(theirs)
    assert "6 passed, 1 skipped" in found  # it has no models
    assert "names no target_metadata" in found
    assert "3 passed" in ready(theirs, "tests/test_theirs.py")


CONFTEST = """
import pytest
from headway import Project

@pytest.fixture(scope="session")
def headway_project(): return Project.load("db")
"""
U = "op.create_table('u', sa.Column('x', sa.Integer))"
NOT_NULL = "op.add_column('t', sa.Column('n', sa.Integer, nullable=False))"


@pytest.mark.parametrize(
    ("up", "down", "failed", "words"),
    [
        (
            "op.drop_column('t', 'no')",
            "pass",
            "up_and_down rows_are_kept single_head models_match",
            "two",
        ),
        (U, "pass", "up_and_down", "extra table u"),
        (U, "1 / 0", "up_and_down", "division by zero"),
        ("op.execute('DELETE FROM t')", "pass", "rows_are_kept", "two"),
        (NOT_NULL, "op.drop_column('t', 'n')", "rows_are_kept", "two"),
    ],
)
def test_each_ready_test_can_fail(
    tmp_path: Path, up: str, down: str, failed: str, words: str
) -> None:
    folder = write_env(tmp_path / "migrations")
    write_revision(folder, "one", None, [T], ['op.drop_table("t")'])
    write_revision(folder, "two", "one", [up], [down])
    if "single_head" in failed:
        write_revision(folder, "also", "one")
    (tmp_path / "pytest.ini").write_text("[pytest]\nheadway_tests = true\n")
    found = ready(tmp_path)
    for name in READY:
        assert (f"FAILED headway::test_{name}" in found) is (name in failed.split()), found
    assert words in found


def test_models_that_differ_fail(tmp_path: Path) -> None:
    folder = write_env(tmp_path / "migrations", MODELS.format(more="sa.Column('n', sa.Integer)"))
    write_revision(folder, "one", None, [T], ['op.drop_table("t")'])
    (tmp_path / "pytest.ini").write_text("[pytest]\nheadway_tests = true\n")
    found = ready(tmp_path)
    assert "1 failed, 3 passed" in found
    assert "the models differ from the revisions: " in found


def test_the_scripts_of_flask_migrate_are_tested_inside_the_app(tmp_path: Path) -> None:
    """Its env.py asks for the app; the fixture that gives it is named where it is missing."""
    folder = tmp_path / "shop"
    shutil.copytree(Path(__file__).parents[2] / "examples" / "flask-app", folder)
    (folder / "pytest.ini").write_text("[pytest]\nheadway_tests = true\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_url.py").write_text(
        "def test_url(migrated_url): assert migrated_url\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "return the app from a fixture `headway_app`" in " ".join(done.stdout.split())
    (folder / "conftest.py").write_text(APP)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
