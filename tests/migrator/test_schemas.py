"""A tenant's schema is made, dropped, rehearsed: that alone, whatever is beside it."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy
from headway.dialects import dialect_of
from headway.dialects.search_path import schema_set_by
from headway.dialects.urls import DatabaseURL
from headway.errors import (
    DatabaseExists,
    DatabaseMissing,
    DatabaseUnreachable,
    EnvironmentFailed,
    HeadwayError,
    MigrationFailed,
    StillNeeded,
)
from headway.project import Project
from tests.migrator.making import make_project, rest, rows, run, table

POLICY = Policy(release="tests", lock_wait=2)
BESIDE = (
    "CREATE TABLE public.shared (id INT PRIMARY KEY, name TEXT)",
    "INSERT INTO public.shared VALUES (1, 'everybody''s')",
    "CREATE VIEW public.names AS SELECT name FROM public.shared",
    "CREATE SCHEMA other",
    "CREATE TABLE other.account (id INT PRIMARY KEY)",
    "INSERT INTO other.account VALUES (7)",
)


@pytest.fixture
def shared(postgresql_url: URL) -> URL:
    """A database with tables in public, and another tenant's."""
    run(postgresql_url, *BESIDE)
    return postgresql_url


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


def tenant(url: URL, schema: str = "acme") -> DatabaseURL:
    return DatabaseURL.parse(url.update_query_dict({"schema": schema}))


def schemas(url: URL) -> set[str]:
    query = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'"
    return {name for (name,) in rows(url, query)}


# --- drop -----------------------------------------------------------------------------------------

OWN = (
    "CREATE TYPE acme.mood AS ENUM ('a', 'b')",
    "CREATE DOMAIN acme.amount AS numeric CHECK (VALUE > 0)",
    "CREATE TYPE acme.pair AS (x int, y acme.mood)",
    "CREATE TABLE acme.account (id INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood acme.mood,"
    " number SERIAL, shared INT REFERENCES public.shared, big TEXT)",
    "CREATE TABLE acme.parts (id INT) PARTITION BY RANGE (id)",
    "CREATE TABLE acme.part PARTITION OF acme.parts FOR VALUES FROM (0) TO (9)",
    "CREATE INDEX ON acme.parts (id)",
    "CREATE VIEW acme.all_names AS SELECT a.id, s.name FROM acme.account a, public.shared s",
    "CREATE MATERIALIZED VIEW acme.kept AS SELECT * FROM acme.all_names",
    "CREATE FUNCTION acme.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER g BEFORE INSERT ON acme.account FOR EACH ROW EXECUTE FUNCTION acme.f()",
    "CREATE RULE r AS ON UPDATE TO acme.account DO ALSO NOTIFY x",
    "CREATE POLICY p ON acme.account USING (true)",
    "CREATE STATISTICS acme.s ON mood, number FROM acme.account",
    "CREATE PUBLICATION p FOR TABLE acme.account, public.shared",
    "CREATE CAST (acme.mood AS int) WITH INOUT",
    "CREATE EXTENSION pg_trgm SCHEMA acme",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA acme GRANT SELECT ON TABLES TO PUBLIC",
    "GRANT ALL ON SCHEMA acme TO PUBLIC",
    "COMMENT ON TABLE acme.account IS 'a'",
)
"""All that a tenant may have in its schema, or about it."""

