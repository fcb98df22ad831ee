"""A copy of a MariaDB database: the same in everything, standing on nothing of the original."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.engine import URL

from headway.dialects import dialect_of
from headway.dialects.driver import closing, open_raw
from headway.dialects.mysql import copy as mysql_copy
from headway.dialects.mysql import image as mysql_image
from headway.errors import CopyFailed
from tests.conftest import database_on
from tests.migrator.making import rows, run
from tests.migrator.making_mariadb import BASE

MORE = (
    "UPDATE kept SET n = 2",
    "SET system_versioning_alter_history = 'KEEP'",
    "ALTER TABLE kept ADD COLUMN later INT DEFAULT 3 INVISIBLE",
    "CREATE TABLE named (id INT, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, "
    "e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) "
    "WITH SYSTEM VERSIONING",
    "INSERT INTO named (id) VALUES (1)",
    "UPDATE named SET id = 2",
    "CREATE TABLE counted (id INT DEFAULT NEXTVAL(numbers), u UUID DEFAULT UUID(), "
    "j JSON DEFAULT '{\"a\": 1}', b VARBINARY(9) DEFAULT X'004A', z INT AUTO_INCREMENT PRIMARY KEY)",
    "INSERT INTO counted (j) VALUES ('[]'), ('{}')",
    "ALTER TABLE counted AUTO_INCREMENT = 500",
    "CREATE TABLE `100% ``übrig``` (`a``b` VARCHAR(20) CHARACTER SET latin1)",
    "INSERT INTO `100% ``übrig``` VALUES ('Grüße')",
    "DO NEXTVAL(numbers)",
    "CREATE TABLE old (id INT, z DATE DEFAULT '0000-00-00')",
    "CREATE FUNCTION named_here() RETURNS INT READS SQL DATA "
    "RETURN (SELECT max(n) FROM {here}.parent AS p) /* {here}.parent */",
    "CREATE VIEW says AS SELECT '{here}.parent' AS text, named_here() AS n FROM {here}.parent",
    "CREATE TRIGGER third AFTER INSERT ON parent FOR EACH ROW INSERT INTO `{here}`.old (id) "
    "VALUES (NEW.id)",
)  # fmt: skip


@pytest.fixture(scope="module")
def original(mariadb_server: URL) -> Iterator[URL]:
    with database_on(mariadb_server, "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci") as url:
        here = f"{url.database}"
        run(
            url,
            *(s for s in BASE if "100%" not in s),
            "SET sql_mode = ''",
            *(statement.replace("{here}", here) for statement in MORE),
        )
        yield url


@pytest.fixture
def target(mariadb_server: URL) -> Iterator[URL]:
    with database_on(mariadb_server) as url:
        dialect_of(url).drop(url)
        yield url


def image(url: URL) -> dict[str, str]:
    with closing(open_raw(url)) as raw:
        return mysql_image.read(raw, str(url.database), without=())


def test_a_copy_is_the_same_and_stands_on_nothing_of_the_original(
    original: URL, target: URL
) -> None:
    here = str(original.database)
    before = image(original)
    dialect_of(target).make(target, original)
    assert image(original) == before
    copied = image(target)
    assert copied.keys() == before.keys()
    for table in ("parent", "item", "counted", "`100% ``übrig```", "old"):
        query = f"SELECT * FROM {table}".replace("%", "%%")
        assert rows(target, query) == rows(original, query)
    for table in ("kept", "named"):
        query = f"SELECT *, row_start, row_end FROM {table} FOR SYSTEM_TIME ALL ORDER BY 2, 3"
        query = query if table == "kept" else query.replace(", row_start, row_end", "")
        assert rows(target, query) == rows(original, query)
        assert len(rows(target, query)) == 2
    counter = "SELECT auto_increment FROM information_schema.tables WHERE table_name = 'counted' "
    assert rows(target, f"{counter} AND table_schema = DATABASE()") == [(500,)]
    run(target, "INSERT INTO parent VALUES (77, 100)")
    assert rows(target, "SELECT text, n FROM says LIMIT 1") == [(f"{here}.parent", 202)]
    assert rows(target, "SELECT id FROM old") == [(77,)]
    assert rows(original, "SELECT n FROM says LIMIT 1") == [(1,)]
    assert rows(original, "SELECT id FROM old") == []
    taken = rows(original, "SELECT next_not_cached_value FROM numbers")
    run(target, "INSERT INTO counted (z) VALUES (NULL)")
    assert rows(original, "SELECT next_not_cached_value FROM numbers") == taken


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            "CREATE PROCEDURE dynamic() EXECUTE IMMEDIATE 'DELETE FROM `{here}`.parent'",
            "The procedure dynamic names .* within a text",
        ),
        (
            "CREATE DEFINER=root@127.0.0.1 VIEW broken AS SELECT id FROM {here}.gone",
            "failed at `CREATE .*broken",
        ),
        ("CREATE TABLE b (id VARBINARY(9) DEFAULT X'FF')", "definition of b holds bytes"),
        ("CREATE TABLE far (id INT) ENGINE=MERGE UNION=(gone)", "the table far.*same rows"),
    ],
)
def test_what_would_work_on_the_original_is_refused_by_name(
    mariadb_server: URL, target: URL, made: str, words: str
) -> None:
    with database_on(mariadb_server) as url:
        run(
            url,
            "CREATE TABLE parent (id INT)",
            "CREATE TABLE gone (id INT) ENGINE=MyISAM",
            made.replace("{here}", str(url.database)),
            *["DROP TABLE gone"] * ("VIEW" in made),
        )
        with pytest.raises(CopyFailed, match=words):
            dialect_of(target).make(target, url)
    assert not dialect_of(target).exists(target)


def test_a_copy_that_is_broken_off_has_no_version(
    mariadb_server: URL, target: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, seen = "SELECT version_num FROM alembic_version", []
    real = mysql_copy._stored

    def seen_from_outside(*args: Any) -> None:
        seen.append((rows(target, version), rows(target, "SELECT id FROM zebra")))
        real(*args)

    monkeypatch.setattr(mysql_copy, "_stored", seen_from_outside)
    with database_on(mariadb_server) as url:
        run(
            url,
            "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
            "INSERT INTO alembic_version VALUES ('r001')",
            "CREATE TABLE zebra (id INT) ENGINE=MyISAM",
            "INSERT INTO zebra VALUES (1)",
        )
        dialect_of(target).make(target, url, "alembic_version")
    assert seen == [([], [(1,)])]
    assert rows(target, version) == [("r001",)]
