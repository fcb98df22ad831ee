"""New databases at a revision, from a template that the migrations built once."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Position, Project, errors
from headway.dialects import dialect_of
from tests.migrator.scripts import write_project, write_revision


def test_a_new_database_is_at_head_and_like_an_upgraded_one(
    project: Project, new_url: URL, fresh_url: object, backend: str
) -> None:
    assert project.at(new_url).create() == ("r005",)
    assert project.at(new_url).check().is_clean
    upgraded = fresh_url(backend)  # type: ignore[operator]
    project.at(upgraded).upgrade()
    assert schema(new_url) == schema(upgraded)


def schema(url: URL) -> object:
    engine = sa.create_engine(url)
    found = sa.MetaData()
    found.reflect(engine)
    engine.dispose()
    return {name: str(sa.schema.CreateTable(table)) for name, table in found.tables.items()}


def test_at_any_revision(project: Project, new_url: URL) -> None:
    assert project.at(new_url).create("r002") == ("r002",)
    assert project.at(new_url).upgrade().after == ("r005",)


def test_one_that_is_there_is_left_alone(project: Project, catalog_url: URL) -> None:
    project.at(catalog_url).upgrade("r001")
    with pytest.raises(errors.DatabaseExists, match="already exists"):
        project.at(catalog_url).create()
    assert project.at(catalog_url).status().current == ("r001",)


def test_a_name_from_tempfile_is_a_place_to_create(project: Project, tmp_path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=tmp_path, suffix=".db")
    os.close(handle)
    project.at(Path(name)).create()
    assert project.at(Path(name)).status().current == ("r005",)


def test_a_stale_wal_is_not_played_into_a_new_file(project: Project, tmp_path: Path) -> None:
    old, place = tmp_path / "old.db", tmp_path / "new.db"
    connection = sqlite3.connect(old)
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute("CREATE TABLE secret (x)")
    connection.commit()
    shutil.copy(f"{old}-wal", f"{place}-wal")
    connection.close()
    with pytest.raises(errors.DatabaseExists, match="belongs to a database that is gone"):
        project.at(place).create()
    assert not place.exists()


def test_an_edited_script_makes_another_template(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "p", 2)
    Project.load(folder).at(tmp_path / "one.db").create()
    write_revision(folder, "r003", "r002", ["op.create_table('late', sa.Column('id', sa.Integer))"])
    assert Project.load(folder).at(tmp_path / "two.db").create() == ("r003",)


@pytest.fixture
def unique(tmp_path: Path) -> Path:
    """Two revisions that no other process has: nobody else makes or drops their templates."""
    folder, number = write_project(tmp_path / "p", 2), uuid4().hex[:12]
    for path in (folder / "versions").glob("*.py"):
        path.write_text(path.read_text().replace("r00", f"{number}_r00"))
    return folder


def template_of(project: Project, server: URL) -> URL:
    """The one template that a project has made, or found."""
    (name,) = (key[1] for key in project.memory if key[0] == "template")
    return server.set(database=name)


def test_an_old_template_on_a_server_goes(unique: Path, postgresql_url: URL) -> None:
    dialect, templates = dialect_of(postgresql_url), []
    head = unique / "versions" / "r002.py"
    for text in ("", "\n# edited\n"):
        head.write_text(head.read_text() + text)
        dialect.drop(postgresql_url)
        project = Project.load(unique)
        project.at(postgresql_url).create()
        templates.append(template_of(project, postgresql_url))
        assert dialect.exists(templates[-1])
    old, new = templates
    assert new != old
    assert not dialect.exists(old)
    dialect.drop(new)


def test_a_template_that_somebody_dropped_is_built_again(unique: Path, postgresql_url: URL) -> None:
    dialect, project = dialect_of(postgresql_url), Project.load(unique)
    for _ in range(2):
        dialect.drop(postgresql_url)
        (head,) = project.at(postgresql_url).create()
        assert head.endswith("r002")
        template = template_of(project, postgresql_url)
        assert dialect.exists(template)
        dialect.drop(template)


def test_a_draft_that_somebody_dropped_costs_the_template_and_not_the_database(
    unique: Path, postgresql_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect, project = dialect_of(postgresql_url), Project.load(unique)
    kind = type(dialect)
    rename = kind.rename

    def too_late(self: Any, url: URL, name: str) -> None:
        self.drop(url)
        rename(self, url, name)

    monkeypatch.setattr(kind, "rename", too_late)
    dialect.drop(postgresql_url)
    project.at(postgresql_url).create()
    assert project.at(postgresql_url).status().position is Position.AT_HEAD
    monkeypatch.undo()
    dialect.drop(postgresql_url)
    project.at(postgresql_url).create()
    dialect.drop(template_of(project, postgresql_url))


def test_one_that_cannot_be_made_leaves_nothing(scripts: Path, new_url: URL) -> None:
    write_revision(
        scripts, "bad", None, ["op.create_table('t', sa.Column('id', sa.Integer))", "1 / 0"]
    )
    with pytest.raises(errors.HeadwayError):
        Project.load(scripts).at(new_url).create()
    assert not dialect_of(new_url).exists(new_url)


MAKES = """
import os, signal, sys
from pathlib import Path
from headway import Project
Project.load(sys.argv[1]).at(Path(sys.argv[2])).create()
print("made", flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    scripts, temporary = write_project(tmp_path / "scripts", 2), tmp_path / "temporary"
    temporary.mkdir()

    def process(name: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, "-c", MAKES, str(scripts), str(tmp_path / f"{name}.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        assert made.stdout is not None
        assert made.stdout.readline() == "made\n"
        return made

    def folders() -> set[str]:
        return {path.name for path in temporary.glob("headway-templates-*")}

    alive, killed = process("alive"), process("killed")
    both = folders()
    assert len(both) == 2
    killed.communicate()
    assert folders() == both, "nobody could remove it"
    process("next").communicate()
    left = folders() & both
    assert len(left) == 1, "that of the living stays, that of the killed is gone"
    assert list((temporary / left.pop()).glob("*.sqlite"))
    alive.communicate()
