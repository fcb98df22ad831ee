"""Drift without models, drift from models, and finding the revision of what has no version."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project, errors, sync
from headway.dialects import dialect_of
from headway.types import Position
from tests.migrator.making import MODELS, make_project, run
from tests.migrator.scripts import write_env, write_project, write_revision


def test_what_was_changed_by_hand_is_named(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    database.upgrade("r004")
    assert database.check().is_clean
    run(catalog_url, "ALTER TABLE t3 ADD COLUMN rogue INTEGER", "CREATE TABLE stray (id INTEGER)")
    assert database.check().differences == ("extra column t3.rogue", "extra table stray")


def test_what_a_revision_reads_of_the_environment_is_no_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = "server_default=os.environ['TENANT']"
    up = f"import os\nop.create_table('t', sa.Column('name', sa.String(9), {tenant}))"
    project = make_project(tmp_path / "one", a=up)
    for name in ("ann", "bob"):
        monkeypatch.setenv("TENANT", name)
        database = project.at(tmp_path / f"{name}.db")
        database.upgrade()
        assert database.check().is_clean


def test_behind_is_no_drift(project: Project, catalog_url: URL) -> None:
    project.at(catalog_url).upgrade("r002")
    assert project.at(catalog_url).check().is_clean


def test_the_models_are_compared_too(tmp_path: Path, sqlite_url: URL) -> None:
    text = MODELS.format(more='sa.Column("nickname", sa.String(20))')
    folder = write_env(tmp_path / "p", text)
    write_revision(
        folder, "one", None, ['op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))']
    )
    project = Project.load(folder)
    project.at(sqlite_url).upgrade()
    drift = project.at(sqlite_url).check()
    assert drift.differences == ()
    assert drift.models == ("missing column t.nickname",)


def test_a_database_without_a_version_is_adopted(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    database.upgrade("r003")
    run(catalog_url, "DROP TABLE alembic_version")
    assert database.status().position is Position.UNSTAMPED
    assert database.adopt().revision == "r003"
    assert database.status().current == ("r003",)
    assert database.upgrade().after == ("r005",)


def test_one_that_is_almost_a_revision_is_named_and_left_alone(
    project: Project, catalog_url: URL
) -> None:
    database = project.at(catalog_url)
    database.upgrade("r003")
    run(catalog_url, "DROP TABLE alembic_version", "ALTER TABLE t1 ADD COLUMN rogue INTEGER")
    with pytest.raises(errors.DatabaseUnstamped) as refused:
        database.adopt()
    assert "closest to revision r003, except: extra column t1.rogue" in str(refused.value)
    assert refused.value.context["revision"] == "r003"
    assert database.status().position is Position.UNSTAMPED
    assert database.stamp("r003").after == ("r003",)


def test_the_comparison_leaves_no_scratch_behind(
    tmp_path: Path, postgresql_url: URL, mariadb_url: URL
) -> None:
    project = Project.load(write_project(tmp_path / "p", 3))
    for url in (postgresql_url, mariadb_url):
        project.at(url).upgrade()
        before = scratches(url)
        project.at(url).check()
        deadline = time.monotonic() + 20
        while scratches(url) - before:  # others may compare at this moment, for a moment
            assert time.monotonic() < deadline, scratches(url) - before
            time.sleep(0.2)


def test_what_a_killed_comparison_left_is_dropped_by_the_next(mariadb_url: URL) -> None:
    left, used = "headway_scratch_999999998", "headway_scratch_999999999"
    engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
    with engine.connect() as other, engine.connect() as connection:
        for name in (left, used):
            other.exec_driver_sql(f"CREATE DATABASE {name}")
        other.exec_driver_sql(f"DO GET_LOCK('{used}', 0)")
        try:
            with dialect_of(connection).scratch(connection):
                assert left not in scratches(mariadb_url)
                assert used in scratches(mariadb_url)
        finally:
            for name in (left, used):
                other.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


def scratches(url: URL) -> set[str]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = {name for name in sa.inspect(connection).get_schema_names() if "scratch" in name}
    engine.dispose()
    return found


def test_a_version_table_of_another_name_is_no_table_to_drop(
    tmp_path: Path, sqlite_url: URL
) -> None:
    text = MODELS.format(more="").replace("target_metadata", "version_table='v', target_metadata")
    folder = write_env(tmp_path / "p", text)
    write_revision(
        folder, "one", None, ['op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))']
    )
    database = Project.load(folder).at(sqlite_url)
    database.upgrade()
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True))
    assert database.sync(metadata, drop=True).changes == ()
    assert database.status().current == ("one",)


def test_a_plugin_that_some_project_of_the_process_imported_drops_nothing(
    postgresql_url: URL,
) -> None:
    import alembic_utils.replaceable_entity  # noqa: F401  # registers a comparator

    engine = sa.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id integer PRIMARY KEY)")
        connection.exec_driver_sql("CREATE VIEW v AS SELECT id FROM t")
    metadata = sa.MetaData()
    sa.Table("t", metadata, sa.Column("id", sa.Integer, primary_key=True))
    assert sync(postgresql_url, metadata, drop=True).changes == ()
    with engine.connect() as connection:
        assert sa.inspect(connection).get_view_names() == ["v"]
    engine.dispose()
