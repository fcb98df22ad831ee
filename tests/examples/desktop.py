"""The program `notes` of `examples/desktop`, its files, and its page."""

import doctest
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from headway import Project

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "desktop"
NEXT = '''"""A colour for each note."""

import sqlalchemy as sa
from alembic import op

revision = "n0004"
down_revision = "n0003"


def upgrade() -> None:
    op.add_column("note", sa.Column("colour", sa.String))
'''

Run = subprocess.CompletedProcess[str]


def run(command: list[str | Path], folder: Path, environment: dict[str, str] | None = None) -> Run:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
    )


def said(done: Run, code: int = 0) -> str:
    """What was printed, if that is how it ended; a refusal is one line and nothing else."""
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        assert not done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr if code else done.stdout


def old_file(path: Path, version: str = "n0001") -> Path:
    """A file as an older release left it."""
    Project.load(EXAMPLE / "notes" / "migrations").at(path).create(version)
    with closing(sqlite3.connect(path)) as connection, connection:
        notes = [("Water the plants", "home, garden"), ("Release 3 ☃", "work"), ("Sleep", "")]
        connection.executemany("INSERT INTO note (text, tags) VALUES (?, ?)", notes)
    return path


def next_release(folder: Path) -> Path:
    """Where the package is that has one revision more."""
    copy = copied(folder)
    (copy / "notes" / "migrations" / "versions" / "n0004_colour.py").write_text(NEXT)
    return copy


def copied(folder: Path) -> Path:
    """The example in a folder of its own."""
    junk = shutil.ignore_patterns("__pycache__", "dist", "*.notes*")
    return shutil.copytree(EXAMPLE, folder / "desktop", ignore=junk)


def follow(heading: str, folder: Path) -> None:
    """Do what the page says under a heading, as written, and see what it says one sees."""
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for typed in block.removeprefix("$ ").split("\n$ "):
        command, _, want = typed.partition("\n")
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        as_told = doctest.OutputChecker().check_output(
            want.rstrip() and want.rstrip() + "\n", done.stdout, doctest.ELLIPSIS
        )
        assert as_told, f"{command}\n{done.stdout}"
