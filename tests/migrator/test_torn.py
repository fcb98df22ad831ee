"""Revisions that break half-way: taken back by the database, or seen, refused and mended."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import URL

from headway.database import Database
from headway.errors import DatabaseInUse, DatabaseTorn, MigrationFailed, RepairRefused
from headway.execution.repair import Verdict
from headway.project import Project
from headway.types import Position
from tests.migrator.making import contents, make_project, rows, run, table, tables

COLUMN = "op.add_column('person', sa.Column('age', sa.Integer))"
HALF = f"""{table("pet")}
{COLUMN}"""
BROKEN = f"{HALF}\nraise ValueError('boom')"
ADA = "INSERT INTO person VALUES (1, 'Ada')"


def torn_at(url: URL, folder: Path, broken: str, whole: str, before: str = "") -> Database:
    """A database with a row in it, where the second revision broke; its script is mended by now."""
    first = table("person") + (f"\n{before}" if before else "")
    project = make_project(folder, a=first, b=broken)
    project.at(url).upgrade("a")
    run(url, ADA)
    with pytest.raises(DatabaseTorn, match="Revision b failed"):
        project.at(url).upgrade()
    return make_project(folder, a=first, b=whole).at(url)


# --- all or nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_two_tables_and_an_error_leave_the_database_byte_for_byte(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=BROKEN)
    project.at(catalog_url).upgrade("a")
    run(catalog_url, ADA)
    before, schema = contents(catalog_url), stored(catalog_url, backend)
    with pytest.raises(MigrationFailed, match=r"Revision b failed: boom\. The database is as it"):
        project.at(catalog_url).upgrade()
    assert contents(catalog_url) == before
    assert stored(catalog_url, backend) == schema
    assert project.at(catalog_url).status().current == ("a",)
    assert project.at(catalog_url).repair().is_empty
    mended = make_project(tmp_path / "one", a=table("person"), b=HALF)
    assert mended.at(catalog_url).upgrade().after == ("b",)
    assert rows(catalog_url, "SELECT id, name, age FROM person") == [(1, "Ada", None)]


def stored(url: URL, backend: str) -> list[object]:
    """The schema with everything that the database keeps of it."""
    if backend == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection:
            return [
                *connection.execute("SELECT * FROM sqlite_master"),
                *connection.execute("PRAGMA user_version"),
            ]
    return list(
        rows(
            url,
            "SELECT c.oid, c.relname, a.attname, a.attnum, a.atttypid FROM pg_class c "
            "JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE relnamespace = 'public'::regnamespace ORDER BY 1, 4",
        )
    )


# --- MariaDB --------------------------------------------------------------------------------------


def test_half_a_revision_on_mariadb_is_seen_refused_and_taken_back(
    tmp_path: Path, mariadb_url: URL
) -> None:
    database = torn_at(mariadb_url, tmp_path / "one", BROKEN, HALF)
    found = database.status()
    assert (found.position, found.torn, found.current) == (Position.TORN, "b", ("a",))
    with pytest.raises(DatabaseTorn, match=r"revision b began and never ended.*repair"):
        database.upgrade()
    plan = database.plan_repair()
    assert "ALTER TABLE `person` DROP COLUMN `age`" in plan.statements
    assert "DROP TABLE `pet`" in plan.statements
    assert "undo the applied part of b:" in plan.lines()
    assert database.status().position is Position.TORN, "a plan changes nothing"
    assert database.repair(plan) == plan
    assert tables(mariadb_url) == {"alembic_version", "person"}
    assert rows(mariadb_url, "SELECT * FROM person") == [(1, "Ada")]
    assert database.upgrade().after == ("b",)
    assert tables(mariadb_url) == {"alembic_version", "person", "pet"}


def test_a_plan_tells_the_rows_that_would_go(tmp_path: Path, mariadb_url: URL) -> None:
    moving = f"{HALF}\nop.execute('INSERT INTO pet SELECT id, name FROM person')"
    moving += "\nop.create_index('by_pet', 'pet', ['name'])\nraise ValueError('boom')"
    database = torn_at(mariadb_url, tmp_path / "one", moving, HALF)
    plan = database.plan_repair()
    assert plan.rows == ("`pet` holds 1 rows",)
    assert "  `pet` holds 1 rows, which go with it: see that they are copies" in plan.lines()
    database.repair(plan)
    assert tables(mariadb_url) == {"alembic_version", "person"}


def test_tables_that_stand_on_each_other_are_taken_back(tmp_path: Path, mariadb_url: URL) -> None:
    both = (
        "op.create_table('zoo', sa.Column('id', sa.Integer, primary_key=True))\n"
        "op.create_table('cage', sa.Column('id', sa.Integer, sa.ForeignKey('zoo.id')))\n"
        "op.add_column('person', sa.Column('zoo', sa.Integer))\n"
        "op.create_foreign_key('works_at', 'person', 'zoo', ['zoo'], ['id'])"
    )
    database = torn_at(mariadb_url, tmp_path / "one", f"{both}\nraise ValueError('boom')", both)
    before = {"alembic_version", "person"}
    database.repair()
    assert tables(mariadb_url) == before
    assert database.upgrade().after == ("b",)


def test_a_definition_with_a_percent_sign_is_put_back(tmp_path: Path, mariadb_url: URL) -> None:
    before = "op.add_column('person', sa.Column('rate', sa.String(9), server_default='5%s'))"
    change = "op.alter_column('person', 'rate', existing_type=sa.String(9), server_default='9%')"
    broken = f"{change}\nraise ValueError('boom')"
    folder = tmp_path / "one"
    project = make_project(folder, a=f"{table('person')}\n{before}", b=broken)
    project.at(mariadb_url).upgrade("a")
    with pytest.raises(DatabaseTorn):
        project.at(mariadb_url).upgrade()
    project.at(mariadb_url).repair()
    run(mariadb_url, "INSERT INTO person (id) VALUES (1)")
    assert rows(mariadb_url, "SELECT rate FROM person") == [("5%s",)]


def test_what_a_revision_dropped_is_not_made_up(tmp_path: Path, mariadb_url: URL) -> None:
    drop = "op.drop_column('person', 'name')"
    database = torn_at(mariadb_url, tmp_path / "one", f"{drop}\nraise ValueError('boom')", drop)
    with pytest.raises(RepairRefused, match=r"dropped or renamed `name` of person.*--as applied"):
        database.plan_repair()
    with pytest.raises(RepairRefused):
        database.repair()
    done = database.repair(Verdict.APPLIED)
    assert done.verdict is Verdict.APPLIED
    found = database.status()
    assert (found.position, found.current) == (Position.AT_HEAD, ("b",))
    assert tables(mariadb_url) == {"alembic_version", "person"}


def test_a_person_may_have_taken_it_back_by_hand(tmp_path: Path, mariadb_url: URL) -> None:
    database = torn_at(mariadb_url, tmp_path / "one", BROKEN, HALF)
    run(mariadb_url, "DROP TABLE pet", "ALTER TABLE person DROP COLUMN age")
    database.repair(Verdict.NOT_APPLIED)
    assert database.status().position is Position.BEHIND
    assert database.upgrade().after == ("b",)


def test_half_a_downgrade_is_taken_back_too(tmp_path: Path, mariadb_url: URL) -> None:
    down = "op.drop_index('by_name', 'person')\nraise ValueError('boom')"
    up = "op.create_index('by_name', 'person', ['name'])"
    project = make_project(tmp_path / "one", a=table("person"), b=(up, down))
    database = project.at(mariadb_url)
    database.upgrade()
    with pytest.raises(DatabaseTorn):
        database.downgrade("a")
    assert database.status().torn == "b"
    database.repair()
    assert database.status().current == ("b",)
    assert "by_name" in str(contents(mariadb_url))
    with pytest.raises(DatabaseTorn):
        database.downgrade("a")
    database.repair(Verdict.APPLIED)
    assert database.status().current == ("a",), "it is the downgrade that is done"


def test_a_first_statement_that_is_refused_leaves_nothing_torn(
    tmp_path: Path, mariadb_url: URL
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b="op.execute('NONSENSE')")
    with pytest.raises(MigrationFailed, match="Nothing of it stays"):
        project.at(mariadb_url).upgrade()
    assert tables(mariadb_url) == {"alembic_version", "person"}


def test_a_brake_pulled_half_way_is_told_as_torn(tmp_path: Path, mariadb_url: URL) -> None:
    slow = f"{COLUMN}\nop.execute('SELECT SLEEP(20)')"
    project = make_project(tmp_path / "one", a=table("person"), b=slow)
    with pytest.raises(DatabaseTorn, match="Part of it stays"):
        project.at(mariadb_url, statement_timeout=0.5).upgrade()
    project.at(mariadb_url).repair()
    assert project.at(mariadb_url).status().position is Position.BEHIND


# --- PostgreSQL: steps that leave their transaction -----------------------------------------------

CONCURRENTLY = """with op.get_context().autocommit_block():
    op.create_index("by_name", "person", ["name"], unique=True, postgresql_concurrently=True)"""


def test_an_index_that_could_not_be_made_is_seen_refused_and_dropped(
    tmp_path: Path, postgresql_url: URL
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=CONCURRENTLY, c=table("pet"))
    database = project.at(postgresql_url)
    database.upgrade("a")
    run(postgresql_url, ADA, "INSERT INTO person VALUES (2, 'Ada')")
    with pytest.raises(DatabaseTorn, match=r"could not create unique index.*left its transaction"):
        database.upgrade()
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    assert rows(postgresql_url, invalid) == [("by_name",)]
    found = database.status()
    assert (found.position, found.torn) == (Position.TORN, "b")
    with pytest.raises(DatabaseTorn, match="revision b began and never ended"):
        database.upgrade()
    assert database.plan_repair().statements == ("DROP INDEX public.by_name",)
    database.repair()
    assert tables(postgresql_url) == {"alembic_version", "person"}
    run(postgresql_url, "UPDATE person SET name = 'Grace' WHERE id = 2")
    assert database.upgrade().after == ("c",)
    assert rows(postgresql_url, invalid) == []
    assert tables(postgresql_url) == {"alembic_version", "person", "pet"}


BLOCK = """with op.get_context().autocommit_block():
    op.execute("COMMENT ON TABLE person IS 'people'")"""
MUCH = f"""op.execute("CREATE SCHEMA extra")
op.execute("CREATE TYPE mood AS ENUM ('ok')")
op.execute("CREATE SEQUENCE numbers")
op.create_table("zoo", sa.Column("id", sa.Integer, primary_key=True), schema="extra")
op.create_table("cage", sa.Column("id", sa.Integer, sa.ForeignKey("extra.zoo.id")))
op.add_column("person", sa.Column("mood", sa.Enum(name="mood", create_type=False)))
op.add_column("person", sa.Column("zoo", sa.Integer))
op.create_foreign_key("works_at", "person", "zoo", ["zoo"], ["id"], referent_schema="extra")
op.create_check_constraint("named", "person", "name LIKE '%a%'")
op.alter_column("person", "name", nullable=False, server_default="100%")
op.drop_index("by_id", "person")
op.execute("CREATE VIEW seen AS SELECT id FROM person")
op.execute("CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
op.execute("CREATE OR REPLACE FUNCTION two() RETURNS integer LANGUAGE sql AS 'SELECT 3'")
op.execute("CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
op.execute("CREATE TRIGGER tell BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION told()")
{BLOCK}"""


def test_all_that_a_committed_half_added_is_taken_back(tmp_path: Path, postgresql_url: URL) -> None:
    before = (
        "op.create_index('by_id', 'person', ['id', 'name'], unique=True)\n"
        "op.execute(\"CREATE FUNCTION two() RETURNS integer LANGUAGE sql AS 'SELECT 2'\")"
    )
    broken = f"{MUCH}\nop.execute('SELECT 1 / 0')"
    folder = tmp_path / "one"
    project = make_project(folder, a=f"{table('person')}\n{before}", b=broken)
    database = project.at(postgresql_url)
    database.upgrade("a")
    run(postgresql_url, "INSERT INTO person VALUES (1, 'Ada')")
    as_it_was = contents(postgresql_url)
    with pytest.raises(DatabaseTorn, match="division by zero"):
        database.upgrade()
    database.repair()
    assert contents(postgresql_url) == as_it_was
    assert rows(postgresql_url, "SELECT two()") == [(2,)]
    mended = make_project(folder, a=f"{table('person')}\n{before}", b=MUCH)
    assert mended.at(postgresql_url).upgrade().after == ("b",)
    assert rows(postgresql_url, "SELECT two()") == [(3,)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("op.drop_column('person', 'name')", r"dropped or renamed the column public\.person\.name"),
        ("op.drop_table('pet')", r"dropped or renamed .*the table public\.pet"),
        (
            "op.alter_column('person', 'name', type_=sa.String(3))",
            r"changed the type of public\.person\.name from character varying\(50\)",
        ),
    ],
)
def test_what_a_committed_half_lost_is_not_made_up(
    tmp_path: Path, postgresql_url: URL, change: str, words: str
) -> None:
    broken = f"{change}\n{BLOCK}\nraise ValueError('boom')"
    database = torn_at(postgresql_url, tmp_path / "one", broken, change, table("pet"))
    with pytest.raises(RepairRefused, match=words) as refused:
        database.plan_repair()
    assert "`--as applied`" in str(refused.value)
    database.repair(Verdict.APPLIED)
    assert database.status().current == ("b",)


def test_a_label_that_was_added_to_a_type_is_told(tmp_path: Path, postgresql_url: URL) -> None:
    first = "op.execute(\"CREATE TYPE mood AS ENUM ('ok')\")"
    add = """with op.get_context().autocommit_block():
    op.execute("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'soso'")"""
    broken = f"{add}\nraise ValueError('boom')"
    database = torn_at(postgresql_url, tmp_path / "one", broken, add, first)
    with pytest.raises(RepairRefused, match=r"type public\.mood \(it has ok, soso now, and had ok"):
        database.repair()
    database.repair(Verdict.NOT_APPLIED)
    assert database.upgrade().after == ("b",)


def test_a_failure_before_the_block_is_no_tear(tmp_path: Path, postgresql_url: URL) -> None:
    project = make_project(
        tmp_path / "one", a=table("person"), b=f"{COLUMN}\nraise ValueError('boom')\n{BLOCK}"
    )
    with pytest.raises(MigrationFailed, match=r"Nothing of it stays\. Applied before it: a\."):
        project.at(postgresql_url).upgrade()
    assert project.at(postgresql_url).status().position is Position.BEHIND
    assert tables(postgresql_url) == {"alembic_version", "person"}


def test_a_block_whose_first_statement_is_refused_is_no_tear(
    tmp_path: Path, postgresql_url: URL
) -> None:
    block = BLOCK.replace("person IS", "nobody IS")
    project = make_project(tmp_path / "one", a=table("person"), b=block)
    with pytest.raises(MigrationFailed, match="Nothing of it stays"):
        project.at(postgresql_url).upgrade()
    assert tables(postgresql_url) == {"alembic_version", "person"}


def test_an_index_that_others_hold_up_is_in_use_or_torn_and_mended(
    tmp_path: Path, postgresql_url: URL
) -> None:
    """CONCURRENTLY gives up half-way when its brake is pulled, and leaves a broken index."""
    project = make_project(tmp_path / "one", a=table("person"), b=CONCURRENTLY)
    database = project.at(postgresql_url, lock_timeout=1)
    database.upgrade("a")
    engine = create_engine(postgresql_url, poolclass=NullPool)
    with engine.connect() as application:
        application.exec_driver_sql("INSERT INTO person VALUES (1, 'Ada')")
        with pytest.raises((DatabaseTorn, DatabaseInUse)):
            database.upgrade()
        application.commit()
    database.repair()
    assert database.upgrade().after == ("b",)
    assert rows(postgresql_url, "SELECT id FROM person") == [(1,)]


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_what_others_made_meanwhile_is_left_alone(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    other = "op.create_table('shop', sa.Column('id', sa.Integer))"
    half = f"{HALF}\n{BLOCK}" if backend == "postgresql" else HALF
    database = torn_at(
        catalog_url, tmp_path / "one", f"{half}\nraise ValueError('boom')", half, other
    )
    run(
        catalog_url,
        "CREATE TABLE theirs (id INTEGER PRIMARY KEY)",
        "INSERT INTO theirs VALUES (1)",
        "ALTER TABLE shop ADD COLUMN name VARCHAR(10)",
    )
    database.repair()
    assert tables(catalog_url) == {"alembic_version", "person", "shop", "theirs"}
    assert rows(catalog_url, "SELECT name FROM shop") == []
    assert database.upgrade().after == ("b",)


def test_what_the_script_does_not_name_is_listed_and_stays(
    tmp_path: Path, mariadb_url: URL
) -> None:
    half = """op.execute("CREATE VIEW %s_of_all AS SELECT id FROM person" % "list")"""
    database = torn_at(
        mariadb_url, tmp_path / "one", f"{half}\nraise ValueError('boom')", table("pet")
    )
    plan = database.plan_repair()
    assert plan.statements == ()
    assert plan.lines()[1] == "  nothing that its script names"
    assert "not named in the script, so it stays: the view list_of_all" in plan.lines()[2]
    database.repair(plan)
    assert rows(mariadb_url, "SELECT id FROM list_of_all") == [(1,)]
    assert database.upgrade().after == ("b",)


# --- SQLite: steps that leave their transaction ---------------------------------------------------

VACUUM = """with op.get_context().autocommit_block():
    op.execute("VACUUM")"""


def test_half_a_revision_that_left_its_transaction_is_taken_back_on_sqlite(
    tmp_path: Path, sqlite_url: URL
) -> None:
    half = f"{table('pet')}\nop.create_index('by_pet', 'pet', ['name'])\n{VACUUM}"
    half += "\nop.drop_index('by_name', 'person')"
    index = "op.create_index('by_name', 'person', ['name'])"
    folder = tmp_path / "one"
    broken = f"{half}\n{VACUUM}\nraise ValueError('boom')"
    project = make_project(folder, a=f"{table('person')}\n{index}", b=broken)
    project.at(sqlite_url).upgrade("a")
    run(sqlite_url, ADA)
    before = contents(sqlite_url)
    with pytest.raises(DatabaseTorn, match="it left its transaction"):
        project.at(sqlite_url).upgrade()
    assert project.at(sqlite_url).status().torn == "b"
    project.at(sqlite_url).repair()
    assert contents(sqlite_url) == before
    mended = make_project(folder, a=f"{table('person')}\n{index}", b=half)
    assert mended.at(sqlite_url).upgrade().after == ("b",)


def test_a_changed_table_is_not_taken_back_on_sqlite(tmp_path: Path, sqlite_url: URL) -> None:
    broken = f"{COLUMN}\n{VACUUM}\nraise ValueError('boom')"
    database = torn_at(sqlite_url, tmp_path / "one", broken, COLUMN)
    with pytest.raises(RepairRefused, match="dropped or changed the table person"):
        database.repair()
    database.repair(Verdict.APPLIED)
    assert database.status().position is Position.AT_HEAD


# --- SQLite: copies that another tool left --------------------------------------------------------


@pytest.fixture
def batched(tmp_path: Path, sqlite_url: URL) -> Database:
    project = make_project(tmp_path / "one", a=table("person"), b=COLUMN)
    project.at(sqlite_url).upgrade("a")
    run(sqlite_url, ADA)
    return project.at(sqlite_url)


COPY = "CREATE TABLE _alembic_tmp_person (id INTEGER PRIMARY KEY, name VARCHAR(50))"


def test_a_copy_beside_its_table_is_dropped(batched: Database, sqlite_url: URL) -> None:
    run(sqlite_url, COPY)
    found = batched.status()
    assert (found.position, found.leftovers) == (Position.TORN, ("_alembic_tmp_person",))
    with pytest.raises(DatabaseTorn, match="left _alembic_tmp_person"):
        batched.upgrade()
    plan = batched.plan_repair()
    assert plan.statements == ('DROP TABLE "_alembic_tmp_person"',)
    batched.repair(plan)
    assert batched.upgrade().after == ("b",)
    assert rows(sqlite_url, "SELECT * FROM person") == [(1, "Ada", None)]


def test_a_copy_whose_table_is_gone_holds_the_rows(batched: Database, sqlite_url: URL) -> None:
    run(sqlite_url, COPY, "INSERT INTO _alembic_tmp_person SELECT * FROM person")
    run(sqlite_url, "DROP TABLE person")
    batched.repair()
    assert batched.upgrade().after == ("b",)
    assert rows(sqlite_url, "SELECT * FROM person") == [(1, "Ada", None)]
    assert tables(sqlite_url) == {"alembic_version", "person"}


def test_a_copy_with_more_rows_than_its_table_is_not_dropped(
    batched: Database, sqlite_url: URL
) -> None:
    run(sqlite_url, COPY, "INSERT INTO _alembic_tmp_person SELECT * FROM person")
    run(sqlite_url, "DELETE FROM person")
    with pytest.raises(RepairRefused, match="holds 1 rows and person only 0"):
        batched.repair()
    assert rows(sqlite_url, "SELECT count(*) FROM _alembic_tmp_person") == [(1,)]


def test_a_repair_of_what_is_whole_or_not_there_does_nothing(
    batched: Database, tmp_path: Path
) -> None:
    assert batched.repair().is_empty
    nowhere = tmp_path / "nowhere.db"
    assert Project.load(tmp_path / "one").at(nowhere).repair().is_empty
    assert not nowhere.exists()


def test_a_repair_is_refused_if_another_one_is_needed_by_now(
    batched: Database, sqlite_url: URL
) -> None:
    run(sqlite_url, COPY)
    plan = batched.plan_repair()
    run(sqlite_url, "DROP TABLE _alembic_tmp_person")
    with pytest.raises(RepairRefused, match="changed since the repair was planned"):
        batched.repair(plan)
