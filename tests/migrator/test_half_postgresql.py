"""Half of a revision on PostgreSQL, kind by kind: taken back exactly, or refused by name."""

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from headway.dialects import dialect_of
from headway.errors import RepairFailed, RepairRefused
from headway.execution.half import Half, run_repair
from tests.conftest import database_on
from tests.migrator.making import run

BASE = (
    "CREATE SCHEMA extra",
    "CREATE TABLE item (id serial PRIMARY KEY, n integer DEFAULT 7, t text)",
    'CREATE TABLE extra."Odd.name" (id integer GENERATED ALWAYS AS IDENTITY, "a b" text)',
    "CREATE TABLE parts (id integer) PARTITION BY RANGE (id)",
    "CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (1) TO (10)",
    "CREATE TABLE alone (id integer)",
    "CREATE TYPE mood AS ENUM ('ok')",
    "CREATE DOMAIN short AS text CHECK (length(VALUE) < 9)",
    "CREATE TYPE pair AS (a integer, b text)",
    "CREATE SEQUENCE numbers",
    "CREATE VIEW seen AS SELECT id, n FROM item",
    "CREATE VIEW above AS SELECT n FROM seen",
    "COMMENT ON VIEW seen IS 'it''s seen'",
    "GRANT SELECT ON seen TO PUBLIC",
    "CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS c FROM item",
    "CREATE UNIQUE INDEX one_c ON kept (c)",
    "CREATE INDEX by_n ON item (n DESC) WHERE n > 0",
    "CREATE FUNCTION one(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE FUNCTION ends() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "CREATE TRIGGER tell BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION told()",
    "CREATE POLICY mine ON item FOR SELECT USING (n > 0)",
    "CREATE RULE quiet AS ON DELETE TO item DO INSTEAD NOTHING",
    "CREATE STATISTICS two_of ON n, t FROM item",
    "CREATE PUBLICATION news FOR TABLE item",
    "COMMENT ON COLUMN item.n IS 'number'",
)

TAKEN_BACK = {
    "tables": ["CREATE TABLE a (id serial PRIMARY KEY)", "CREATE TABLE b (id int REFERENCES a)"],
    "schema": ["CREATE SCHEMA other", "CREATE TABLE other.x (id int)"],
    "column": ['ALTER TABLE extra."Odd.name" ADD COLUMN "c d" int DEFAULT 3'],
    "default": ["ALTER TABLE item ALTER n DROP DEFAULT, ALTER t SET NOT NULL"],
    "enum": ["CREATE TYPE b AS ENUM ('x')", "CREATE DOMAIN c AS int", "CREATE TYPE d AS (a int)"],
    "view": ["CREATE VIEW b AS SELECT 1 AS x", "CREATE VIEW a AS SELECT x FROM b"],
    "view changed": ["CREATE OR REPLACE VIEW seen AS SELECT id, n, t FROM item"],
    "views gone": ["DROP VIEW above", "DROP VIEW seen"],
    "view parameters": ["ALTER VIEW seen SET (security_barrier = true)"],
    "materialized view gone": ["DROP MATERIALIZED VIEW kept"],
    "index gone": ["DROP INDEX by_n", "CREATE INDEX b ON item (lower(t))"],
    "function": ["CREATE FUNCTION two(b text) RETURNS text LANGUAGE sql AS 'SELECT b'"],
    "function changed": [
        "CREATE OR REPLACE FUNCTION one(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 2'"
    ],
    "function of another result": [
        "DROP FUNCTION one",
        "CREATE FUNCTION one(a integer) RETURNS text LANGUAGE sql AS 'SELECT ''1'''",
    ],
    "trigger": ["DROP TRIGGER tell ON item"],
    "trigger state": ["ALTER TABLE item DISABLE TRIGGER tell"],
    "policy": ["DROP POLICY mine ON item", "CREATE POLICY b ON item USING (true)"],
    "policy changed": ["ALTER POLICY mine ON item USING (n > 5)"],
    "row security": ["ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"],
    "rule": ["DROP RULE quiet ON item"],
    "statistics": ["DROP STATISTICS two_of", "CREATE STATISTICS b ON id, t FROM item"],
    "event trigger": [
        "CREATE EVENT TRIGGER fires ON ddl_command_end WHEN TAG IN ('DROP TABLE') "
        "EXECUTE FUNCTION ends()"
    ],
    "publication": ["CREATE PUBLICATION b FOR TABLE item"],
    "comment": ["COMMENT ON COLUMN item.n IS NULL", "COMMENT ON TABLE item IS 'new'"],
    "comment of a constraint": ["COMMENT ON CONSTRAINT item_pkey ON item IS 'key'"],
    "privileges": [
        "GRANT SELECT, UPDATE ON item TO PUBLIC",
        "REVOKE SELECT ON seen FROM PUBLIC",
        "REVOKE EXECUTE ON FUNCTION one FROM PUBLIC",
        "GRANT INSERT (n) ON item TO PUBLIC",
    ],
    "owner": ["ALTER TABLE alone OWNER TO pg_database_owner"],
    "parameters": ["ALTER TABLE alone SET (fillfactor = 50)"],
    "unlogged": ["ALTER TABLE alone SET UNLOGGED"],
    "attached": ["ALTER TABLE parts ATTACH PARTITION alone FOR VALUES FROM (10) TO (20)"],
    "detached": ["ALTER TABLE parts DETACH PARTITION p1"],
    "partition": ["CREATE TABLE p2 PARTITION OF parts FOR VALUES FROM (10) TO (20)"],
    "sequence": ["CREATE SEQUENCE b", "ALTER SEQUENCE numbers INCREMENT BY 5"],
    "sequence of a column": ["ALTER SEQUENCE item_id_seq CACHE 9"],
    "collation": ["CREATE COLLATION b (locale = 'C')"],
    "operator": [
        "CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq)",
        "CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer)",
    ],
    "cast": ["CREATE CAST (pair AS text) WITH INOUT"],
}  # fmt: skip

