"""What docs/register.md shows was run as written, and answered as it shows: here, each time."""

import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy.engine import URL

from app import create_app
from headway import Project
from tests.conftest import settings_for
from tests.migrator.scripts import write_project

PAGE = Path(__file__).parent.parent / "docs" / "register.md"
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MESSAGES = ["Create the notes", "Notes have tags", "Tags have colours", "Notes can be shared"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Four revisions, two databases at the last and one before it, an index made by hand."""
    folder = write_project(tmp_path / "scripts", 4)
    for number, message in enumerate(MESSAGES, 1):
        file = folder / "versions" / f"r{number:03}.py"
        file.write_text(file.read_text().replace(f"revision r{number:03}", message))
    project = Project.load(folder)
    for name, target in (("a", "heads"), ("b", "heads"), ("c", "r003")):
        project.at(tmp_path / f"{name}.db").upgrade(target)
    for name in "ab":
        with sqlite3.connect(tmp_path / f"{name}.db") as raw:
            raw.execute("CREATE INDEX ix_t1_extra ON t1 (extra)")
        raw.close()
    return tmp_path


@pytest.fixture
def app(template_copy: URL, place: Path) -> Flask:
    roots = {"project_roots": (place,), "data_roots": (place,)}
    return create_app(settings_for(template_copy, **roots))


def test_every_command_runs_as_written(place: Path, runner: FlaskCliRunner) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    commands = [line for kind, text in blocks if kind for line in text.splitlines()]
    assert commands[0] == "flask projects load shop"
    assert "--missing" in commands[2]
    said = says(runner, f"flask projects create shop {place}/scripts")
    said += says(runner, "flask projects load shop")
    for name in "abc":
        url = f"sqlite:///{place}/{name}.db"
        said += says(runner, f"flask databases register --project shop --name {name} --url {url}")
    said += says(runner, "flask databases refresh --project shop")
    said += "".join(says(runner, command) for command in commands[:2])
    (place / "scripts" / "versions" / "r004.py").unlink()  # the release is rolled back
    said += says(runner, "flask projects load shop")
    said += "".join(says(runner, command) for command in commands[2:])
    for line in (line for kind, text in blocks if not kind for line in text.splitlines()):
        assert cells(line) in said, line


def cells(line: str) -> str:
    """A line of a table as it is printed to what is no terminal; not when it came."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "then", re.sub(r" {2,}", "\t", line))


def says(runner: FlaskCliRunner, command: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "flask"
    done = runner.invoke(args=arguments)
    assert done.exit_code == 0, (command, done.output)
    return cells(done.stdout)
