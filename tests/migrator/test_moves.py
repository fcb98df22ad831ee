"""Plan, upgrade, downgrade, stamp, apply: on every kind of database."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project, errors, run_migrations
from headway.types import Position
from tests.migrator.making import run, tables
from tests.migrator.scripts import write_project, write_revision


def test_up_and_down_again(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    assert database.status().position is Position.EMPTY
    up = database.upgrade("r003")
    assert (up.before, up.after, up.applied) == ((), ("r003",), ("r001", "r002", "r003"))
    assert tables(catalog_url) == {"t1", "t2", "t3", "alembic_version"}
    assert database.status().position is Position.BEHIND
    assert database.status().pending == ("r004", "r005")
    assert database.status().direction == "up"
    assert database.status().milliseconds
    assert database.upgrade().after == ("r005",)
    assert database.status().position is Position.AT_HEAD
    assert database.upgrade().applied == ()
    down = database.downgrade("-2")
    assert (down.after, down.applied) == (("r003",), ("r005", "r004"))
    assert database.downgrade("base").after == ()
    assert tables(catalog_url) == {"alembic_version"}


def test_each_step_is_told_before_it_runs(project: Project, catalog_url: URL) -> None:
    told: list[tuple[int, int, str]] = []
    database = project.at(catalog_url)
    database.upgrade("r002", on_step=lambda *step: told.append(step))
    assert told == [(1, 2, "r001"), (2, 2, "r002")]


def test_a_plan_says_the_steps_and_apply_does_them(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    plan = database.plan("r002")
    assert [step.revision for step in plan.steps] == ["r001", "r002"]
    assert plan.steps[0].message == "revision r001"
    assert "CREATE TABLE t2" in database.preview(plan)
    assert tables(catalog_url) == set()
    assert database.apply(plan).after == ("r002",)
    with pytest.raises(errors.DatabaseMoved, match="was at base when this was planned"):
        database.apply(plan)


@pytest.mark.parametrize(
    ("target", "direction"),
    [
        ("base", "downgrade"),
        ("-1", "downgrade"),
        ("r001", "downgrade"),
        ("+1", "upgrade"),
        ("r005", "upgrade"),
    ],
)
def test_the_target_tells_the_direction(
    project: Project, sqlite_url: URL, target: str, direction: str
) -> None:
    database = project.at(sqlite_url)
    database.upgrade("r003")
    assert database.plan(target).direction == direction


def test_a_stamp_runs_nothing(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    assert database.stamp("r004").after == ("r004",)
    assert tables(catalog_url) == {"alembic_version"}
    assert database.stamp("base").after == ()


@pytest.mark.parametrize(
    ("target", "refusal"),
    [
        ("nope", errors.RevisionNotFound),
        ("+9", errors.TargetInvalid),
    ],
)
def test_a_target_that_cannot_be_reached_is_refused(
    project: Project, sqlite_url: URL, target: str, refusal: type[errors.HeadwayError]
) -> None:
    database = project.at(sqlite_url)
    database.upgrade("r003")
    with pytest.raises(refusal):
        database.upgrade(target)
    assert database.status().current == ("r003",)


def test_a_refusal_leaves_no_file(project: Project, tmp_path: Path) -> None:
    with pytest.raises(errors.RevisionNotFound):
        project.at(tmp_path / "new.db").upgrade("nope")
    assert not list(tmp_path.glob("new.db*"))


def test_a_newer_database_is_ahead_and_left_alone(
    project: Project, tmp_path: Path, catalog_url: URL
) -> None:
    newer = Project.load(write_project(tmp_path / "six", 6))
    newer.at(catalog_url).upgrade()
    seen = project.at(catalog_url).status()
    assert (seen.position, seen.newer, seen.direction) == (Position.AHEAD, ("r006",), "down")
    with pytest.raises(errors.DatabaseAhead, match="a newer release was here"):
        project.at(catalog_url).upgrade()
    assert project.at(catalog_url, ahead="ignore").upgrade().after == ("r006",)


def test_another_projects_database_is_foreign(project: Project, catalog_url: URL) -> None:
    run(
        catalog_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('abc')",
        "CREATE TABLE their_invoices (id INTEGER)",
    )
    assert project.at(catalog_url).status().position is Position.FOREIGN
    with pytest.raises(errors.DatabaseForeign):
        project.at(catalog_url).upgrade()


def test_a_database_with_half_of_what_it_should_have_has_diverged(
    scripts: Path, sqlite_url: URL
) -> None:
    write_revision(scripts, "a1", None)
    write_revision(scripts, "a2", "a1")
    write_revision(scripts, "b1", None)
    project = Project.load(scripts)
    project.at(sqlite_url).stamp("a1")
    run(sqlite_url, "INSERT INTO alembic_version VALUES ('unknown')")
    assert project.at(sqlite_url).status().position is Position.DIVERGED
    with pytest.raises(errors.DatabaseAhead):
        project.at(sqlite_url).upgrade()


def test_tables_of_another_program_are_no_reason_to_refuse(
    project: Project, catalog_url: URL
) -> None:
    run(catalog_url, "CREATE TABLE somebody_elses (id INTEGER)")
    assert project.at(catalog_url).status().position is Position.EMPTY
    assert project.at(catalog_url).upgrade().after == ("r005",)


def test_our_tables_without_a_version_are_unstamped(project: Project, catalog_url: URL) -> None:
    run(catalog_url, "CREATE TABLE t1 (id INTEGER)")
    assert project.at(catalog_url).status().position is Position.UNSTAMPED
    with pytest.raises(errors.DatabaseUnstamped, match="adopt"):
        project.at(catalog_url).upgrade()


def test_a_database_that_is_not_there_is_an_answer(
    project: Project, tmp_path: Path, postgresql_url: URL
) -> None:
    missing = tmp_path / "missing.db"
    assert project.at(missing).status().position is Position.EMPTY
    assert not missing.exists()
    seen = project.at(postgresql_url.set(port=1, password="hunter2")).status()
    assert seen.position is Position.UNREACHABLE
    assert seen.reason
    assert "hunter2" not in seen.reason


def test_a_file_that_is_no_database_is_an_answer_and_a_refusal(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear Ada, " * 500)
    seen = project.at(path).status()
    assert seen.position is Position.UNREACHABLE
    assert seen.reason
    with pytest.raises(errors.DatabaseDamaged, match="not a database"):
        project.at(path).upgrade()
    assert path.read_bytes() == b"Dear Ada, " * 500


def test_nothing_of_ours_is_left(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    database.upgrade()
    database.downgrade("-1")
    database.upgrade()
    assert tables(catalog_url) == {"alembic_version", "t1", "t2", "t3", "t4", "t5"}
    if path := database.address.path:
        assert [file.name for file in path.parent.glob(f"{path.name}*")] == [path.name]


def test_a_history_is_kept_where_it_is_asked_for(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url, history=True, release="acme 1.2")
    database.upgrade("r002")
    engine = sa.create_engine(catalog_url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT revision, action, outcome FROM headway_history ORDER BY id"
        ).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [
        ("r001", "upgrade", "succeeded"),
        ("r002", "upgrade", "succeeded"),
    ]
    assert database.status().position is Position.BEHIND


def test_a_snapshot_is_taken_and_restored(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "notes [old] 100%.db"
    project.at(path).upgrade("r003")
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO t1 (name) VALUES ('kept')")
    connection.close()
    outcome = project.at(path, snapshot=True).upgrade()
    assert outcome.snapshot
    assert project.at(Path(outcome.snapshot)).status().current == ("r003",)
    project.at(path).restore(outcome.snapshot)
    assert project.at(path).status().current == ("r003",)


def test_one_line_is_enough(tmp_path: Path, sqlite_url: URL) -> None:
    scripts = write_project(tmp_path / "three", 3)
    text = sqlite_url.render_as_string()
    assert run_migrations(str(scripts), text).after == ("r003",)


def test_operations_by_hand_are_one_transaction(project: Project, sqlite_url: URL) -> None:
    database = project.at(sqlite_url)
    database.upgrade()

    def broken() -> None:
        with database.operations() as op:
            op.add_column("t1", sa.Column("nickname", sa.String(20)))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        broken()
    assert database.check().is_clean
    with database.operations() as op:
        op.add_column("t1", sa.Column("nickname", sa.String(20)))
    assert database.check().differences == ("extra column t1.nickname",)
