"""Revisions that end their transaction without a word: asked of the database, never assumed."""

import builtins
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.connections import address
from headway.errors import DatabaseTorn, HeadwayError, MigrationFailed, RepairRefused
from headway.execution.repair import Verdict
from headway.types import Position
from tests.migrator.making import contents, make_project, rows, run, table, tables

MADE = 'op.execute("CREATE TABLE pet (id INTEGER)")'
BROKEN = 'op.execute("INSERT INTO nowhere VALUES (1)")'
RAW = "raw = op.get_bind().connection"
ENDS = {
    "COMMIT as SQL": f'{MADE}\nop.execute("COMMIT")',
    "COMMIT after a comment": f'{MADE}\nop.execute("/* now */ COMMIT")',
    "COMMIT and another BEGIN": f'{MADE}\nop.execute("COMMIT")\nop.execute("BEGIN")',
    "commit of the bind": f"{MADE}\nop.get_bind().commit()",
    "commit of the driver": f"{MADE}\n{RAW}\nraw.commit()",
    "a cursor of the driver's": f"{MADE}\n{RAW}\nraw.cursor().execute('COMMIT')",
}
ON_SQLITE = {
    "executescript": f"{RAW}\nraw.executescript('CREATE TABLE pet (id INTEGER); SELECT 1')",
    "END": f'{MADE}\nop.execute("END")',
    "ROLLBACK first": f'op.execute("ROLLBACK")\n{MADE}',
}
ON_POSTGRESQL = {
    "END": f'{MADE}\nop.execute("END")',
    "ROLLBACK first": f'op.execute("ROLLBACK")\n{MADE}\nop.execute("COMMIT")',
    "an error that is caught": f"{MADE}\nop.execute('COMMIT')\n{RAW}\n"
    "try: raw.cursor().execute('NONSENSE')\nexcept Exception: raw.rollback()",
}
WAYS = [
    *(("sqlite", up) for up in (ENDS | ON_SQLITE).values()),
    *(("postgresql", up) for up in (ENDS | ON_POSTGRESQL).values()),
]
NAMES = [*(ENDS | ON_SQLITE), *(ENDS | ON_POSTGRESQL)]


@pytest.mark.parametrize(("backend", "up"), WAYS, ids=NAMES, indirect=["backend"])
@pytest.mark.parametrize("broken", [BROKEN, "raise ValueError('boom')"], ids=["SQL", "Python"])
def test_what_was_committed_is_told_as_torn(
    tmp_path: Path, catalog_url: URL, up: str, broken: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=f"{up}\n{broken}", c="pass")
    database = project.at(catalog_url)
    database.upgrade("a")
    with pytest.raises(DatabaseTorn, match=r"Revision b failed.*Part of it stays.*repair"):
        database.upgrade()
    assert "pet" in tables(catalog_url)
    seen = project.at(catalog_url).status()
    assert (seen.position, seen.torn, seen.current) == (Position.TORN, "b", ("a",))
    with pytest.raises(DatabaseTorn, match="revision b began and never ended"):
        database.upgrade()


BEGINS_ITSELF = """
from alembic import context
from sqlalchemy import create_engine
with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    with connection.begin():
        context.configure(connection=connection)
        context.run_migrations()
"""


@pytest.mark.parametrize(
    ("backend", "up"),
    [("sqlite", ON_SQLITE["executescript"]), ("postgresql", ENDS["COMMIT as SQL"])],
    indirect=["backend"],
)
def test_it_is_torn_too_where_env_py_began_the_transaction(
    tmp_path: Path, catalog_url: URL, up: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=f"{up}\n{BROKEN}")
    (tmp_path / "one" / "env.py").write_text(BEGINS_ITSELF)
    database = project.at(catalog_url)
    with pytest.raises(DatabaseTorn, match=r"Revision b failed.*Part of it stays.*repair"):
        database.upgrade()
    assert project.at(catalog_url).status().torn == "b"