NEEDED = {
    "view public.v": ("CREATE VIEW public.v AS SELECT * FROM acme.t",),
    "view public.w": ("CREATE VIEW acme.v AS SELECT 1 x", "CREATE VIEW w AS SELECT x FROM acme.v"),
    "materialized view other.v": ("CREATE MATERIALIZED VIEW other.v AS SELECT id FROM acme.t",),
    "table constraint fk on other.u": (
        "CREATE TABLE other.u (id INT CONSTRAINT fk REFERENCES acme.t)",
    ),
    "table column public.shared.mood": (
        "CREATE TYPE acme.mood AS ENUM ('a')",
        "ALTER TABLE public.shared ADD mood acme.mood",
    ),
    "table column public.shared.amount": (
        "CREATE DOMAIN acme.amount AS int",
        "ALTER TABLE public.shared ADD amount acme.amount",
    ),
    "default value for public.shared.id": (
        "CREATE FUNCTION acme.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE public.shared ALTER id SET DEFAULT acme.f()",
    ),
    "default value for public.shared.name": (
        "CREATE SEQUENCE acme.q",
        "ALTER TABLE public.shared ALTER name SET DEFAULT nextval('acme.q')::text",
    ),
    "trigger g on public.shared": (
        "CREATE FUNCTION acme.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER g BEFORE INSERT ON shared FOR EACH ROW EXECUTE FUNCTION acme.f()",
    ),
    "policy p on public.shared": (
        "CREATE FUNCTION acme.f() RETURNS bool LANGUAGE sql AS 'SELECT true'",
        "CREATE POLICY p ON public.shared USING (acme.f())",
    ),
    "rule r on public.shared": (
        "CREATE RULE r AS ON INSERT TO shared DO ALSO INSERT INTO acme.t VALUES (1)",
    ),
    "table constraint c on public.shared": (
        "CREATE FUNCTION acme.f(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
        "ALTER TABLE public.shared ADD CONSTRAINT c CHECK (acme.f(id))",
    ),
    "domain constraint c on public.d": (
        "CREATE FUNCTION acme.f(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
        "CREATE DOMAIN public.d AS int CONSTRAINT c CHECK (acme.f(VALUE))",
    ),
    "index public.i": (
        "CREATE FUNCTION acme.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX i ON public.shared (acme.f(id))",
    ),
    "table public.child": ("CREATE TABLE public.child () INHERITS (acme.t)",),
    "table public.part": (
        "CREATE TABLE acme.parts (id INT) PARTITION BY LIST (id)",
        "CREATE TABLE public.part PARTITION OF acme.parts FOR VALUES IN (1)",
    ),
    "function public.g(acme.mood)": (
        "CREATE TYPE acme.mood AS ENUM ('a')",
        "CREATE FUNCTION public.g(acme.mood) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "function public.h()": (
        "CREATE FUNCTION h() RETURNS SETOF acme.t LANGUAGE sql AS 'SELECT * FROM acme.t'",
    ),
    "composite type column public.c.x": (
        "CREATE TYPE acme.mood AS ENUM ('a')",
        "CREATE TYPE public.c AS (x acme.mood)",
    ),
    "statistics object public.s": ("CREATE STATISTICS public.s ON id, more FROM acme.t",),
    "event trigger e": (
        "CREATE FUNCTION acme.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION acme.e()",
    ),
    "cast": (
        "CREATE TYPE public.one AS ENUM ('a')",
        "CREATE FUNCTION acme.c(public.one) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1'",
        "CREATE CAST (public.one AS int) WITH FUNCTION acme.c(public.one)",
    ),
    "table column public.shared.word": (
        "CREATE EXTENSION citext SCHEMA acme",
        "ALTER TABLE public.shared ADD word acme.citext",
    ),
    "operator public.###(": (
        "CREATE FUNCTION acme.o(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OPERATOR public.### (FUNCTION = acme.o, LEFTARG = int, RIGHTARG = int)",
    ),
    "aggregate public.total(integer)": (
        "CREATE FUNCTION acme.a(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE AGGREGATE public.total(int) (SFUNC = acme.a, STYPE = int)",
    ),
}
"""What others have, by what is told of it, and how it comes to depend on the schema."""


def test_a_schema_goes_alone_with_all_that_is_in_it(shared: URL) -> None:
    before = rest(shared)
    run(shared, "CREATE SCHEMA acme", *OWN)
    places.drop(Address.of(tenant(shared)), POLICY)
    run(shared, "DROP PUBLICATION p")
    assert schemas(shared) == {"public", "other"}
    assert rest(shared) == before


@pytest.mark.parametrize("told", NEEDED)
def test_what_others_have_that_depends_on_it_keeps_it(shared: URL, told: str) -> None:
    run(shared, "CREATE SCHEMA acme", "CREATE TABLE acme.t (id INT PRIMARY KEY, more INT)")
    run(shared, *NEEDED[told])
    before = rest(shared, schema="nobody's")
    with pytest.raises(StillNeeded, match="Nothing was dropped") as refused:
        places.drop(Address.of(tenant(shared)), POLICY)
    assert told in str(refused.value)
    assert "acme.t," not in str(refused.value)
    assert rest(shared, schema="nobody's") == before


