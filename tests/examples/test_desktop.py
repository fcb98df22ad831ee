"""`examples/desktop`, driven as a process, from a folder that has nothing to do with it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from headway import Project
from tests.examples.desktop import EXAMPLE, Run, copied, follow, next_release, old_file, run, said

NAMES = ["[a b] 100% %20 %(here)s {x} #1?&=.notes", "naïve ☃ 日本.notes"]
NOT_ROOT = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
"""Root may write what is read-only: without this capability it may not."""


def notes(
    *arguments: str | Path, cwd: Path, package: Path = EXAMPLE, who: tuple[str, ...] = ()
) -> Run:
    environment = os.environ | {"PYTHONPATH": str(package), "PYTHONUTF8": "1"}
    return run([*who, sys.executable, "-m", "notes", *arguments], cwd, environment)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "Meine Dateien [neu] 100% é"
    folder.mkdir()
    return folder


@pytest.fixture
def person() -> tuple[str, ...]:
    """Put before a command, it runs for somebody whom file modes hold back."""
    if os.name != "posix":
        pytest.skip("File modes are POSIX's.")
    if os.getuid():
        return ()
    if not shutil.which("setpriv") or subprocess.run([*NOT_ROOT, "true"]).returncode:
        pytest.skip("Root is not held back by file modes, and there is no setpriv to change that.")
    return tuple(NOT_ROOT)


def here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_made_filled_read_and_exported(home: Path, name: str) -> None:
    assert said(notes("new", name, cwd=home)) == f"Made {name}.\n"
    said(notes("add", name, "Water the plants", "--tag", "home", "--tag", "garden", cwd=home))
    said(notes("add", name, "It's 100% ☃; DROP TABLE note", "--tag", "home", cwd=home))
    said(notes("add", name, "Sleep", cwd=home))
    listed = "1 Water the plants #garden #home\n2 It's 100% ☃; DROP TABLE note #home\n"
    assert said(notes("list", home / name, cwd=home)) == listed + "3 Sleep\n"
    assert said(notes("export", name, f"copy of {name}", "--tag", "home", cwd=home))
    assert said(notes("list", f"copy of {name}", cwd=home)) == listed
    assert "At head" in said(notes("info", f"copy of {name}", cwd=home))
    assert here(home) == sorted([name, f"copy of {name}"])


def test_an_export_is_tagged_whole_and_never_over_another_file(home: Path) -> None:
    old_file(home / "old.notes")
    said(notes("export", "old.notes", "work.notes", "--tag", "work", cwd=home))
    exported = Project.load(EXAMPLE / "notes" / "migrations").at(home / "work.notes")
    assert exported.status().current == ("n0003",)
    assert exported.check().is_clean
    before = (home / "work.notes").read_bytes()
    told = said(notes("export", "old.notes", "work.notes", "--tag", "home", cwd=home), 1)
    assert told == f"{home / 'work.notes'} already exists. Nothing was changed.\n"
    assert (home / "work.notes").read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_an_older_release_is_copied_and_brought_up_to_date(home: Path, name: str) -> None:
    before = old_file(home / name).read_bytes()
    assert "Behind" in said(notes("info", name, cwd=home))
    assert (home / name).read_bytes() == before
    done = notes("list", name, cwd=home)
    assert said(done) == "1 Water the plants #garden #home\n2 Release 3 ☃ #work\n3 Sleep\n"
    (copy,) = home.glob("*.snapshot")
    assert done.stderr == f"{name} is of this release now. As it was, it is in {copy.name}.\n"
    assert copy.name.startswith(f"{name}.")
    with closing(sqlite3.connect(copy)) as one, closing(sqlite3.connect(":memory:")) as other:
        other.deserialize(before)
        assert list(one.iterdump()) == list(other.iterdump())
    again = notes("list", name, cwd=home)
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_a_revision_that_fails_half_way_leaves_the_file_as_it_was(home: Path) -> None:
    path = old_file(home / "mine.notes")
    with closing(sqlite3.connect(path)) as connection:  # somebody looked into the file
        connection.execute("CREATE VIEW my_tags AS SELECT tags FROM note")
    before = path.read_bytes()
    told = said(notes("add", "mine.notes", "More", cwd=home), 1)
    assert told.startswith("mine.notes is of an older release and could not be brought up to date")
    assert "my_tags" in told
    assert path.read_bytes() == before
    assert here(home) == ["mine.notes"]


def test_a_file_of_a_newer_release_is_refused_and_left_alone(home: Path, tmp_path: Path) -> None:
    said(notes("new", "mine.notes", cwd=home, package=next_release(tmp_path)))
    before = (home / "mine.notes").read_bytes()
    for command in (["list"], ["add", "text"], ["export", "new.notes", "--tag=x"]):
        told = said(notes(command[0], "mine.notes", *command[1:], cwd=home), 1)
        assert told == "mine.notes was saved by a newer release of Notes: open it with that one.\n"
    assert "Ahead" in said(notes("info", "mine.notes", cwd=home))
    assert (home / "mine.notes").read_bytes() == before
    assert here(home) == ["mine.notes"]


def test_the_next_release_opens_what_this_one_made(home: Path, tmp_path: Path) -> None:
    said(notes("new", "mine.notes", cwd=home))
    said(notes("add", "mine.notes", "Hello", cwd=home))
    newer = next_release(tmp_path)
    assert said(notes("list", "mine.notes", cwd=home, package=newer)) == "1 Hello\n"
    assert "n0004" in said(notes("info", "mine.notes", cwd=home, package=newer))


def test_what_is_no_file_of_notes_is_refused_and_left_alone(home: Path) -> None:
    with closing(sqlite3.connect(home / "other.notes")) as connection:
        connection.execute("CREATE TABLE note (id INTEGER, text TEXT)")  # as ours is called
    (home / "letter.notes").write_text("Dear SQLite format 3,\n" * 9)
    (home / "nothing.notes").touch()
    (home / "folder.notes").mkdir()
    before = [path.read_bytes() for path in home.iterdir() if path.is_file()]
    for name in ("other", "letter", "nothing"):
        told = said(notes("list", f"{name}.notes", cwd=home), 1)
        assert told == f"{name}.notes is not a file of Notes.\n"
    for name in ("folder", "absent"):
        told = said(notes("list", f"{name}.notes", cwd=home), 1)
        assert told.startswith(f"{name}.notes cannot be opened: ")
    assert [path.read_bytes() for path in home.iterdir() if path.is_file()] == before
    assert len(here(home)) == 4


@pytest.mark.parametrize("kept", [72, 4096])
def test_a_damaged_file_is_refused_and_left_alone(home: Path, kept: int) -> None:
    path = old_file(home / "mine.notes", "n0002")
    damaged = path.read_bytes()[:kept].ljust(path.stat().st_size, b"x")
    path.write_bytes(damaged)
    assert said(notes("list", "mine.notes", cwd=home), 1).startswith("mine.notes ")
    assert path.read_bytes() == damaged
    assert here(home) == ["mine.notes"]


def test_a_read_only_file_can_be_read_and_says_so_when_it_is_written(
    home: Path, person: tuple[str, ...]
) -> None:
    said(notes("new", "new.notes", cwd=home))
    said(notes("add", "new.notes", "Hello", cwd=home))
    before = old_file(home / "old.notes").read_bytes()
    (home / "new.notes").chmod(0o444)
    (home / "old.notes").chmod(0o444)
    assert said(notes("list", "new.notes", cwd=home, who=person)) == "1 Hello\n"
    told = said(notes("add", "new.notes", "More", cwd=home, who=person), 1)
    assert told == "new.notes could not be used: attempt to write a readonly database.\n"
    told = said(notes("list", "old.notes", cwd=home, who=person), 1)
    assert told.endswith("could not be brought up to date: it cannot be written.\n")
    assert (home / "old.notes").read_bytes() == before
    assert here(home) == ["new.notes", "old.notes"]


def test_a_file_in_a_read_only_folder_can_be_read_and_says_so_when_it_is_old(
    home: Path, person: tuple[str, ...]
) -> None:
    said(notes("new", "new.notes", cwd=home))
    before = old_file(home / "old.notes").read_bytes()
    home.chmod(0o555)
    try:
        assert not said(notes("list", "new.notes", cwd=home, who=person))
        told = said(notes("list", "old.notes", cwd=home, who=person), 1)
        assert told.endswith("could not be brought up to date: it cannot be written.\n")
        told = said(notes("new", "third.notes", cwd=home, who=person), 1)
        assert told.endswith("third.notes cannot be created: Permission denied.\n")
    finally:
        home.chmod(0o755)
    assert (home / "old.notes").read_bytes() == before
    assert here(home) == ["new.notes", "old.notes"]


def test_the_program_stays_the_main_module_while_its_revisions_run(home: Path) -> None:
    old_file(home / "mine.notes")
    (home / "start.py").write_text(
        "import sys; from pathlib import Path; from notes.files import database\n"
        "def step(*_): print(sys.modules['__main__'].step is step)\n"
        "database(Path('mine.notes')).upgrade(on_step=step)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE)}
    assert said(run([sys.executable, "start.py"], home, environment)) == "True\nTrue\n"


def test_the_models_are_what_the_revisions_make(home: Path) -> None:
    database = Project.load(EXAMPLE / "notes" / "migrations").at(home / "mine.notes")
    database.create()
    assert database.check().models == ()


def test_the_page_is_true(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for heading in ("Run it", "A file of an older release", "The next revision"):
        follow(heading, folder)