def test_what_could_not_be_noted_is_said(
    tmp_path: Path, sqlite_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = sqlite3.connect(str(sqlite_url.database), isolation_level=None)
    monkeypatch.setattr(builtins, "another_program_writes", own.execute, raising=False)
    up = f"{ON_SQLITE['executescript']}\nanother_program_writes('BEGIN IMMEDIATE')\n{BROKEN}"
    project = make_project(tmp_path / "one", a=table("person"), b=up)
    database = project.at(sqlite_url)
    database.upgrade("a")
    monkeypatch.setattr(address, "BESIDE_SECONDS", 0.2)
    with closing(own), pytest.raises(DatabaseTorn, match=r"not be recorded .*is locked.*by hand"):
        database.upgrade()


def test_the_half_is_taken_back_where_the_schema_before_is_known(
    tmp_path: Path, sqlite_url: URL
) -> None:
    broken = f"{ENDS['COMMIT as SQL']}\n{BROKEN}"
    project = make_project(tmp_path / "one", a=table("person"), b=broken)
    project.at(sqlite_url).upgrade("a")
    before = contents(sqlite_url)
    with pytest.raises(DatabaseTorn):
        project.at(sqlite_url).upgrade()
    done = project.at(sqlite_url).repair()
    assert done.statements == ('DROP TABLE "pet"',)
    assert contents(sqlite_url) == before


def test_where_it_is_not_known_a_person_tells(tmp_path: Path, postgresql_url: URL) -> None:
    broken = f"{ENDS['COMMIT as SQL']}\n{BROKEN}"
    project = make_project(tmp_path / "one", a=table("person"), b=broken)
    database = project.at(postgresql_url)
    database.upgrade("a")
    with pytest.raises(DatabaseTorn):
        database.upgrade()
    with pytest.raises(RepairRefused, match=r"is not known.*--as applied.*--as not-applied"):
        database.repair()
    run(postgresql_url, "DROP TABLE pet")
    database.repair(Verdict.NOT_APPLIED)
    assert database.status().position is Position.BEHIND
    assert tables(postgresql_url) == {"alembic_version", "person"}


UPGRADES = """
import sys
from headway import Project
Project.load(sys.argv[1]).at(sys.argv[2]).upgrade()
"""


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("goes_on", ["pass", table("cage")], ids=["at once", "later"])
@pytest.mark.parametrize("ends", ["COMMIT as SQL", "commit of the bind"])
def test_the_half_of_a_process_that_was_killed_is_told_as_torn(
    tmp_path: Path, catalog_url: URL, ends: str, goes_on: str
) -> None:
    killed = f"{ENDS[ends]}\n{goes_on}\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    project = make_project(tmp_path / "one", a=table("person"), b=killed)
    database = project.at(catalog_url)
    database.upgrade("a")
    text = catalog_url.render_as_string(hide_password=False)
    done = subprocess.run([sys.executable, "-c", UPGRADES, str(project.folder), text], check=False)
    assert done.returncode == -signal.SIGKILL
    seen = database.status()
    assert (seen.position, seen.torn, seen.current) == (Position.TORN, "b", ("a",))
    with pytest.raises(DatabaseTorn, match="revision b began and never ended"):
        database.upgrade()
    run(catalog_url, "DROP TABLE pet")
    if "cage" in tables(catalog_url):
        run(catalog_url, "DROP TABLE cage")
    database.repair(Verdict.NOT_APPLIED)
    assert database.status().position is Position.BEHIND
    assert tables(catalog_url) == {"alembic_version", "person"}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("history", [False, True])
def test_a_step_that_commits_and_succeeds_is_applied_with_those_before_it(
    tmp_path: Path, catalog_url: URL, history: bool
) -> None:
    project = make_project(
        tmp_path / "one",
        a=table("person"),
        b=ENDS["COMMIT as SQL"],
        c=f"{table('cage')}\nraise ValueError('boom')",
    )
    database = project.at(catalog_url, history=history)
    with pytest.raises(MigrationFailed, match=r"Nothing of it stays\. Applied before it: a, b\."):
        database.upgrade()
    assert database.status().current == ("b",)
    assert tables(catalog_url) - {"headway_history"} == {"alembic_version", "person", "pet"}
    mended = make_project(
        tmp_path / "one", a=table("person"), b=ENDS["COMMIT as SQL"], c=table("cage")
    )
    assert mended.at(catalog_url).upgrade().after == ("c",)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_failure_says_what_the_commit_of_another_step_has_kept(
    tmp_path: Path, catalog_url: URL
) -> None:
    broken = f"{ENDS['COMMIT as SQL']}\n{BROKEN}"
    project = make_project(tmp_path / "one", a=table("person"), b=broken)
    with pytest.raises(DatabaseTorn, match=r"Applied before it: a\.") as told:
        project.at(catalog_url).upgrade()
    assert told.value.context["applied"] == ("a",)
    assert project.at(catalog_url).status().current == ("a",)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("ends", ["COMMIT as SQL", "commit of the bind"])
def test_what_comes_after_a_commit_is_there_to_stay(
    tmp_path: Path, catalog_url: URL, ends: str
) -> None:
    more = f"{table('bird')}\nop.get_bind().commit()"
    project = make_project(
        tmp_path / "one", a=table("person"), b=ENDS[ends], c=more, d=table("cage")
    )
    database = project.at(catalog_url)
    assert database.upgrade().after == ("d",)
    assert database.status().current == ("d",)
    made = {"alembic_version", "person", "pet", "bird", "cage"}
    assert tables(catalog_url) - {"headway_history"} == made


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_revision_that_ends_the_program_is_a_failure(tmp_path: Path, catalog_url: URL) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=f"{MADE}\nraise SystemExit(3)")
    database = project.at(catalog_url)
    with pytest.raises(MigrationFailed, match=r"Revision b failed: it ended the program \(3\)\."):
        database.upgrade()
    assert database.status().position is Position.EMPTY
    with pytest.raises(HeadwayError):
        database.preview(database.plan())
    assert database.risks(database.plan()) is not None
    assert "ended the program" in str(database.rehearse(database.plan()).failed)


