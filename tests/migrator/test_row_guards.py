"""What the guard of a SQLite file counts, what it leaves out, and what it blames nobody for."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway.errors import ForeignKeysBroken, RowsLost, SnapshotFailed
from headway.project import Project
from tests.migrator.making import contents, make_project, table
from tests.migrator.scripts import write_env, write_revision

# SQLAlchemy warns of what it does not reflect.
pytestmark = pytest.mark.filterwarnings("default")

COLUMN = "op.add_column('person', sa.Column('age', sa.Integer))"
REBUILD = """with op.batch_alter_table("person", recreate="always") as batch:
    batch.alter_column("name", existing_type=sa.String(50), nullable=False)"""


def of_the_application(path: Path, *statements: str) -> None:
    """Write with what only the application's own connection knows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as own:
        own.create_collation("LOCALIZED", lambda a, b: (a > b) - (a < b))
        own.create_function("slug", 1, str.lower, deterministic=True)
        for statement in statements:
            own.execute(statement)


MISSING_MODULE = (
    "PRAGMA writable_schema=ON",
    "INSERT INTO sqlite_master VALUES "
    "('table', 'vec', 'vec', 0, 'CREATE VIRTUAL TABLE vec USING vec0(e float[3])')",
)
UNKNOWN = {
    "a module": MISSING_MODULE,
    "a collation in an index": (
        "CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT COLLATE LOCALIZED, a TEXT)",
        "CREATE INDEX by_name ON channel (name)",
        "INSERT INTO channel VALUES (1, 'b', '')",
    ),
    "a collation in a key": (
        "CREATE TABLE word (name TEXT COLLATE LOCALIZED PRIMARY KEY) WITHOUT ROWID",
        "INSERT INTO word VALUES ('a'), ('b')",
    ),
    "a collation in a foreign key": (
        "CREATE TABLE parent (a TEXT COLLATE LOCALIZED UNIQUE)",
        "CREATE TABLE child (a TEXT REFERENCES parent (a))",
        "INSERT INTO child VALUES ('gone')",
    ),
    "a function in an index": (
        "CREATE TABLE e (t TEXT)",
        "CREATE INDEX by_slug ON e (slug(t))",
        "INSERT INTO e VALUES ('X')",
    ),
    "a function in a column and a check": (
        "CREATE TABLE g (a TEXT CHECK (slug(a) <> ''), b TEXT GENERATED ALWAYS AS (slug(a)))",
        "INSERT INTO g (a) VALUES ('x')",
    ),
    "a function in a view": (
        "CREATE VIEW v AS SELECT slug(name) AS s FROM person",
        "CREATE VIEW w AS SELECT s FROM v",
    ),
    "a key that does not match": (
        "CREATE TABLE parent (a TEXT)",
        "CREATE TABLE child (a TEXT REFERENCES parent (a))",
        "INSERT INTO child VALUES ('z')",
    ),
    "a parent that is not there": (
        "CREATE TABLE child (a TEXT REFERENCES nowhere (a))",
        "INSERT INTO child VALUES ('z')",
    ),
    "orphans without a rowid": (
        "CREATE TABLE child (a INTEGER PRIMARY KEY REFERENCES person (id)) WITHOUT ROWID",
        "INSERT INTO child VALUES (9), (8)",
    ),
}


