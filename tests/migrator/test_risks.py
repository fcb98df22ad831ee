"""What could go wrong with a plan, and whether the rows that are there make it go wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.plan.risks import Risk, squawk_program
from tests.migrator.making import run
from tests.migrator.scripts import write_revision

PARENTS = [
    'op.create_table("p", sa.Column("id", sa.Integer, primary_key=True))',
    'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("n", sa.Integer), sa.Column("p_id", sa.Integer))',
]


def risks_of(scripts: Path, url: URL, *up: str, rows: bool = True) -> tuple[Risk, ...]:
    write_revision(scripts, "first", None, PARENTS)
    write_revision(scripts, "second", "first", up)
    database = Project.load(scripts).at(url)
    database.upgrade("first")
    if rows:
        run(url, *(f"INSERT INTO t (id, n, p_id) VALUES ({n}, 7, 99)" for n in (1, 2, 3)))
        run(url, "INSERT INTO t (id, n, p_id) VALUES (9, NULL, NULL)")
    found = database.risks(database.plan())
    assert database.status().current == ("first",)
    return tuple(risk for risk in found if risk.kind != "lint")


BATCH = "with op.batch_alter_table('t') as b: b."


@pytest.mark.parametrize(
    ("up", "says"),
    [
        ('op.drop_table("t")', "t has 4 rows, which would be lost"),
        (
            BATCH + 'alter_column("n", existing_type=sa.Integer, nullable=False)',
            "1 rows of t have no n",
        ),
        (
            BATCH + 'add_column(sa.Column("x", sa.Integer, nullable=False))',
            "t has 4 rows, and the new x no value",
        ),
        (BATCH + 'create_unique_constraint("u", ["n"])', "1 values of t (n) appear more than once"),
        (
            'op.create_index("i", "t", ["n"], unique=True)',
            "1 values of t (n) appear more than once",
        ),
        (
            BATCH + 'create_foreign_key("f", "p", ["p_id"], ["id"])',
            "3 rows of t point at no row of p",
        ),
    ],
)
def test_what_the_rows_forbid_is_foretold(
    scripts: Path, catalog_url: URL, up: str, says: str
) -> None:
    found = [risk for risk in risks_of(scripts, catalog_url, up) if risk.fails]
    if catalog_url.get_backend_name() == "mysql" and "add_column" in up:
        assert found == []  # MariaDB fills in a 0
        return
    (foretold,) = found
    assert foretold.revision == "second"
    assert says in foretold.says
    if "drop_table" not in up:
        with pytest.raises(errors.HeadwayError):
            Project.load(scripts).at(catalog_url).upgrade()


@pytest.mark.parametrize(
    "up",
    [
        'op.drop_table("t")',
        BATCH + 'alter_column("n", existing_type=sa.Integer, nullable=False)',
        BATCH + 'add_column(sa.Column("x", sa.Integer, nullable=False))',
        'op.create_index("i", "t", ["n"], unique=True)',
    ],
)
def test_without_rows_nothing_fails(scripts: Path, catalog_url: URL, up: str) -> None:
    assert not [risk for risk in risks_of(scripts, catalog_url, up, rows=False) if risk.fails]
    assert Project.load(scripts).at(catalog_url).upgrade().after == ("second",)


@pytest.mark.parametrize(
    ("up", "kind"),
    [
        ('op.drop_column("t", "n")', "drop"),
        ('op.rename_table("t", "u")', "rename"),
        ('op.alter_column("t", "n", new_column_name="m")', "rename"),
        ('op.alter_column("t", "n", type_=sa.BigInteger)', "rewrite"),
        ('op.create_index("i", "t", ["n"])', "lock"),
        ('op.get_bind().execute(sa.text("SELECT 1")).scalar_one()', "unheard"),
    ],
)
def test_what_a_plan_carries_in_itself_is_noted(
    scripts: Path, postgresql_url: URL, up: str, kind: str
) -> None:
    assert [risk.kind for risk in risks_of(scripts, postgresql_url, up, rows=False)] == [kind]


def test_a_table_of_the_same_plan_is_no_risk(scripts: Path, postgresql_url: URL) -> None:
    up = [
        'op.create_table("new", sa.Column("id", sa.Integer))',
        'op.create_index("i", "new", ["id"])',
    ]
    assert risks_of(scripts, postgresql_url, *up) == ()


@pytest.mark.skipif(not squawk_program(), reason="squawk is missing: pip install squawk-cli")
def test_squawk_is_asked_where_it_is_installed(scripts: Path, postgresql_url: URL) -> None:
    write_revision(scripts, "first", None, PARENTS)
    write_revision(scripts, "second", "first", ['op.create_index("i", "t", ["n"])'])
    database = Project.load(scripts).at(postgresql_url)
    database.upgrade("first")
    lint = [risk.says for risk in database.risks(database.plan()) if risk.kind == "lint"]
    assert any("require-concurrent-index-creation" in says for says in lint)


def test_a_rehearsal_tells_and_leaves_the_original(project: Project, catalog_url: URL) -> None:
    database = project.at(catalog_url)
    database.upgrade("r003")
    run(catalog_url, "INSERT INTO t1 (id, name) VALUES (1, 'Ada')")
    rehearsal = database.rehearse(database.plan())
    assert rehearsal.failed is None
    assert rehearsal.place.startswith("a copy")
    assert any("CREATE TABLE t5" in statement for statement in rehearsal.statements)
    assert database.status().current == ("r003",)
    assert database.check().is_clean


def test_a_rehearsal_tells_what_would_break(scripts: Path, catalog_url: URL) -> None:
    risks_of(scripts, catalog_url, 'op.create_index("i", "t", ["n"], unique=True)')
    database = Project.load(scripts).at(catalog_url)
    rehearsal = database.rehearse(database.plan())
    assert rehearsal.failed
    assert "second" in rehearsal.failed
    assert database.status().current == ("first",)


def test_a_rehearsal_beside_users_rolls_back_and_names_the_locks(
    project: Project, postgresql_url: URL
) -> None:
    database = project.at(postgresql_url)
    database.upgrade("r003")
    engine = sa.create_engine(postgresql_url)
    with engine.connect():  # somebody works here, so the server does not copy it
        rehearsal = database.rehearse(database.plan())
    engine.dispose()
    assert rehearsal.place == "the database itself, in a transaction that was rolled back"
    assert rehearsal.locks == ("AccessExclusiveLock on t3",)
    assert database.status().current == ("r003",)


def test_no_copy_is_left(project: Project, fresh_url: Callable[[str], URL]) -> None:
    for backend in ("postgresql", "mariadb"):
        url = fresh_url(backend)
        project.at(url).upgrade("r001")
        before = copies_on(url)
        project.at(url).rehearse(project.at(url).plan())
        assert copies_on(url) <= before


def copies_on(url: URL) -> set[str]:
    """The copies on its server; others may work there, or have been killed."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        backend = engine.dialect.name
        query = "SELECT datname FROM pg_database" if backend == "postgresql" else "SHOW DATABASES"
        names = connection.exec_driver_sql(query).scalars().all()
    engine.dispose()
    return {name for name in names if name.startswith("headway_rehearsal")}
