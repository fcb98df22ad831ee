"""What differs comes with the SQL that takes it away: run as it is written, nothing differs."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project
from headway.database import Database
from tests.migrator.making import run, send
from tests.migrator.scripts import write_env, write_revision

UP = [
    'op.create_table("house", sa.Column("id", sa.Integer, primary_key=True),'
    ' sa.Column("street", sa.String(50), nullable=False), sa.Column("number", sa.Integer))',
    'op.create_table("guest", sa.Column("id", sa.Integer, primary_key=True),'
    ' sa.Column("name", sa.String(40), server_default="nobody"),'
    ' sa.Column("house_id", sa.Integer),'
    ' sa.ForeignKeyConstraint(["house_id"], ["house.id"], name="fk_guest_house"),'
    ' sa.UniqueConstraint("name", name="uq_guest_name"))',
    'op.create_index("ix_house_street", "house", ["street"])',
]
EVERYWHERE = [
    ("CREATE INDEX ix_more ON guest (name, house_id)", "extra index guest.ix_more"),
    ("ALTER TABLE house ADD COLUMN rogue VARCHAR(10)", "extra column house.rogue"),
    ("CREATE TABLE stray (id INTEGER NOT NULL PRIMARY KEY)", "extra table stray"),
    ("ALTER TABLE house DROP COLUMN number", "missing column house.number"),
]
SERVERS = [
    ("ALTER TABLE guest ADD CONSTRAINT uq_pair UNIQUE (name, house_id)", "extra"),
    ("ALTER TABLE guest DROP CONSTRAINT fk_guest_house", "missing fk guest.fk_guest_house"),
]
POSTGRESQL = [
    ("DROP INDEX ix_house_street", "missing index house.ix_house_street"),
    ("ALTER TABLE house ALTER COLUMN street DROP NOT NULL", "other nullable house.street"),
    ("ALTER TABLE house ALTER COLUMN number TYPE BIGINT", "other type house.number"),
    ("ALTER TABLE guest ALTER COLUMN name DROP DEFAULT", "other default guest.name"),
    ("ALTER TABLE guest DROP CONSTRAINT uq_guest_name", "missing constraint guest.uq_guest_name"),
    ("DROP TABLE guest", "missing table guest"),
]
MARIADB = [
    ("DROP INDEX ix_house_street ON house", "missing index house.ix_house_street"),
    ("ALTER TABLE house MODIFY street VARCHAR(50) NULL", "other nullable house.street"),
    ("ALTER TABLE house MODIFY number BIGINT", "other type house.number"),
    ("ALTER TABLE guest ALTER COLUMN name DROP DEFAULT", "other default guest.name"),
    ("DROP TABLE guest", "missing table guest"),
]
SQLITE = [
    ("DROP INDEX ix_house_street", "missing index house.ix_house_street"),
    ("DROP TABLE guest", "missing table guest"),
]
CASES = [
    *[("sqlite", *case) for case in EVERYWHERE + SQLITE],
    *[("postgresql", *case) for case in EVERYWHERE + SERVERS + POSTGRESQL],
    *[("mariadb", *case) for case in EVERYWHERE + SERVERS + MARIADB],
]


@pytest.fixture
def houses(tmp_path: Path) -> Project:
    folder = write_env(tmp_path / "houses")
    write_revision(folder, "one", None, UP)
    return Project.load(folder)


def mended(database: Database, url: URL, says: str) -> None:
    """One difference, of these words, and none after its SQL was run."""
    drift = database.check()
    assert len(drift.differences) == len(drift.fixes)
    assert any(words.startswith(says) for words in drift.differences), drift
    assert all(drift.fixes), drift
    for sql in sorted(filter(None, drift.fixes), key=lambda sql: "CREATE TABLE" not in sql):
        send(url, sql)
    assert database.check().is_clean, drift


@pytest.mark.parametrize(
    ("kind", "statement", "says"), CASES, ids=[f"{kind}-{says}" for kind, _, says in CASES]
)
def test_the_sql_that_comes_with_a_difference_takes_it_away(
    kind: str,
    statement: str,
    says: str,
    houses: Project,
    request: pytest.FixtureRequest,
) -> None:
    url: URL = request.getfixturevalue(f"{kind}_url")
    database = houses.at(url)
    database.upgrade()
    run(url, statement)
    mended(database, url, says)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("street VARCHAR(50), number INTEGER", "other nullable house.street"),
        ("street VARCHAR(50) NOT NULL, number VARCHAR(9)", "other type house.number"),
        ("street VARCHAR(50) NOT NULL, number INTEGER DEFAULT 7", "other default house.number"),
        (
            "street VARCHAR(50) NOT NULL, number INTEGER, CONSTRAINT uq_s UNIQUE (street)",
            "extra constraint house.uq_s",
        ),
    ],
)
def test_sqlite_rebuilds_a_table_and_keeps_what_hangs_on_it(
    made: str, says: str, houses: Project, sqlite_url: URL
) -> None:
    database = houses.at(sqlite_url)
    database.upgrade()
    run(
        sqlite_url,
        "DROP TABLE house",
        f"CREATE TABLE house (id INTEGER NOT NULL PRIMARY KEY, {made})",
        "CREATE INDEX ix_house_street ON house (street)",
        "INSERT INTO house (id, street) VALUES (1, 'Elm')",
        "INSERT INTO guest (id, name, house_id) VALUES (1, 'Ann', 1)",
    )
    mended(database, sqlite_url, says)
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as connection:
        joined = "SELECT street, name FROM house JOIN guest ON house_id = house.id"
        assert connection.exec_driver_sql(joined).all() == [("Elm", "Ann")]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()


def test_looking_for_the_sql_leaves_the_database_alone(houses: Project, sqlite_url: URL) -> None:
    database = houses.at(sqlite_url)
    database.upgrade()
    run(sqlite_url, "ALTER TABLE house ADD COLUMN rogue VARCHAR(10)", "DROP INDEX ix_house_street")
    before = Path(str(sqlite_url.database)).read_bytes()
    assert len(database.check().fixes) == 2
    assert Path(str(sqlite_url.database)).read_bytes() == before
