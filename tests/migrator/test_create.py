"""New databases at a revision, from a template that the migrations built once."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app import errors
from app.migrator import Project
from app.migrator.dialects import dialect_of
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
    with pytest.raises(errors.DatabaseExists, match="there already"):
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


def test_an_old_template_on_a_server_goes(
    tmp_path: Path, postgresql_url: URL, postgresql_server: URL
) -> None:
    dialect = dialect_of(postgresql_url)
    folder = write_project(tmp_path / "p", 2)
    head = folder / "versions" / "r002.py"
    head.write_text(head.read_text().replace("r002", f"r{os.getpid()}"))
    base = folder / "versions" / "r001.py"
    for path in (base, head):
        path.write_text(path.read_text().replace("r001", f"b{os.getpid()}"))
    dialect.drop(postgresql_url)
    Project.load(folder).at(postgresql_url).create()
    before = set(dialect.named(postgresql_server, "headway_template_"))
    dialect.drop(postgresql_url)
    head.write_text(head.read_text() + "\n# edited\n")
    Project.load(folder).at(postgresql_url).create()
    after = set(dialect.named(postgresql_server, "headway_template_"))
    assert len(before - after) == len(after - before) == 1
    for name in after - before:
        dialect.drop(postgresql_server.set(database=name))


def test_a_template_that_somebody_dropped_is_built_again(
    project: Project, postgresql_url: URL
) -> None:
    dialect = dialect_of(postgresql_url)
    for _ in range(2):
        dialect.drop(postgresql_url)
        assert project.at(postgresql_url).create() == ("r005",)
        for name in dialect.named(postgresql_url, "headway_template_"):
            dialect.drop(postgresql_url.set(database=name))


def test_one_that_cannot_be_made_leaves_nothing(scripts: Path, new_url: URL) -> None:
    write_revision(
        scripts, "bad", None, ["op.create_table('t', sa.Column('id', sa.Integer))", "1 / 0"]
    )
    with pytest.raises(errors.HeadwayError):
        Project.load(scripts).at(new_url).create()
    assert not dialect_of(new_url).exists(new_url)