@pytest.mark.parametrize("there", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_counted_stops_nothing(
    tmp_path: Path, sqlite_url: URL, there: tuple[str, ...]
) -> None:
    path = Path(str(sqlite_url.database))
    project = make_project(tmp_path / "one", a=table("person"), b=COLUMN, c=REBUILD, d="pass")
    database = project.at(sqlite_url)
    database.upgrade("a")
    of_the_application(path, *there)
    if "VIEW" in there[0] or "by_name" in there[1]:  # SQLite itself renames no table then
        assert database.upgrade("b").after == ("b",)
    else:
        assert database.upgrade().after == ("d",)
    plan = database.plan("a", "downgrade")
    assert database.rehearse(plan).failed is None
    database.check()
    whole = path.read_bytes()
    copy = database.snapshot()
    assert copy is not None
    path.write_bytes(b"")
    database.restore(copy)
    header = 100  # which counts the changes of a file
    assert path.read_bytes()[header:] == whole[header:]


def test_a_module_that_is_missing_is_no_reason_to_miss_lost_rows(
    tmp_path: Path, sqlite_url: URL
) -> None:
    project = make_project(
        tmp_path / "one", a=table("person"), b="op.execute('DELETE FROM person')"
    )
    project.at(sqlite_url).upgrade("a")
    row = "INSERT INTO person VALUES (1, 'Ada')"
    of_the_application(Path(str(sqlite_url.database)), row, *MISSING_MODULE)
    with pytest.raises(RowsLost, match="1 of person"):
        project.at(sqlite_url).upgrade()


VIRTUAL = """op.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)")
op.execute("CREATE VIRTUAL TABLE note_fts USING fts5(body, content='note', content_rowid='id')")
op.execute("CREATE VIRTUAL TABLE area USING rtree(id, x0, x1)")
op.execute("CREATE TRIGGER note_ai AFTER INSERT ON note BEGIN "
           "INSERT INTO note_fts(rowid, body) VALUES (new.id, new.body); END")"""


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO note_fts(note_fts) VALUES('rebuild')",
        "INSERT INTO note_fts(note_fts) VALUES('optimize')",
        "INSERT INTO note_fts(note_fts) VALUES('delete-all')",
        "DELETE FROM area WHERE id = 1",
        "DROP TABLE note_fts",
    ],
)
def test_an_index_that_is_made_anew_loses_no_rows(
    tmp_path: Path, sqlite_url: URL, sql: str
) -> None:
    project = make_project(tmp_path / "one", a=VIRTUAL, b=f'op.execute("{sql}")')
    project.at(sqlite_url).upgrade("a")
    with closing(sqlite3.connect(str(sqlite_url.database))) as own:
        own.execute("INSERT INTO area VALUES (1, 0, 1)")
        texts = [(" ".join(f"w{i}x{j}" for j in range(40)),) for i in range(300)]
        for text in texts:
            own.execute("INSERT INTO note(body) VALUES (?)", text)
        own.commit()
    assert project.at(sqlite_url).upgrade().after == ("b",)


def test_rows_of_the_table_behind_an_index_are_counted(tmp_path: Path, sqlite_url: URL) -> None:
    project = make_project(tmp_path / "one", a=VIRTUAL, b="op.execute('DELETE FROM note')")
    project.at(sqlite_url).upgrade("a")
    with closing(sqlite3.connect(str(sqlite_url.database))) as own:
        own.execute("INSERT INTO note(body) VALUES ('x')")
        own.commit()
    with pytest.raises(RowsLost, match=r"1 of note\. "):
        project.at(sqlite_url).upgrade()


@pytest.mark.parametrize("replay", [False, True])
def test_a_version_table_of_another_name_is_no_table_of_rows(
    tmp_path: Path, fresh_url: object, replay: bool
) -> None:
    env = """from alembic import context
from sqlalchemy import create_engine
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection, version_table="my_version")
    with context.begin_transaction():
        context.run_migrations()
"""
    folder = write_env(tmp_path / "one", env)
    for name, parents in {"r": None, "a": "r", "b": "r", "m": ("a", "b")}.items():
        up = f'op.create_table("t{name}", sa.Column("id", sa.Integer))'
        write_revision(folder, name, parents, [up], [f'op.drop_table("t{name}")'])
    for _ in range(2):
        database = Project.load(folder).at(fresh_url("sqlite"), replay=replay)  # type: ignore[operator]
        database.upgrade("a")
        database.upgrade("b")
        assert database.upgrade().after == ("m",)
        assert database.downgrade("base").after == ()


FAMILY = (
    table("person")
    + """
op.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES person (id))")"""
)
BLAMELESS = {
    "the child is renamed": 'op.rename_table("child", "kid")',
    "the parent is renamed": 'op.rename_table("person", "human")',
    "both are renamed": 'op.rename_table("child", "kid")\nop.rename_table("person", "human")',
    "the parent is rebuilt": REBUILD,
    "the child is rebuilt": 'with op.batch_alter_table("child", recreate="always"): pass',
    "rebuilt and renamed": 'with op.batch_alter_table("child", recreate="always"): pass\n'
    'op.rename_table("child", "kid")',
    "the child is dropped": 'op.drop_table("child")',
}


@pytest.mark.parametrize("up", BLAMELESS.values(), ids=BLAMELESS)
def test_what_was_broken_before_is_blamed_on_nobody(
    tmp_path: Path, sqlite_url: URL, up: str
) -> None:
    project = make_project(tmp_path / "one", a=FAMILY, b=up)
    project.at(sqlite_url).upgrade("a")
    of_the_application(
        Path(str(sqlite_url.database)),
        "INSERT INTO person VALUES (1, 'Ada')",
        "INSERT INTO child VALUES (1, 1), (2, 77), (3, 78)",
    )
    assert project.at(sqlite_url).upgrade().after == ("b",)


