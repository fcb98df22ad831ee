"""Half of a revision on MariaDB, kind by kind: taken back exactly, or refused by name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from headway.dialects import dialect_of
from headway.errors import RepairFailed, RepairRefused
from headway.execution.half import Half, run_repair
from tests.conftest import database_on
from tests.migrator.making import rows, run
from tests.migrator.making_mariadb import BASE

KEEP = "SET system_versioning_alter_history = 'KEEP'"
TAKEN_BACK = {
    "table": ["CREATE TABLE b (id INT PRIMARY KEY)"],
    "tables": [
        "CREATE TABLE b (id INT PRIMARY KEY)",
        "CREATE TABLE a (id INT REFERENCES b (id))",
        "CREATE TRIGGER fires AFTER INSERT ON b FOR EACH ROW SET @x = 1",
    ],
    "odd names": [
        "CREATE TABLE `100%% ``sure``` (`a``b` INT, KEY `k``` (`a``b`))",
        "ALTER TABLE item ADD COLUMN `c``d` INT, ADD KEY `x``y` (`c``d`)",
        "ALTER TABLE item MODIFY `odd``name` INT COMMENT 'other'",
    ],
    "column": ["ALTER TABLE item ADD COLUMN m INT AFTER id, ADD COLUMN o INT FIRST"],
    "auto column": ["ALTER TABLE parent ADD COLUMN m INT AUTO_INCREMENT UNIQUE"],
    "column moved": ["ALTER TABLE item MODIFY body TEXT FIRST"],
    "column default": ["ALTER TABLE item ALTER n SET DEFAULT 8, MODIFY t VARCHAR(50) NOT NULL"],
    "column invisible": ["ALTER TABLE item MODIFY t VARCHAR(50) INVISIBLE COMMENT '100%'"],
    "column wider": [
        "ALTER TABLE item MODIFY n BIGINT, MODIFY t VARCHAR(60), MODIFY price DECIMAL(12,4), "
        "MODIFY kind ENUM('w','x','y'), MODIFY body LONGTEXT"
    ],
    "column collation": ["ALTER TABLE item MODIFY t VARCHAR(50) COLLATE utf8mb4_bin"],
    "generated column": ["ALTER TABLE item ADD COLUMN g INT AS (n + 1) STORED, ADD KEY (g)"],
    "generated column changed": ["ALTER TABLE item MODIFY twice INT AS (n * 3) VIRTUAL"],
    "generated column gone": ["ALTER TABLE item DROP COLUMN twice"],
    "keys": [
        "CREATE INDEX k ON item (t)",
        "CREATE UNIQUE INDEX u ON item (t)",
        "ALTER TABLE item ADD FULLTEXT KEY f (body, t)",
        "ALTER TABLE spans ADD UNIQUE KEY only_one (id, span WITHOUT OVERLAPS)",
    ],
    "keys gone": [
        "DROP INDEX words ON item",
        "DROP INDEX places ON item",
        "DROP INDEX down ON item",
    ],
    "key changed": ["ALTER TABLE item DROP KEY by_n, ADD KEY by_n (n DESC)"],
    "key ignored": ["ALTER TABLE item ALTER INDEX by_n IGNORED"],
    "primary key": [
        "ALTER TABLE parts DROP PRIMARY KEY",
        "ALTER TABLE spans ADD PRIMARY KEY (id)",
    ],
    "primary key of a counter": [
        "ALTER TABLE item DROP PRIMARY KEY, ADD PRIMARY KEY (id, pos(25))",
    ],
    "check": ["ALTER TABLE item ADD CONSTRAINT big CHECK (n > -5)"],
    "check gone": ["ALTER TABLE item DROP CONSTRAINT small"],
    "check changed": [
        "ALTER TABLE item DROP CONSTRAINT small",
        "ALTER TABLE item ADD CONSTRAINT small CHECK (n < 99)",
    ],
    "foreign key": ["ALTER TABLE item ADD CONSTRAINT again FOREIGN KEY (n) REFERENCES parent (id)"],
    "foreign key gone": ["ALTER TABLE item DROP FOREIGN KEY up, DROP KEY up"],
    "foreign key changed": [
        "ALTER TABLE item DROP FOREIGN KEY up",
        "ALTER TABLE item ADD CONSTRAINT up FOREIGN KEY (a) REFERENCES parent (id)",
    ],
    "foreign key on a new column of a new table": [
        "CREATE TABLE zoo (id INT PRIMARY KEY)",
        "ALTER TABLE parent ADD COLUMN zoo INT",
        "ALTER TABLE parent ADD CONSTRAINT lives FOREIGN KEY (zoo) REFERENCES zoo (id)",
    ],
    "comment": ["ALTER TABLE item COMMENT='other'", "ALTER TABLE parent COMMENT='new'"],
    "options": [
        "ALTER TABLE spans ENGINE=MyISAM ROW_FORMAT=FIXED",
        "ALTER TABLE parts ROW_FORMAT=COMPRESSED STATS_PERSISTENT=1",
        "ALTER TABLE kept PAGE_COMPRESSED=1",
    ],
    "default charset": ["ALTER TABLE item DEFAULT CHARSET=latin1"],
    "charset": ["ALTER TABLE item CONVERT TO CHARACTER SET latin1"],
    "versioned": ["ALTER TABLE item ADD SYSTEM VERSIONING"],
    "versioned by name": [
        "ALTER TABLE parent ADD COLUMN s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, "
        "ADD COLUMN e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, "
        "ADD PERIOD FOR SYSTEM_TIME (s, e), ADD SYSTEM VERSIONING"
    ],
    "column of a versioned table": [
        KEEP,
        "ALTER TABLE kept ADD COLUMN m INT",
    ],
    "period": ["ALTER TABLE parent ADD COLUMN f DATE DEFAULT '2001-01-01', "
"ADD COLUMN u DATE DEFAULT '2002-01-01', ADD PERIOD FOR p (f, u)"],
    "period gone": ["ALTER TABLE spans DROP PERIOD FOR span"],
    "partition": ["ALTER TABLE parts ADD PARTITION (PARTITION p2 VALUES LESS THAN MAXVALUE)"],
    "partitioned": ["ALTER TABLE spans PARTITION BY HASH (id) PARTITIONS 3"],
    "partitioned otherwise": ["ALTER TABLE parts PARTITION BY HASH (id) PARTITIONS 3"],
    "partitioned no more": ["ALTER TABLE parts REMOVE PARTITIONING"],
    "view": ["CREATE VIEW b AS SELECT n FROM above", "CREATE VIEW a AS SELECT n FROM b"],
    "view gone": ["DROP VIEW seen", "DROP VIEW above"],
    "view changed": ["CREATE OR REPLACE VIEW seen AS SELECT id, n + 1 AS n FROM item"],
    "trigger": ["CREATE TRIGGER zero BEFORE INSERT ON parent FOR EACH ROW PRECEDES first "
                "SET NEW.n = 0"],
    "trigger gone": ["DROP TRIGGER first"],
    "trigger changed": [
        "CREATE OR REPLACE TRIGGER first BEFORE INSERT ON parent FOR EACH ROW SET NEW.n = 4"
    ],
    "triggers in another order": [
        "DROP TRIGGER second",
        "CREATE TRIGGER second BEFORE INSERT ON parent FOR EACH ROW PRECEDES first "
        "SET NEW.n = NEW.n * 2",
    ],
    "procedure": ["CREATE PROCEDURE b() SELECT '100%'"],
    "procedure gone": ["DROP PROCEDURE clear_all"],
    "procedure changed": ["CREATE OR REPLACE PROCEDURE clear_all() SELECT 1"],
    "procedure security": ["ALTER PROCEDURE clear_all SQL SECURITY INVOKER"],
    "function": ["CREATE FUNCTION b() RETURNS INT RETURN 2"],
    "function gone": ["DROP FUNCTION one"],
    "function under another mode": [
        "SET sql_mode = 'ANSI_QUOTES'",
        'CREATE OR REPLACE FUNCTION one() RETURNS INT RETURN (SELECT max("n") FROM item)',
    ],
    "package": ["SET sql_mode = 'ORACLE'", "CREATE PACKAGE b AS PROCEDURE p1; END"],
    "package gone": ["SET sql_mode = 'ORACLE'", "DROP PACKAGE pack"],
    "package body gone": ["SET sql_mode = 'ORACLE'", "DROP PACKAGE BODY pack"],
    "event": ["CREATE EVENT b ON SCHEDULE EVERY 1 HOUR DO SET @a = 1"],
    "event gone": ["DROP EVENT nightly"],
    "event changed": ["ALTER EVENT nightly ENABLE COMMENT 'on'"],
    "sequence": ["CREATE SEQUENCE b", "CREATE TABLE c (id INT DEFAULT NEXTVAL(b))"],
    "sequence changed": ["ALTER SEQUENCE numbers INCREMENT BY 5 CYCLE"],
    "charset of the database": ["ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_swedish_ci"],
}  # fmt: skip

REFUSED = {
    "table": (["DROP TABLE x"], "dropped or renamed the table x"),
    "table renamed": (["RENAME TABLE x TO z"], r"the table x \(`z` has the same definition"),
    "column": ([KEEP, "ALTER TABLE x DROP COLUMN t"], "dropped or renamed `t` of x"),
    "column renamed": (["ALTER TABLE x RENAME COLUMN t TO u"], "dropped or renamed `t` of x"),
    "sequence": (["DROP SEQUENCE s"], "the sequence s"),
    "versioning": (["ALTER TABLE x DROP SYSTEM VERSIONING"], "the system versioning of x"),
    "partition": (["ALTER TABLE p DROP PARTITION p1"], "the partition `p1` of p"),
    "partition with rows": (
        [
            "ALTER TABLE p ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))",
            "INSERT INTO p (id) VALUES (25)",
        ],
        "partition `p2` of p, which was added and holds rows",
    ),
    "narrower": (["ALTER TABLE p MODIFY d DECIMAL(8,1)"], "did not fit as it went from"),
    "text to number": (
        ["ALTER TABLE y MODIFY t INT"],
        r"`t` of y did not fit as it went from varchar\(50\) to int",
    ),
    "plain to generated": (["ALTER TABLE y MODIFY n INT AS (1) STORED"], "generated now"),
    "characters": (
        [
            "SET sql_mode = ''",
            "ALTER TABLE y ALTER b DROP DEFAULT",
            "ALTER TABLE y CONVERT TO CHARACTER SET latin1",
        ],
        "characters of `b` of y that latin1 may lack",
    ),
    "engine": (["ALTER TABLE y ENGINE=MRG_MyISAM"], "the rows of y"),
    "several": (
        ["DROP TABLE x", "ALTER TABLE y DROP COLUMN t", "DROP VIEW seen"],
        "the table x, `t` of y",
    ),
}  # fmt: skip
MADE = {
    "x": "CREATE TABLE x (id INT, t TEXT) WITH SYSTEM VERSIONING",
    "p": "CREATE TABLE p (id INT PRIMARY KEY, d DECIMAL(8,2) DEFAULT 1.25) PARTITION BY RANGE (id) "
    "(PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
    "y": "CREATE TABLE y (id INT, n INT DEFAULT 1, t VARCHAR(50) DEFAULT '007', "
    "b TEXT DEFAULT '日本')",
    "s": "CREATE SEQUENCE s",
}
GONE = ("DROP TABLE IF EXISTS x, y, z, p", "DROP SEQUENCE IF EXISTS s")


@pytest.fixture(scope="module")
def base(mariadb_server: URL) -> Iterator[URL]:
    """One database with something of every kind. Each test takes back what it did."""
    with database_on(mariadb_server) as url:
        run(url, *BASE)
        yield url


@contextmanager
def connected(url: URL) -> Iterator[Connection]:
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:  # which holds on to no table
        yield connection


@pytest.fixture
def connection(base: URL) -> Iterator[Connection]:
    with connected(base) as connection:
        yield connection


def half_of(connection: Connection, before: object) -> Half:
    return Half.found(connection, json.dumps(before), None)


def taken_back(connection: Connection, before: object) -> tuple[str, ...]:
    """Repair, as the mender does; the statements."""
    half = half_of(connection, before)
    statements = half.undo_statements(connection)
    with dialect_of(connection).undoing(connection):
        run_repair(connection, statements)
        half.check(connection)
    return statements


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_what_a_half_made_or_changed_is_taken_back(
    connection: Connection, base: URL, kind: str
) -> None:
    dialect, half = dialect_of(connection), [s.replace("%%", "%") for s in TAKEN_BACK[kind]]
    before = dialect.image(connection)
    held = everything(base)
    run(base, *half)
    assert dialect.differences(before or {}, dialect.image(connection) or {}), "the image sees it"
    assert taken_back(connection, before)
    assert dialect.differences(before or {}, dialect.image(connection) or {}) == [], (
        "the mended revision finds what it found"
    )
    assert everything(base) == held


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_half_lost_is_refused_by_name_and_nothing_is_changed(
    connection: Connection, base: URL, kind: str
) -> None:
    statements, words = REFUSED[kind]
    run(base, *GONE)
    whole = dialect_of(connection).image(connection)
    run(base, *(made for name, made in MADE.items() if f" {name}" in f"{statements} {words}"))
    for name in ("p", "y"):
        if f"table\n{name}" in (dialect_of(connection).image(connection) or {}):
            run(base, f"INSERT INTO {name} (id) VALUES (1)")
    before = dialect_of(connection).image(connection)
    run(base, *statements)
    changed = dialect_of(connection).image(connection)
    with pytest.raises(RepairRefused, match=words):
        taken_back(connection, before)
    assert dialect_of(connection).image(connection) == changed
    run(base, *GONE)
    taken_back(connection, whole)


def everything(url: URL) -> dict[str, list[str]]:
    """The rows of the tables that have some."""
    return {
        name: sorted(map(repr, rows(url, f"SELECT * FROM {name}")))
        for name in ("parent", "item", "kept", "parts")
    }


def test_the_way_back_keeps_what_an_author_made_things_under(
    connection: Connection, base: URL
) -> None:
    run(
        base,
        "SET sql_mode = 'PIPES_AS_CONCAT', NAMES latin1",
        "CREATE DEFINER=someone@nowhere FUNCTION glue() RETURNS TEXT RETURN 'a' || 'b'",
    )
    before = dialect_of(connection).image(connection)
    run(base, "DROP FUNCTION glue")
    taken_back(connection, before)
    query = (
        "SELECT sql_mode, definer, character_set_client FROM information_schema.routines "
        "WHERE routine_name = 'glue' AND routine_schema = DATABASE()"
    )
    assert rows(base, query) == [("PIPES_AS_CONCAT", "someone@nowhere", "latin1")]
    run(base, "DROP FUNCTION glue")
    settings = "SELECT @@sql_mode LIKE 'STRICT_TRANS%%', @@character_set_client, @@time_zone"
    assert tuple(connection.exec_driver_sql(settings).one()) == (1, "utf8mb4", "SYSTEM")


def test_numbers_that_were_taken_are_no_difference(connection: Connection, base: URL) -> None:
    before = dialect_of(connection).image(connection)
    run(base, "DO NEXTVAL(numbers)", "ALTER TABLE item AUTO_INCREMENT = 900")
    assert dialect_of(connection).image(connection) == before
    assert half_of(connection, before).undo_statements(connection) == ()


def test_a_session_that_spells_otherwise_sees_the_same(connection: Connection, base: URL) -> None:
    before = dialect_of(connection).image(connection)
    connection.exec_driver_sql("SET sql_mode = 'ORACLE', sql_quote_show_create = 0")
    assert dialect_of(connection).image(connection) == before
    mode = "SELECT @@sql_mode LIKE '%%ORACLE%%', @@sql_quote_show_create"
    assert tuple(connection.exec_driver_sql(mode).one()) == (1, 0)


def test_an_event_that_ended_by_itself_is_said(connection: Connection, base: URL) -> None:
    run(
        base,
        "CREATE EVENT once ON SCHEDULE AT NOW() + INTERVAL 1 DAY DO SET @a = 1",
    )
    before = dialect_of(connection).image(connection)
    run(base, "DROP EVENT once")
    half = half_of(connection, before)
    assert half.undo_statements(connection) == ()
    assert "Gone is the event once" in half.lines()[0]


def test_an_image_of_an_older_release_knows_tables_only(connection: Connection, base: URL) -> None:
    now = dialect_of(connection).image(connection) or {}
    older = {k.partition("\n")[2]: v for k, v in now.items() if k.startswith("table\n")}
    run(base, "CREATE TABLE b (id INT)", "CREATE VIEW c AS SELECT id FROM b")
    half = half_of(connection, older)
    assert half.undo_statements(connection) == (
        "SET foreign_key_checks = 0",
        "DROP TABLE `b`",
        "SET foreign_key_checks = 1",
    )
    assert "Look yourself for views, triggers, routines" in half.lines()[0]
    taken_back(connection, older)
    run(base, "DROP VIEW c")


def test_a_way_back_that_the_server_refuses_is_said_and_can_go_on(
    connection: Connection, base: URL
) -> None:
    before = dialect_of(connection).image(connection)
    run(
        base,
        "CREATE TABLE b (id INT)",
        "ALTER TABLE item MODIFY n BIGINT, DROP CONSTRAINT small",
        "INSERT INTO item (n, pos) VALUES (5000000000, POINT(1, 1))",
    )
    with pytest.raises(RepairFailed, match=r"failed at `ALTER TABLE .*Out of range.*repair again"):
        taken_back(connection, before)
    run(base, "DELETE FROM item WHERE n > 1000")
    taken_back(connection, before)
    assert dialect_of(connection).image(connection) == before


def test_what_the_way_back_does_not_reach_is_said(connection: Connection, base: URL) -> None:
    before = dialect_of(connection).image(connection)
    # The server writes the size on each key, and keeps it there when the table has none any more.
    run(base, "ALTER TABLE parts ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8")
    with pytest.raises(RepairFailed, match="the table parts would still not be as before"):
        taken_back(connection, before)
    run(base, "ALTER TABLE parts DROP PRIMARY KEY")
    taken_back(connection, before)