ROLLS_BACK = {
    "ROLLBACK as SQL": 'op.execute("ROLLBACK")',
    "rollback of the bind": "op.get_bind().rollback()",
}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("ends", ROLLS_BACK.values(), ids=ROLLS_BACK)
def test_a_step_that_rolls_itself_back_is_not_applied(
    tmp_path: Path, catalog_url: URL, ends: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=f"{table('pet')}\n{ends}")
    database = project.at(catalog_url)
    database.upgrade("a")
    with pytest.raises(MigrationFailed, match=r"rolled back the transaction.*as it was"):
        database.upgrade()
    assert (database.status().position, database.status().current) == (Position.BEHIND, ("a",))
    assert tables(catalog_url) == {"alembic_version", "person"}


STAYS = {
    "savepoints": 'with op.get_bind().begin_nested():\n    op.execute("INSERT INTO person VALUES '
    "(1, 'a')\")",
    "a savepoint taken back": 'op.execute("SAVEPOINT a")\nop.execute("INSERT INTO person VALUES '
    '(1, \'a\')")\nop.execute("ROLLBACK TO SAVEPOINT a")',
    "a column called commit": "op.execute('ALTER TABLE person ADD COLUMN \"commit\" INTEGER')",
    "a first word like it": "op.execute(\"UPDATE person SET name = 'COMMIT'\")",
}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("up", STAYS.values(), ids=STAYS)
@pytest.mark.parametrize("broken", [BROKEN, "raise ValueError('boom')"], ids=["SQL", "Python"])
def test_what_ends_nothing_is_no_tear(
    tmp_path: Path, catalog_url: URL, up: str, broken: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=f"{up}\n{broken}")
    project.at(catalog_url).upgrade("a")
    before = contents(catalog_url)
    with pytest.raises(MigrationFailed, match="The database is as it was"):
        project.at(catalog_url).upgrade()
    assert contents(catalog_url) == before
    whole = make_project(tmp_path / "one", a=table("person"), b=up)
    assert whole.at(catalog_url).upgrade().after == ("b",)


def test_an_error_that_ends_the_transaction_itself_is_no_tear(
    tmp_path: Path, sqlite_url: URL
) -> None:
    up = f"{MADE}\nop.execute(\"INSERT OR ROLLBACK INTO person VALUES (1, 'again')\")"
    project = make_project(tmp_path / "one", a=table("person"), b=up)
    project.at(sqlite_url).upgrade("a")
    run(sqlite_url, "INSERT INTO person VALUES (1, 'Ada')")
    before = contents(sqlite_url)
    with pytest.raises(MigrationFailed, match="The database is as it was"):
        project.at(sqlite_url).upgrade()
    assert contents(sqlite_url) == before


def test_an_upgrade_that_committed_is_never_replayed(tmp_path: Path, fresh_url: object) -> None:
    project = make_project(
        tmp_path / "one", a=table("person"), b=ENDS["COMMIT as SQL"], c=table("cage")
    )
    for _ in range(3):
        url = fresh_url("sqlite")  # type: ignore[operator]
        project.at(url).upgrade("a")
        assert not project.at(url).upgrade().replayed
    plan = project.at(url).plan("a", "downgrade")
    assert plan.current == ("c",)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_rows_that_a_committed_step_lost_are_not_told_as_unchanged(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    loses = 'op.execute("DELETE FROM person")\nop.execute("COMMIT")'
    project = make_project(tmp_path / "one", a=table("person"), b=loses)
    project.at(catalog_url).upgrade("a")
    run(catalog_url, "INSERT INTO person VALUES (1, 'Ada')")
    if backend == "postgresql":  # which counts no rows: it does what Alembic does
        assert project.at(catalog_url).upgrade().after == ("b",)
        return
    with pytest.raises(DatabaseTorn, match=r"loses rows: 1 of person\. Part of it stays"):
        project.at(catalog_url).upgrade()
    assert rows(catalog_url, "SELECT * FROM person") == []
    assert project.at(catalog_url).status().position is Position.TORN


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_commit_inside_of_a_transaction_of_the_caller(tmp_path: Path, catalog_url: URL) -> None:
    broken = f"{ENDS['COMMIT as SQL']}\n{BROKEN}"
    project = make_project(tmp_path / "one", a=table("person"), b=broken)
    project.at(catalog_url).upgrade("a")
    engine = sa.create_engine(catalog_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.begin()
        with pytest.raises(DatabaseTorn, match="Part of it stays"):
            project.at(connection).upgrade()
    assert "pet" in tables(catalog_url)
    assert project.at(catalog_url).status().position is Position.TORN