@pytest.mark.parametrize(
    "up",
    [
        'op.execute("UPDATE child SET p = 99 WHERE id = 1")',
        'op.rename_table("child", "kid")\nop.execute("UPDATE kid SET p = 99 WHERE id = 1")',
        'op.rename_table("person", "human")\nop.execute("UPDATE child SET p = 99 WHERE id = 1")',
    ],
)
def test_a_new_orphan_beside_old_ones_is_refused(tmp_path: Path, sqlite_url: URL, up: str) -> None:
    project = make_project(tmp_path / "one", a=FAMILY, b=up)
    project.at(sqlite_url).upgrade("a")
    of_the_application(
        Path(str(sqlite_url.database)),
        "INSERT INTO person VALUES (1, 'Ada')",
        "INSERT INTO child VALUES (1, 1), (2, 77)",
    )
    before = contents(sqlite_url)
    with pytest.raises(ForeignKeysBroken, match="1 rows of"):
        project.at(sqlite_url).upgrade()
    assert contents(sqlite_url) == before


def test_a_step_of_its_own_transaction_is_refused_before_it_is_committed(
    tmp_path: Path, sqlite_url: URL
) -> None:
    """An `autocommit_block` anywhere makes each revision a transaction."""
    block = "with op.get_context().autocommit_block():\n    op.execute('VACUUM')"
    orphan = 'op.execute("INSERT INTO child VALUES (1, 99)")'
    project = make_project(tmp_path / "one", a=FAMILY, b=orphan, c=block)
    with pytest.raises(
        ForeignKeysBroken, match=r"Nothing of it stays\. Applied before it: a\."
    ) as told:
        project.at(sqlite_url).upgrade()
    assert "Nothing was changed" not in str(told.value)
    assert project.at(sqlite_url).status().current == ("a",)


def test_rows_of_a_file_that_env_py_attached_are_counted(tmp_path: Path, sqlite_url: URL) -> None:
    env = f"""from alembic import context
from sqlalchemy import create_engine
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection.exec_driver_sql("ATTACH '{tmp_path / "other.db"}' AS other")
    connection.commit()
    context.configure(connection=connection, version_table_schema="other")
    with context.begin_transaction():
        context.run_migrations()
"""
    folder = write_env(tmp_path / "one", env)
    made = 'op.execute("CREATE TABLE other.thing (id INTEGER)")'
    write_revision(folder, "a", None, [made, 'op.execute("INSERT INTO other.thing VALUES (1)")'])
    write_revision(folder, "b", "a", ['op.execute("DELETE FROM other.thing")'])
    with pytest.raises(RowsLost, match=r"1 of other\.thing"):
        Project.load(folder).at(sqlite_url).upgrade()


# --- snapshots --------------------------------------------------------------------------------


def test_rows_that_a_constraint_forbids_are_no_damage(tmp_path: Path, sqlite_url: URL) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=COLUMN)
    project.at(sqlite_url).upgrade("a")
    of_the_application(
        Path(str(sqlite_url.database)),
        "CREATE TABLE odd (a INTEGER NOT NULL, b INTEGER CHECK (b > 0))",
        "PRAGMA ignore_check_constraints=ON",
        "INSERT INTO odd VALUES (1, -1)",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET sql = 'CREATE TABLE odd (a INTEGER, b INTEGER CHECK (b > 0))' "
        "WHERE name = 'odd'",
    )
    of_the_application(
        Path(str(sqlite_url.database)),
        "PRAGMA ignore_check_constraints=ON",
        "INSERT INTO odd VALUES (NULL, -2)",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET "
        "sql = 'CREATE TABLE odd (a INTEGER NOT NULL, b INTEGER CHECK (b > 0))' "
        "WHERE name = 'odd'",
    )
    assert project.at(sqlite_url, snapshot=True).upgrade().snapshot


def test_damage_is_found_beside_a_table_that_cannot_be_checked(
    tmp_path: Path, sqlite_url: URL
) -> None:
    path = Path(str(sqlite_url.database))
    project = make_project(tmp_path / "one", a=table("person"), b=COLUMN)
    project.at(sqlite_url).upgrade("a")
    of_the_application(path, *UNKNOWN["a function in an index"])
    of_the_application(
        path,
        "CREATE TABLE broken (a TEXT)",
        "CREATE INDEX by_a ON broken (a)",
        "INSERT INTO broken VALUES ('a'), ('b')",
        "PRAGMA writable_schema=ON",
        "UPDATE sqlite_master SET rootpage = "
        "(SELECT rootpage FROM sqlite_master WHERE name = 'by_slug') WHERE name = 'by_a'",
    )
    with pytest.raises(SnapshotFailed, match="damaged"):
        project.at(sqlite_url).snapshot()