def test_a_cascade_would_have_taken_each_of_these(shared: URL) -> None:
    """So the test above can fail: the database's image before and after a real one differs."""
    for told, statements in NEEDED.items():
        run(shared, "CREATE SCHEMA acme", "CREATE TABLE acme.t (id INT PRIMARY KEY, more INT)")
        run(shared, *statements)
        engine = sa.create_engine(shared, poolclass=sa.NullPool)
        with engine.connect() as connection, connection.begin() as transaction:
            dialect = dialect_of(shared)
            before = dialect.image(connection) or {}
            connection.exec_driver_sql("DROP SCHEMA acme CASCADE")
            after = dialect.image(connection) or {}
            transaction.rollback()
        gone = [key for key in dialect.differences(before, after) if "\nacme" not in key]
        assert gone, told
        run(shared, "DROP SCHEMA acme, public, other CASCADE", "CREATE SCHEMA public", *BESIDE)


def test_public_and_the_servers_own_schemas_are_neither_made_nor_dropped(shared: URL) -> None:
    before = rest(shared, schema="nobody's")
    for text in ("schema=public", "options=-csearch_path%3Dpublic,acme", "schema=pg_catalog"):
        url = DatabaseURL.parse(f"{shared.render_as_string(hide_password=False)}?{text}")
        for act in (places.make, lambda one: places.drop(one, POLICY), places.is_there):
            with pytest.raises(StillNeeded, match="belongs to all of a database"):
                act(Address.of(url))
        with pytest.raises(StillNeeded):
            dialect_of(url).drop(url)
    assert rest(shared, schema="nobody's") == before


def test_a_schema_that_is_used_is_not_waited_for_without_end(shared: URL) -> None:
    run(shared, "CREATE SCHEMA acme", "CREATE TABLE acme.t (id INT)")
    policy = Policy(release="tests", lock_wait=1, lock_timeout=0.5)
    engine = sa.create_engine(shared, poolclass=sa.NullPool)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("SELECT * FROM acme.t")
        with pytest.raises(HeadwayError, match=r"gave up after|lock timeout"):
            places.drop(Address.of(tenant(shared)), policy)
    assert "acme" in schemas(shared)
    places.drop(Address.of(tenant(shared)), policy)
    assert "acme" not in schemas(shared)


# --- what an env.py sets --------------------------------------------------------------------------

UNDERSTOOD = (
    *("SET search_path TO É", "SELECT set_config('search_path', 'É', false)"),
    *("SET search_path TO a", "set LOCAL search_path=A, public;", "SET search_path TO 'A', 'a'"),
    *('SET search_path = "A"', "SET SESSION search_path TO a$b", 'SET search_path TO "a""b"'),
    *("SET search_path TO 'a''b'", 'SET search_path TO "É"', "SET search_path TO 'a, b'"),
    *("SELECT set_config('search_path', 'A', true)", "SET search_path TO defaults"),
    "SELECT pg_catalog.set_config('search_path', '\"A\", public', false);",
)
OTHERS = (
    *("SET search_path TO DEFAULT", "SET search_path TO 'a' 'b'"),
    *("SET search_path TO E'a\\x62'", "SET search_path TO a; SET search_path TO public"),
    *('SET search_path TO U&"\\0061"'),
    "SELECT set_config('search_path', 'a', false), set_config('search_path', 'public', false)",
)


@pytest.mark.parametrize("statement", [*UNDERSTOOD, *OTHERS])
def test_a_statement_that_sets_the_path_is_read_as_the_server_reads_it(
    postgresql_url: URL, statement: str
) -> None:
    names = ("a", "A", "a$b", 'a""b', "a'b", "É", "é", "a, b", "defaults")
    run(postgresql_url, *(f'CREATE SCHEMA "{name}"' for name in names))
    engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
    with engine.connect() as connection, contextlib.suppress(sa.exc.ProgrammingError):
        connection.exec_driver_sql(statement.replace("%", "%%"))
        begins = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        assert schema_set_by(statement) in (None, begins)
    assert (schema_set_by(statement) is None) == (statement in OTHERS)


