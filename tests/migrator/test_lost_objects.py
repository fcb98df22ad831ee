"""What a rebuild of a SQLite table loses: said in the plan, and refused unless the script speaks."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway.database import Database
from headway.errors import ObjectsLost
from headway.project import Project
from tests.migrator.making import contents, make_project, tables
from tests.migrator.scripts import write_env, write_revision

# SQLAlchemy warns of some of what it does not reflect.
pytestmark = pytest.mark.filterwarnings("default")

REBUILD = 'with op.batch_alter_table("item", recreate="always") as batch: pass'
FIRST = 'op.execute("CREATE TABLE p (id INTEGER PRIMARY KEY)")'
TRIGGER = "CREATE TRIGGER told AFTER INSERT ON item BEGIN UPDATE item SET note = new.name; END"
EXPRESSION = "CREATE INDEX ix ON item (lower(name))"


def item(*columns: str, after: str = "", options: str = "") -> str:
    """A table of which some columns are written like this."""
    own = {column.split()[0]: column for column in columns}
    plain = ["id INTEGER PRIMARY KEY", "name TEXT", "price INTEGER", "p INTEGER", "note TEXT"]
    said = [own.get(column.split()[0], column) for column in plain]
    return f"CREATE TABLE item ({', '.join(said)}{after}){options}"


LOST = {
    "a trigger": ((item(), TRIGGER), "trigger told of item"),
    "a trigger called like its table": (
        (item(), TRIGGER.replace("told", "item")),
        "trigger item of item",
    ),
    "an index on an expression": ((item(), EXPRESSION), "index ix of item"),
    "DESC": ((item(), "CREATE INDEX ix ON item (name, price DESC)"), "DESC of index ix"),
    "a collation of an index": (
        (item(), "CREATE INDEX ix ON item (name COLLATE NOCASE)"),
        "COLLATE NOCASE of index ix",
    ),
    "AUTOINCREMENT": (
        (item("id INTEGER PRIMARY KEY AUTOINCREMENT"),),
        "AUTOINCREMENT of item",
    ),
    "a collation": ((item("name TEXT COLLATE NOCASE"),), "COLLATE NOCASE of item.name"),
    "a check of a column": ((item("price INTEGER CHECK (price >= 0)"),), "CHECK (price >= 0)"),
    "a check of the table": ((item(after=", CHECK (price > p)"),), "CHECK (price > p) of item"),
    "ON DELETE": (
        (item("p INTEGER REFERENCES p(id) ON DELETE CASCADE"),),
        "ON DELETE CASCADE of foreign key (p)",
    ),
    "ON UPDATE": (
        (item("p INTEGER REFERENCES p(id) ON UPDATE SET NULL"),),
        "ON UPDATE SET NULL of foreign key (p)",
    ),
    "DEFERRABLE": (
        (item("p INTEGER REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED"),),
        "DEFERRABLE INITIALLY DEFERRED of foreign key (p)",
    ),
    "a unique key that SQLAlchemy does not see": (
        (item("name TEXT NOT NULL DEFAULT 'x' UNIQUE"),),
        "UNIQUE (name) of item",
    ),
    "ON CONFLICT": ((item("name TEXT UNIQUE ON CONFLICT IGNORE"),), "ON CONFLICT IGNORE of item"),
}


def at_a(folder: Path, url: URL, there: tuple[str, ...], up: str, extra: str = "") -> Database:
    """A database at the revision before, with a row in it."""
    write_env(folder)
    made = [f"op.execute({sql!r})" for sql in there]
    write_revision(folder, "a", None, [FIRST, *made])
    write_revision(folder, "b", "a", up.splitlines(), head=f"\n{extra}\n")
    database = Project.load(folder).at(url)
    database.upgrade("a")
    with closing(sqlite3.connect(str(url.database))) as own:
        own.execute("INSERT INTO item (id, name, price, p) VALUES (1, 'Ada', 2, 1)")
        own.execute("INSERT INTO p VALUES (1)")
        own.commit()
    return database


@pytest.mark.parametrize(("there", "says"), LOST.values(), ids=LOST)
def test_what_a_rebuild_loses_is_said_and_refused(
    tmp_path: Path, sqlite_url: URL, there: tuple[str, ...], says: str
) -> None:
    database = at_a(tmp_path / "one", sqlite_url, there, REBUILD)
    before = contents(sqlite_url)
    plan = database.plan()
    found = [risk for risk in database.risks(plan) if risk.kind == "loses"]
    assert [says in risk.says for risk in found] == [True]
    assert found[0].fails
    rehearsal = database.rehearse(plan)
    assert rehearsal.failed is not None
    assert says in rehearsal.failed
    with pytest.raises(ObjectsLost) as told:
        database.upgrade()
    assert says in str(told.value)
    assert "Nothing was changed." in str(told.value)
    assert contents(sqlite_url) == before
    announced = str(told.value).rpartition("loses = ")[2]
    folder = tmp_path / "two"
    write_env(folder)
    write_revision(folder, "a", None)
    write_revision(folder, "b", "a", [REBUILD], head=f"\nloses = {announced}\n")
    database = Project.load(folder).at(sqlite_url)
    assert not [risk for risk in database.risks(database.plan()) if risk.kind == "loses"]
    assert database.upgrade().after == ("b",)


@pytest.mark.parametrize(("there", "says"), LOST.values(), ids=LOST)
def test_a_table_of_the_same_name_made_by_hand_is_the_authors(
    tmp_path: Path, sqlite_url: URL, there: tuple[str, ...], says: str
) -> None:
    """Its definition is written in the script; what hangs on it is not."""
    by_hand = (
        f'op.execute("{item().replace("item", "item_new", 1)}")\n'
        'op.execute("INSERT INTO item_new SELECT * FROM item")\n'
        'op.execute("DROP TABLE item")\n'
        'op.execute("ALTER TABLE item_new RENAME TO item")'
    )
    database = at_a(tmp_path / "one", sqlite_url, there, by_hand)
    if says.startswith(("trigger", "index")):
        with pytest.raises(ObjectsLost, match=says):
            database.upgrade()
    elif len(there) > 1:
        with pytest.raises(ObjectsLost, match="index ix of item"):
            database.upgrade()
    else:
        assert database.upgrade().after == ("b",)


BATCH = 'with op.batch_alter_table("item") as batch:\n    '
NAMED = item(after=", CONSTRAINT cheap CHECK (price < 100), CONSTRAINT one UNIQUE (name)")
MEANT = {
    "an index is dropped": ((item(), EXPRESSION), 'op.drop_index("ix", "item")'),
    "an index is dropped in the batch": (
        (item(), "CREATE INDEX ix ON item (name, price DESC)"),
        f'{BATCH}batch.drop_index("ix")\n    batch.alter_column("note", '
        "type_=sa.String(9), existing_type=sa.Text())",
    ),
    "a trigger is dropped": ((item(), TRIGGER), 'op.execute("DROP TRIGGER told")'),
    "a trigger is made anew": ((item(), TRIGGER), f'{REBUILD}\nop.execute("{TRIGGER}")'),
    "an index is made anew": (
        (item(), "CREATE INDEX ix ON item (name, price DESC)"),
        f'{REBUILD}\nop.drop_index("ix", "item")\n'
        'op.execute("CREATE INDEX ix ON item (name, price DESC)")',
    ),
    "the same index by another name": (
        (item(), EXPRESSION),
        f'{REBUILD}\nop.create_index("other", "item", [sa.text("lower(name)")])',
    ),
    "the table is dropped": ((item(), TRIGGER, EXPRESSION), 'op.drop_table("item")'),
    "the table is dropped and another made": (
        (item(), TRIGGER, EXPRESSION),
        'op.execute("DELETE FROM item")\nop.drop_table("item")\n'
        'op.create_table("item", sa.Column("id", sa.Integer, primary_key=True))',
    ),
    "the table is renamed": ((item(), TRIGGER, EXPRESSION), 'op.rename_table("item", "thing")'),
    "a column is renamed": (
        (item("name TEXT COLLATE NOCASE CHECK (name <> '')"), TRIGGER, EXPRESSION),
        'op.alter_column("item", "name", new_column_name="title")',
    ),
    "a column is added": (
        (item("name TEXT COLLATE NOCASE"), TRIGGER, EXPRESSION),
        'op.add_column("item", sa.Column("extra", sa.Integer))',
    ),
    "a column is dropped with its index and check": (
        (item("price INTEGER CHECK (price > 0)"), "CREATE INDEX ix ON item (price)"),
        f'{BATCH}batch.drop_index("ix")\n    batch.drop_column("price")',
    ),
    "a column is dropped with its key": (
        (item("p INTEGER REFERENCES p(id) ON DELETE CASCADE"),),
        f'{BATCH}batch.drop_column("p")',
    ),
    "a default is changed": (
        (item("price INTEGER DEFAULT 3"),),
        f'{BATCH}batch.alter_column("price", server_default=None, existing_type=sa.Integer())',
    ),
    "a type is changed": (
        (item("price INTEGER NOT NULL DEFAULT 3"),),
        f'{BATCH}batch.alter_column("price", type_=sa.BigInteger(), nullable=True, '
        "existing_type=sa.Integer())",
    ),
    "a constraint is dropped": (
        (NAMED,),
        f'{BATCH}batch.drop_constraint("one", type_="unique")\n'
        '    batch.drop_constraint("cheap", type_="check")',
    ),
    "a key is dropped by a name that is computed": (
        (item(after=", FOREIGN KEY(p) REFERENCES p (id) ON DELETE CASCADE"),),
        'name = "_".join(("fk", "of", "it"))\n'
        'with op.batch_alter_table("item", naming_convention={"fk": name}) as batch:\n'
        '    batch.drop_constraint(name, type_="foreignkey")',
    ),
    "a key is made anew without its action": (
        (item(after=", CONSTRAINT fk_p FOREIGN KEY(p) REFERENCES p (id) ON DELETE CASCADE"),),
        f'{BATCH}batch.drop_constraint("fk_p", type_="foreignkey")\n'
        '    batch.create_foreign_key("fk_p", "p", ["p"], ["id"])',
    ),
    "all that a rebuild keeps": (
        (
            item(
                "name TEXT NOT NULL UNIQUE",
                "price INTEGER DEFAULT (1 + 2)",
                "note TEXT DEFAULT CURRENT_TIMESTAMP",
                after=", CONSTRAINT cheap CHECK (price < 100), CONSTRAINT both UNIQUE (name, p), "
                "CONSTRAINT fk_p FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE",
            ),
            "CREATE INDEX ix ON item (price) WHERE price > 0",
            "CREATE UNIQUE INDEX un ON item (price, name)",
            "CREATE VIEW v AS SELECT 1",
        ),
        REBUILD,
    ),
    "WITHOUT ROWID": ((item(options=" WITHOUT ROWID"),), REBUILD),
    "STRICT": ((item(options=" STRICT"),), REBUILD),
    "quoted names": (
        (item('"name" TEXT /* the, name */', "[price] INTEGER -- (cost)\n"), "CREATE INDEX `ix x` "
         'ON "item" ("name")'),
        REBUILD,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("there", "up"), MEANT.values(), ids=MEANT)
def test_what_a_revision_means_to_do_is_not_refused(
    tmp_path: Path, sqlite_url: URL, there: tuple[str, ...], up: str
) -> None:
    database = at_a(tmp_path / "one", sqlite_url, there, up, 'loses_rows = ("item",)')
    assert database.upgrade().after == ("b",)


def test_a_check_is_dropped_by_what_a_convention_makes_its_name_of(
    tmp_path: Path, sqlite_url: URL
) -> None:
    env = write_env(tmp_path / "one") / "env.py"
    convention = "{'ck': 'ck_%(table_name)s_`%(constraint_name)s`'}"
    models = f"from sqlalchemy import MetaData\ntarget_metadata = MetaData(naming_convention={convention})"
    env.write_text(env.read_text().replace("target_metadata = None", models))
    check = 'CONSTRAINT "ck_item_`cheap_enough`" CHECK (price < 100)'
    dropped = f'{BATCH}batch.drop_constraint("cheap_enough", type_="check")'
    project = make_project(
        tmp_path / "one", a=f"{FIRST}\nop.execute({item(after=f', {check}')!r})", b=dropped
    )
    assert project.at(sqlite_url).upgrade().after == ("b",)


def test_what_a_downgrade_loses_is_refused_too(tmp_path: Path, sqlite_url: URL) -> None:
    made = f"op.execute({item()!r})\nop.execute({TRIGGER!r})"
    project = make_project(tmp_path / "one", a=f"{FIRST}\n{made}", b=("pass", REBUILD))
    database = project.at(sqlite_url)
    database.upgrade()
    with pytest.raises(ObjectsLost, match="Revision b loses: trigger told of item"):
        database.downgrade("a")
    assert database.status().current == ("b",)


def test_a_trigger_on_a_view_that_is_made_anew(tmp_path: Path, sqlite_url: URL) -> None:
    view = "CREATE VIEW v AS SELECT id FROM p"
    instead = "CREATE TRIGGER told INSTEAD OF INSERT ON v BEGIN INSERT INTO p VALUES (new.id); END"
    anew = f"op.execute('DROP VIEW v')\nop.execute({view!r})"
    project = make_project(
        tmp_path / "one", a=f"{FIRST}\nop.execute({view!r})\nop.execute({instead!r})", b=anew
    )
    project.at(sqlite_url).upgrade("a")
    with pytest.raises(ObjectsLost, match="trigger told of v"):
        project.at(sqlite_url).upgrade()
    assert "p" in tables(sqlite_url)


def test_a_name_explains_no_other_that_python_alone_takes_for_the_same(
    tmp_path: Path, sqlite_url: URL
) -> None:
    """SQLite has small letters for a to z only: É and é are two views."""
    there = (item(), *(TRIGGER.replace("told", f'"{name}"') for name in "Éé"))
    up = f"op.execute('DROP TRIGGER É')\n{REBUILD}"
    database = at_a(tmp_path, sqlite_url, there, up)
    with pytest.raises(ObjectsLost, match="trigger é of item"):
        database.upgrade()
    assert database.status().current == ("a",)