REFUSED = {
    "table": (["DROP TABLE alone"], "the table public.alone"),
    "label": (["ALTER TYPE mood ADD VALUE 'soso'"], "the type public.mood"),
    "sequence": (["DROP SEQUENCE numbers"], "the sequence public.numbers"),
    "publication": (["ALTER PUBLICATION news SET (publish = 'insert')"], "the publication news"),
    "default privileges": (
        ["ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"],
        "made the default acl",
    ),
}
SAID = {
    "domain": (["ALTER DOMAIN short SET NOT NULL"], "the details public.short"),
    "composite": (["ALTER TYPE pair ADD ATTRIBUTE c int"], "the details public.pair"),
    "storage": (["ALTER TABLE item ALTER t SET STORAGE EXTERNAL"], "the details public.item.t"),
}


@pytest.fixture(scope="module")
def base(postgresql_server: URL) -> Iterator[URL]:
    """One database with something of every kind. Each test takes back what it did."""
    with database_on(postgresql_server) as url:
        run(url, *BASE)
        yield url


@pytest.fixture
def connection(base: URL) -> Iterator[Connection]:
    """What is done with it is never committed."""
    with sa.create_engine(base, poolclass=sa.NullPool).connect() as connection:
        yield connection
        connection.rollback()


def done(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def taken_back(connection: Connection, before: object) -> tuple[str, ...]:
    half = Half.found(connection, json.dumps(before), None)
    statements = half.undo_statements(connection)
    run_repair(connection, statements)
    half.check(connection)
    return statements


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_what_a_half_made_or_changed_is_taken_back(connection: Connection, kind: str) -> None:
    dialect = dialect_of(connection)
    before = dialect.image(connection)
    done(connection, TAKEN_BACK[kind])
    assert dialect.image(connection) != before, "the image sees it"
    assert taken_back(connection, before)
    assert dialect.image(connection) == before
    done(connection, TAKEN_BACK[kind])  # the mended revision


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_half_lost_is_refused_by_name(connection: Connection, kind: str) -> None:
    statements, words = REFUSED[kind]
    before = dialect_of(connection).image(connection)
    done(connection, statements)
    with pytest.raises(RepairRefused, match=words):
        taken_back(connection, before)


@pytest.mark.parametrize("kind", SAID)
def test_what_the_way_back_does_not_reach_is_said(connection: Connection, kind: str) -> None:
    statements, words = SAID[kind]
    before = dialect_of(connection).image(connection)
    done(connection, statements)
    with pytest.raises(RepairFailed, match=f"{words}.*All of the repair was rolled back"):
        taken_back(connection, before)


def test_numbers_and_figures_are_no_difference(connection: Connection) -> None:
    before = dialect_of(connection).image(connection)
    done(connection, ["SELECT nextval('numbers')", "ANALYZE item", "REINDEX TABLE item"])
    assert dialect_of(connection).image(connection) == before


def test_an_image_of_an_older_release_knows_less(connection: Connection) -> None:
    now = dialect_of(connection).image(connection) or {}
    known = ("table", "view", "column", "index", "constraint", "trigger", "routine", "type")
    more = ("schema", "extension", "sequence", "materialized view")
    older = {k: v for k, v in now.items() if k.partition("\n")[0] in known + more}
    done(connection, ["CREATE TABLE b (id int)"])
    half = Half.found(connection, json.dumps(older), None)
    assert half.undo_statements(connection) == ("DROP TABLE public.b",)
    assert "The release that ran it recorded less" in half.lines()[0]