# --- create ---------------------------------------------------------------------------------------


def test_a_schema_is_made_at_head_in_a_database_that_is_there(shared: URL, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", r1=table("account"), r2=table("invoice"))
    before = rest(shared)
    sent = []
    for name in ("acme", "Zoe", 'q"x y'):
        steps: list[str] = []
        member = project.at(tenant(shared, name))
        made = member.create(on_step=lambda _number, _total, step, to=steps: to.append(step))
        assert (made, steps) == (("r2",), ["r1", "r2"])
        assert member.status().position == "at_head"
        sent.append(member.plan("base").current)
    assert schemas(shared) == {"public", "other", "acme", "Zoe", 'q"x y'}
    for name in ("acme", "Zoe", 'q"x y'):
        places.drop(Address.of(tenant(shared, name)), POLICY)
    assert rest(shared) == before


def test_the_second_is_replayed_and_is_the_same(shared: URL, tmp_path: Path) -> None:
    """The proven statements are sent, and no revision is run: it would leave a file."""
    up = f"{table('account')}\nop.execute(\"INSERT INTO account VALUES (1, 'a')\")"
    project = make_project(tmp_path / "p", r1=up, r2=table("invoice"))
    for name in ("acme", "zoe"):
        project.at(tenant(shared, name)).create()
    kept = project.memory["recordings"]
    assert [one.why_not for key, of in kept.items() if key[-1] == () for one in of] == [None]
    engine = sa.create_engine(shared, poolclass=sa.NullPool)
    with engine.connect() as connection:
        image = dialect_of(shared).image(connection) or {}
    mine, theirs = (
        {key.replace(f"{name}.", ""): value.replace(f"{name}.", "") for key, value in image.items()
         if f"{name}." in key and "comment" not in key}
        for name in ("acme", "zoe")
    )  # fmt: skip
    assert mine
    assert mine == theirs
    assert rows(shared, "SELECT * FROM zoe.account") == [(1, "a")]
    assert rows(shared, "SELECT * FROM zoe.alembic_version") == [("r2",)]


def test_one_that_is_there_is_left_alone(shared: URL, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", r1=table("account"))
    run(shared, "CREATE SCHEMA acme")
    before = rest(shared, "nobody's")
    with pytest.raises(DatabaseExists, match="a schema acme already"):
        project.at(tenant(shared)).create()
    assert rest(shared, "nobody's") == before
    missing = shared.set(database=f"{shared.database}_missing")
    with pytest.raises(DatabaseMissing, match="Create the database first"):
        project.at(tenant(missing)).create()
    assert not dialect_of(missing).exists(missing)
    assert not places.is_there(Address.of(tenant(missing)))
    with pytest.raises(DatabaseUnreachable):
        places.is_there(Address.of(tenant(shared.set(port=1))))


def test_of_two_at_once_one_makes_it(shared: URL, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", r1=table("account"))
    told: list[str] = []
    ready = threading.Barrier(4)

    def create() -> None:
        ready.wait()
        try:
            project.at(tenant(shared)).create()
            told.append("made")
        except DatabaseExists:
            told.append("there")

    threads = [threading.Thread(target=create) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(told) == ["made", "there", "there", "there"]
    assert rows(shared, "SELECT count(*) FROM acme.account") == [(0,)]


def test_a_schema_whose_revision_fails_is_gone_again(shared: URL, tmp_path: Path) -> None:
    bad = "op.execute('CREATE TABLE public.beside (id INT)')\nop.execute('SELECT 1/0')"
    project = make_project(tmp_path / "p", r1=table("account"), r2=bad)
    before = rest(shared)
    with pytest.raises(MigrationFailed, match="division by zero") as failed:
        project.at(tenant(shared)).create()
    assert "outside" not in str(failed.value)
    assert schemas(shared) == {"public", "other"}
    assert rest(shared) == before


def test_what_a_failed_one_leaves_outside_is_said(shared: URL, tmp_path: Path) -> None:
    first = "op.execute('CREATE TABLE public.beside (id INT)')"
    alone = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')"
    project = make_project(tmp_path / "p", r1=first, r2=alone, r3="op.execute('SELECT 1/0')")
    with pytest.raises(HeadwayError, match="made outside of it stays"):
        project.at(tenant(shared)).create()
    assert schemas(shared) == {"public", "other"}
    assert rows(shared, "SELECT count(*) FROM public.beside") == [(0,)]
    run(shared, "DROP TABLE public.beside")
    write = "op.execute('CREATE VIEW public.v AS SELECT 1 AS x FROM alembic_version')"
    project = make_project(tmp_path / "q", r1=write, r2=alone, r3="op.execute('SELECT 1/0')")
    with pytest.raises(HeadwayError, match=r"schema acme.* stays: .*view public\.v"):
        project.at(tenant(shared)).create()
    assert schemas(shared) == {"public", "other", "acme"}


@pytest.mark.parametrize("path", ["acme,public", "acme,other"])
def test_a_new_one_is_not_taken_for_what_its_path_shows(
    shared: URL, tmp_path: Path, path: str
) -> None:
    """Names without a schema are looked for in all of a path: also the version table."""
    project = make_project(tmp_path / "p", r1=table("account"), r2=table("invoice"))
    beside = path.partition(",")[2]
    run(
        shared,
        f"CREATE TABLE {beside}.alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
        f"INSERT INTO {beside}.alembic_version VALUES ('r1')",
    )
    before = rest(shared)
    url = shared.update_query_dict({"options": f"-csearch_path={path}"})
    with pytest.raises(HeadwayError, match=f"alembic_version.*{beside}"):
        project.at(url).create()
    assert rest(shared) == before
    assert "acme" not in schemas(shared)
    run(shared, "CREATE SCHEMA acme")
    with pytest.raises(HeadwayError, match=f"alembic_version.*{beside}"):
        project.at(url).upgrade()
    with pytest.raises(HeadwayError, match=f"alembic_version.*{beside}"):
        project.at(url).status()
    assert rest(shared) == before
    run(shared, f"DROP TABLE {beside}.alembic_version")
    project.at(url).upgrade()
    assert rows(shared, "SELECT version_num FROM acme.alembic_version") == [("r2",)]


# --- rehearse -------------------------------------------------------------------------------------


def test_a_rehearsal_copies_no_other_tenant_and_leaves_nothing(
    shared: URL, tmp_path: Path, stack: ExitStack
) -> None:
    up = "op.execute('ALTER TABLE account ADD x INT')"
    project = make_project(tmp_path / "p", r1=table("account"), r2=up)
    member = project.at(tenant(shared))
    member.create("r1")
    project.at(tenant(shared, "zoe")).create("r1")
    before = rest(shared, "nobody's")
    copies = "SELECT datname FROM pg_database WHERE starts_with(datname, 'headway_rehearsal')"
    engine = sa.create_engine(tenant(shared, "zoe"), poolclass=sa.NullPool)
    for use in ("idle", "used"):  # by the other one
        told = member.rehearse(member.plan())
        assert (told.failed, told.locks) == (None, ("AccessExclusiveLock on account",))
        assert told.place == "the schema itself, in a transaction that was rolled back"
        assert rest(shared, "nobody's") == before
        assert rows(shared, copies) == []
        if use == "idle":
            stack.enter_context(engine.connect()).exec_driver_sql("UPDATE account SET id = 1")


def test_a_rehearsal_waits_for_nobody_without_end(shared: URL, tmp_path: Path) -> None:
    """It would make everybody wait who comes after it."""
    up = "op.execute('ALTER TABLE account ADD x INT')"
    project = make_project(tmp_path / "p", r1=table("account"), r2=up)
    project.at(tenant(shared)).create("r1")
    member = project.at(tenant(shared), lock_timeout=0.3, lock_wait=1)
    engine = sa.create_engine(tenant(shared), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM account")
        assert "lock timeout" in str(member.rehearse(member.plan()).failed)
    assert member.status().current == ("r1",)


def test_what_cannot_be_in_a_transaction_is_said_not_to_be_rehearsed(
    shared: URL, tmp_path: Path
) -> None:
    alone = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')"
    project = make_project(tmp_path / "p", r1=table("account"), r2=alone)
    member = project.at(tenant(shared))
    member.create("r1")
    before = rest(shared, "nobody's")
    told = member.rehearse(member.plan())
    assert "r2 has an `autocommit_block`, and a tenant" in (told.failed or "")
    assert "cannot be rehearsed here" in (told.failed or "")
    assert rest(shared, "nobody's") == before


# --- where versions are kept ----------------------------------------------------------------------

SHARED_VERSIONS = """
from alembic import context
from sqlalchemy import engine_from_config, pool
tenant = context.get_x_argument(as_dictionary=True).get("tenant", "")
engine = engine_from_config({{"url": context.config.get_main_option("sqlalchemy.url")}}, prefix="")
with engine.connect() as connection:
    context.configure(
        connection=connection, version_table={table}, version_table_schema="admin")
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.mark.parametrize("name", ['"version_" + tenant', 'tenant + "_alembic_version"'])
def test_versions_of_all_may_be_in_one_schema_a_table_for_each(
    shared: URL, tmp_path: Path, name: str
) -> None:
    make_project(tmp_path / "p", r1=table("account"), r2=table("invoice"))
    (tmp_path / "p" / "env.py").write_text(SHARED_VERSIONS.format(table=name))
    project = Project.load(tmp_path / "p")
    run(shared, "CREATE SCHEMA admin")
    acme = project.at(tenant(shared), {"tenant": "acme"})
    zoe = project.at(tenant(shared, "zoe"), {"tenant": "zoe"})
    acme.create()
    zoe.create("r1")
    assert (acme.status().current, zoe.status().current) == (("r2",), ("r1",))
    assert len(rows(shared, "SELECT 1 FROM pg_tables WHERE tablename ~ '^version_|_version$'")) == 2
    # The x of another: it would be told to be where that is.
    with pytest.raises(EnvironmentFailed, match="keeps versions in the schema admin"):
        project.at(tenant(shared, "zoe"), {"tenant": "acme"}).status()
    places.drop(acme.address, POLICY)
    with pytest.raises(EnvironmentFailed, match="left by an earlier schema"):
        acme.create()
    assert not places.is_there(acme.address)
    run(shared, "CREATE SCHEMA acme")
    for ask in (acme.status, acme.upgrade):
        with pytest.raises(EnvironmentFailed, match="left by an earlier schema"):
            ask()
    assert zoe.upgrade().after == ("r2",)


def test_one_table_for_the_versions_of_all_is_refused(shared: URL, tmp_path: Path) -> None:
    """Alembic cannot tell tenants apart there: each is where the last one was moved to."""
    make_project(tmp_path / "p", r1=table("account"))
    (tmp_path / "p" / "env.py").write_text(SHARED_VERSIONS.format(table='"alembic_version"'))
    project = Project.load(tmp_path / "p")
    run(shared, "CREATE SCHEMA admin")
    before = rest(shared)
    member = project.at(tenant(shared), {"tenant": "acme"})
    with pytest.raises(EnvironmentFailed, match="version_table='version_acme'"):
        member.create()
    assert rest(shared) == before
    assert not places.is_there(member.address)


# --- what is beside, in public --------------------------------------------------------------------


def test_public_is_not_compared_adopted_or_brought_to_models(shared: URL, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", r1=table("account"), r2=table("invoice"))
    run(shared, "CREATE TABLE public.account (id TEXT)", "CREATE TABLE public.invoice (x INT)")
    member = project.at(tenant(shared))
    member.create()
    before = rest(shared)
    drift = member.check()
    assert drift.differences == ()
    run(shared, "ALTER TABLE acme.account ADD more INT")
    assert member.check().differences
    run(shared, "ALTER TABLE acme.account DROP more", "DROP TABLE acme.alembic_version")
    assert member.adopt().revisions == ("r2",)
    assert member.downgrade("r1").after == ("r1",)
    assert rows(shared, "SELECT count(*) FROM public.invoice") == [(0,)]
    metadata = sa.MetaData()
    sa.Table("account", metadata, sa.Column("id", sa.Integer, primary_key=True))
    changes = member.sync(metadata, drop=True)
    assert {one.says for one in changes.changes} == {
        "drop table invoice",
        "drop column account.name",
    }
    assert member.sync(sa.MetaData(), drop=True).changes
    assert rest(shared) == before
    assert schemas(shared) == {"public", "other", "acme"}
