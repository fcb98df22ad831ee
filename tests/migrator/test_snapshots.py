"""Snapshots of SQLite files: whole, checked, few; and the way back."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from headway.dialects.sqlite import snapshots
from headway.errors import MigrationFailed, SnapshotFailed, SnapshotNotFound
from headway.project import Project
from headway.types import Position
from tests.migrator.making import make_project, table

NAMES = ["plain.db", "data [old] 100%.db", "a?b#c&d.db", "Z.db", "naïve ü.db", "it's.db"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", a=table("person"), b=table("pet"))


@pytest.fixture
def path(project: Project, tmp_path: Path) -> Path:
    """A database at the first revision, with Ada in it."""
    path = tmp_path / "data.db"
    project.at(path).upgrade("a")
    write(path, "INSERT INTO person VALUES (1, 'Ada')")
    return path


def write(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM person ORDER BY id")]


def beside(path: Path) -> set[str]:
    """What stands beside a database and is no snapshot."""
    files = {file.name for file in path.parent.iterdir() if file.is_file()}
    return files - {path.name} - {file.name for file in snapshots.taken(path)}


@contextmanager
def another_program(path: Path, *statements: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has the file open and has run these, until the block ends."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]: connection.execute(statement).fetchall()\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path), *statements]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "open\n", process.communicate()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- taking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_is_taken_and_restored_under_any_name(
    project: Project, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "a folder [1]" / name
    path.parent.mkdir()
    database = project.at(path, snapshot=True)
    database.upgrade("a")
    write(path, "INSERT INTO person VALUES (1, 'Ada')")
    outcome = database.upgrade()
    assert [str(one) for one in snapshots.taken(path)] == [outcome.snapshot]
    write(path, "DELETE FROM person")
    database.restore(str(outcome.snapshot))
    assert names(path) == ["Ada"]
    assert database.status().current == ("a",)
    assert beside(path) == {f"{name}.replaced"}


def test_what_is_still_in_the_wal_is_in_the_snapshot(project: Project, path: Path) -> None:
    grace = "INSERT INTO person VALUES (2, 'Grace')"
    with another_program(path, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", grace):
        assert Path(f"{path}-wal").stat().st_size
        taken = project.at(path).snapshot()
    assert taken
    assert names(taken) == ["Ada", "Grace"]
    assert not list(path.parent.glob("*.partial*"))


def test_the_newest_few_are_kept(project: Project, path: Path) -> None:
    taken = [project.at(path).snapshot() for _ in range(snapshots.KEPT + 2)]
    assert snapshots.taken(path) == taken[-snapshots.KEPT :]


def crowded(folder: Path) -> None:
    """Files of others, as a folder of databases has them."""
    for number in range(150):
        for ending in ("", ".20260101T000000Z.a.snapshot"):
            (folder / f"data.db{number}{ending}").touch()


def test_in_a_large_folder_the_newest_few_are_kept_too(project: Project, path: Path) -> None:
    crowded(path.parent)
    others = {file.name for file in path.parent.iterdir()} - {path.name}
    copies = [project.at(path).snapshot() for _ in range(5)]
    assert snapshots.taken(path) == copies[-snapshots.KEPT :]
    assert others <= {file.name for file in path.parent.iterdir()}


def test_in_a_large_folder_no_copy_of_another_process_is_overwritten(
    project: Project, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowded(path.parent)
    member = project.at(path)
    first = member.snapshot()  # now this process knows the folder
    program = (
        "import sys; from headway.dialects.sqlite import snapshots; import sqlite3; "
        "from pathlib import Path; path = Path(sys.argv[1]); "
        "print(snapshots.take(sqlite3.connect(path), path, 'a'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True
    )
    theirs = Path(said.stdout.strip())
    write(path, "INSERT INTO person VALUES (2, 'Bob')")
    # In the second of the other process's.
    stamp = theirs.name.removeprefix("data.db.").partition(".")[0][:16]
    monkeypatch.setattr(snapshots.time, "strftime", lambda *_: stamp)
    mine = member.snapshot()
    assert mine is not None
    assert first is not None
    assert mine not in (first, theirs)
    assert names(theirs) == ["Ada"]
    assert names(mine) == ["Ada", "Bob"]


def test_what_a_killed_process_left_in_a_large_folder_is_removed(
    project: Project, path: Path
) -> None:
    crowded(path.parent)
    draft = path.with_name(f"{path.name}.20260101T000000Z.a.snapshot.partial")
    draft.touch()
    project.at(path).snapshot()
    assert not draft.exists()


def test_snapshots_of_a_database_with_a_longer_name_are_left_alone(
    project: Project, path: Path
) -> None:
    other = path.with_name("data.db.old")
    project.at(other).upgrade("a")
    theirs = project.at(other).snapshot()
    for _ in range(snapshots.KEPT + 1):
        project.at(path).snapshot()
    assert snapshots.taken(other) == [theirs]
    assert theirs not in snapshots.taken(path)


def test_nobody_reads_a_snapshot_who_cannot_read_the_database(project: Project, path: Path) -> None:
    path.chmod(0o600)
    taken = project.at(path).snapshot()
    assert taken
    assert taken.stat().st_mode & 0o777 == 0o600
    taken.chmod(0o644)
    project.at(path).restore(taken)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_upgrade_leaves_no_snapshot(tmp_path: Path, path: Path) -> None:
    broken = make_project(tmp_path / "two", a=table("person"), b="raise ValueError('boom')")
    with pytest.raises(MigrationFailed):
        broken.at(path, snapshot=True).upgrade()
    assert snapshots.taken(path) == []
    assert beside(path) == set()


def test_a_damaged_database_is_not_copied_and_not_changed(project: Project, path: Path) -> None:
    write(path, "CREATE TABLE ballast (n)", "CREATE INDEX i ON ballast (n)")
    write(
        path,
        "INSERT INTO ballast WITH RECURSIVE n(i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) SELECT i FROM n",
    )
    damage(path)
    before = path.read_bytes()
    with pytest.raises(SnapshotFailed, match=r"is damaged|malformed"):
        project.at(path, snapshot=True).upgrade()
    assert path.read_bytes() == before
    assert snapshots.taken(path) == []
    assert beside(path) == set()


def damage(path: Path) -> None:
    """Overwrite a page in the middle, as a failing disk does."""
    with path.open("rb+") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


def test_a_revision_with_any_id_can_be_in_the_name(tmp_path: Path) -> None:
    project = make_project(tmp_path / "two", **{"v1.0 [x] 5%": table("person"), "b": table("pet")})
    database = project.at(tmp_path / "two.db", snapshot=True)
    database.upgrade("v1.0 [x] 5%")
    outcome = database.upgrade()
    assert [str(one) for one in snapshots.taken(tmp_path / "two.db")] == [outcome.snapshot]


# --- restoring ------------------------------------------------------------------------------------


def test_no_wal_of_before_is_played_into_the_restored_file(project: Project, path: Path) -> None:
    taken = project.at(path).snapshot()
    grace = "INSERT INTO person VALUES (2, 'Grace')"
    with another_program(path, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", grace):
        pass  # killed: its WAL stays behind
    assert Path(f"{path}-wal").stat().st_size
    assert taken
    project.at(path).restore(taken)
    assert names(path) == ["Ada"]
    assert names(path.with_name("data.db.replaced")) == ["Ada", "Grace"]
    assert beside(path) == {"data.db.replaced"}


@pytest.mark.parametrize(
    "statements",
    [
        ("PRAGMA journal_mode=WAL", "SELECT * FROM person"),
        ("BEGIN IMMEDIATE",),
        ("SELECT * FROM person",),
    ],
    ids=["with a WAL", "writing", "idle"],
)
def test_a_file_that_another_program_has_open_is_not_pulled_away(
    project: Project, path: Path, statements: tuple[str, ...]
) -> None:
    taken = project.at(path).snapshot()
    write(path, "INSERT INTO person VALUES (2, 'Grace')")
    assert taken
    with another_program(path, *statements) as program:
        with pytest.raises(SnapshotFailed, match=r"has it open; close that first.*is as it was"):
            project.at(path).restore(taken)
        assert program.poll() is None
    assert names(path) == ["Ada", "Grace"]
    project.at(path).restore(taken)
    assert names(path) == ["Ada"]


def test_a_damaged_database_is_replaced_and_kept(project: Project, path: Path) -> None:
    taken = project.at(path).snapshot()
    path.write_bytes(b"this is no database" * 1000)
    assert taken
    project.at(path).restore(taken)
    assert names(path) == ["Ada"]
    assert path.with_name("data.db.replaced").read_bytes().startswith(b"this is no database")


def test_a_database_that_is_gone_is_restored(project: Project, path: Path) -> None:
    taken = project.at(path).snapshot()
    path.unlink()
    Path(f"{path}-wal").write_bytes(b"stale")
    assert taken
    project.at(path).restore(taken)
    assert names(path) == ["Ada"]
    assert not Path(f"{path}-wal").exists()


def test_a_damaged_snapshot_is_not_restored(project: Project, path: Path) -> None:
    taken = project.at(path).snapshot()
    assert taken
    taken.write_bytes(b"this is no database" * 1000)
    before = path.read_bytes()
    with pytest.raises(SnapshotFailed, match="is as it was"):
        project.at(path).restore(taken)
    assert path.read_bytes() == before
    assert beside(path) == set()


def test_a_snapshot_that_is_not_there_is_told_with_those_that_are(
    project: Project, path: Path
) -> None:
    taken = project.at(path).snapshot()
    assert taken
    with pytest.raises(SnapshotNotFound, match=taken.name[-30:].replace("+", ".")):
        project.at(path).restore(path.with_name("nothing"))


def test_a_link_to_a_database_stays_a_link(project: Project, path: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current.db"
    link.symlink_to(path)
    taken = project.at(link).snapshot()
    write(path, "DELETE FROM person")
    assert taken
    project.at(link).restore(taken)
    assert link.is_symlink()
    assert names(path) == ["Ada"]


def test_the_program_that_restores_goes_on_with_what_was_restored(
    project: Project, path: Path
) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    taken = project.at(engine).snapshot()
    write(path, "DELETE FROM person")
    assert taken
    project.at(engine).restore(taken)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM person").scalars().all() == ["Ada"]
        with pytest.raises(SnapshotFailed, match="Give its path or its engine"):
            project.at(connection).restore(taken)
    engine.dispose()
    assert project.at(path).status().position is Position.BEHIND
    assert os.access(path, os.W_OK)
