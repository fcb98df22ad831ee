"""Half of a revision on SQLite, kind by kind: taken back exactly, or refused by name."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from headway.dialects import dialect_of
from headway.errors import RepairFailed, RepairRefused
from headway.execution.half import Half, run_repair

BASE = """
CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER, t TEXT);
CREATE TABLE sqliteXlike (id INTEGER);
CREATE INDEX by_n ON item (n DESC) WHERE n > 0;
CREATE VIEW seen AS SELECT id, n FROM item;
CREATE VIEW above AS SELECT n FROM seen;
CREATE TRIGGER tell AFTER INSERT ON item BEGIN UPDATE item SET t = 'new' WHERE id = NEW.id; END;
CREATE VIRTUAL TABLE words USING fts5(t);
INSERT INTO item (n) VALUES (1);
INSERT INTO words VALUES ('one');
"""
TAKEN_BACK = {
    "table": ["CREATE TABLE b (id INTEGER PRIMARY KEY) STRICT", "CREATE INDEX c ON b (id)"],
    "without rowid": ['CREATE TABLE "o\'d ""d" (id INTEGER PRIMARY KEY) WITHOUT ROWID'],
    "name like the engine's": ["CREATE TABLE sqlite1 (id INTEGER)"],
    "virtual": ["CREATE VIRTUAL TABLE b USING fts5(x)"],
    "r*tree": ["CREATE VIRTUAL TABLE b USING rtree(id, x, y)"],
    "index": ["CREATE INDEX b ON item (lower(t))"],
    "index gone": ["DROP INDEX by_n"],
    "view": ["CREATE VIEW b AS SELECT 1 AS x", "CREATE VIEW a AS SELECT x FROM b"],
    "views gone": ["DROP VIEW seen", "DROP VIEW above"],
    "view changed": ["DROP VIEW seen", "CREATE VIEW seen AS SELECT n FROM item"],
    "trigger": ["DROP TRIGGER tell"],
    "trigger on a view": ["CREATE TRIGGER b INSTEAD OF DELETE ON seen BEGIN SELECT 1; END"],
    "header": ["PRAGMA user_version = 9", "PRAGMA application_id = 7"],
}
REFUSED = {
    "table": ["DROP TABLE item"],
    "column": ["ALTER TABLE item ADD COLUMN m INTEGER"],
    "renamed": ["ALTER TABLE item RENAME TO other"],
    "virtual": ["DROP TABLE words"],
    "name like the engine's": ["DROP TABLE sqliteXlike"],
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "one.sqlite"
    with sqlite3.connect(path) as raw:
        raw.executescript(BASE)
    raw.close()
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    dialect_of(engine).prepare(engine)
    with engine.connect().execution_options(write=True) as connection:
        yield connection


def done(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def taken_back(connection: Connection, before: object) -> tuple[str, ...]:
    half = Half.found(connection, json.dumps(before), None)
    statements = half.undo_statements(connection)
    run_repair(connection, statements)
    half.check(connection)
    return statements


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_what_a_half_made_or_changed_is_taken_back(connection: Connection, kind: str) -> None:
    before = dialect_of(connection).image(connection)
    done(connection, TAKEN_BACK[kind])
    assert dialect_of(connection).image(connection) != before, "the image sees it"
    assert taken_back(connection, before)
    assert dialect_of(connection).image(connection) == before
    done(connection, TAKEN_BACK[kind])  # the mended revision


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_half_lost_is_refused_by_name(connection: Connection, kind: str) -> None:
    before = dialect_of(connection).image(connection)
    name = REFUSED[kind][0].split()[2]
    done(connection, REFUSED[kind])
    with pytest.raises(RepairRefused, match=f"dropped or changed .*the table {name}"):
        taken_back(connection, before)


def test_what_the_way_back_does_not_reach_is_said(connection: Connection) -> None:
    before = dialect_of(connection).image(connection) or {}
    otherwise = {**before, "pragma auto_vacuum": "1"}  # which a file takes on only when it is new
    with pytest.raises(RepairFailed, match=r"the pragma auto_vacuum .*rolled back"):
        taken_back(connection, otherwise)


def test_an_image_of_an_older_release_knows_no_header(connection: Connection) -> None:
    now = dialect_of(connection).image(connection) or {}
    older = {key: value for key, value in now.items() if not key.startswith("pragma ")}
    half = Half.found(connection, json.dumps(older), None)
    assert half.undo_statements(connection) == ()
    assert half.lines() == ()
