"""What the SQL of a revision says about it, in the words Alembic writes on each kind of server."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from headway import Project
from headway.plan import register
from headway.plan import sql_risks as sqlrisks
from tests.migrator.scripts import write_env, write_revision

TABLE = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'


def told(folder: Path, dialect: str, *up: str, first: Sequence[str] = ()) -> list[tuple[str, str]]:
    write_revision(write_env(folder / "s"), "one", None, up)
    found = register.sql_of(Project.load(folder / "s"), ["one"], {})
    texts = {"one": found["one"][dialect]["upgrade"]}
    return [(risk.kind, risk.says) for risk in sqlrisks.notes(texts, dialect)]


@pytest.mark.parametrize(
    ("up", "kind", "says"),
    [
        ('op.drop_table("t")', "drop", "drops t with all its rows"),
        ('op.drop_column("t", "n")', "drop", "drops t.n with all its values"),
        ('op.rename_table("t", "u")', "rename", "renames t: a release"),
        (
            'op.alter_column("t", "n", new_column_name="m", existing_type=sa.Integer)',
            "rename",
            "renames t.n: a release",
        ),
        ('op.execute("DELETE FROM t WHERE id > 7")', "drop", "deletes rows of t"),
        ('op.execute("UPDATE t SET n = 1;")', "rewrite", "changes rows of t:"),
        ('op.execute("TRUNCATE TABLE t")', "drop", "empties t"),
        (
            'op.add_column("t", sa.Column("x", sa.Integer, nullable=False))',
            "fill",
            "adds t.x not null and without a server default",
        ),
        ('op.create_index("i", "t", ["n"], unique=True)', "fill", "fails if two rows of t"),
        ('op.create_unique_constraint("u", "t", ["n"])', "fill", "fails if two rows of t"),
        ('op.drop_column("Odd One", "Two")', "drop", "drops Odd One.Two with all its values"),
    ],
)
@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_what_can_go_wrong_is_told(
    tmp_path: Path, dialect: str, up: str, kind: str, says: str
) -> None:
    found = told(tmp_path, dialect, up)
    assert any(one == kind and words.startswith(says) for one, words in found), found


@pytest.mark.parametrize(
    ("up", "kind", "says"),
    [
        (
            'op.alter_column("t", "n", type_=sa.Text(), existing_type=sa.Integer)',
            "rewrite",
            "changes the type of t.n, and PostgreSQL",
        ),
        ('op.alter_column("t", "n", nullable=False)', "fill", "makes t.n not null"),
        ('op.create_index("i", "t", ["n"])', "lock", "blocks writes to t"),
        ('op.create_foreign_key("f", "t", "p", ["n"], ["id"])', "lock", "locks t and p while"),
    ],
)
def test_what_postgresql_locks_is_told(tmp_path: Path, up: str, kind: str, says: str) -> None:
    found = told(tmp_path, "postgresql", up)
    assert [one for one, words in found if words.startswith(says)] == [kind], found


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_what_is_harmless_is_not_told(tmp_path: Path, dialect: str) -> None:
    harmless = (
        TABLE,
        'op.add_column("t", sa.Column("must", sa.Integer, nullable=False))',
        'op.create_index("i", "t", ["must"], unique=True)',
        'op.execute("UPDATE t SET must = 1")',
        'op.drop_table("t")',
        'op.add_column("old", sa.Column("may", sa.Integer))',
        'op.add_column("old", sa.Column("x", sa.Integer, nullable=False, server_default="0"))',
        "op.execute(\"INSERT INTO old (may) VALUES ('drop table old')\")",
    )
    assert told(tmp_path, dialect, *harmless) == []


def test_an_index_that_is_built_beside_is_not_told(tmp_path: Path) -> None:
    up = 'op.create_index("i", "t", ["n"], postgresql_concurrently=True)'
    assert told(tmp_path, "postgresql", up) == []


def test_what_cannot_be_foreseen_is_told(tmp_path: Path) -> None:
    found = told(tmp_path, "sqlite", "op.get_bind().execute(sa.text('SELECT 1')).scalar_one()")
    assert [(kind, says[:18]) for kind, says in found] == [("unheard", "asks the database,")]


def test_what_revisions_make_that_may_be_there_is_named_as_drift_names_it() -> None:
    texts = {
        "r1": "CREATE TABLE city (\n id INTEGER\n);\nCREATE INDEX ix_city ON city (id);\n"
        "ALTER TABLE customer ADD COLUMN vip INTEGER;\n"
        'CREATE UNIQUE INDEX "ix one" ON public.customer (a);\n',
        "r2": None,  # it asks the database
        "r3": "CREATE TABLE IF NOT EXISTS b (x INTEGER);\n"
        "ALTER TABLE customer ADD CONSTRAINT c CHECK (a > 1);\n"
        "ALTER TABLE `customer` ADD `old` INTEGER NOT NULL;\n",
    }
    assert sqlrisks.makes(texts) == {
        "table city": "r1",
        "column customer.vip": "r1",
        "index public.customer.ix one": "r1",
        "column customer.old": "r3",
    }
    # What they have taken away before is not in their way, nor what a rebuilt table had.
    rebuilt = (
        "DROP TABLE city;\nCREATE TABLE city (id INTEGER);\nCREATE TABLE _tmp (id INTEGER);\n"
        "DROP TABLE note;\nALTER TABLE _tmp RENAME TO note;\nCREATE INDEX ix_note ON note (id);\n"
    )
    assert sqlrisks.makes({"r1": rebuilt}) == {"table _tmp": "r1"}
