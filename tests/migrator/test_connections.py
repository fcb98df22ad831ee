"""What env.py says of its connection holds, or is refused in words: never dropped."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.errors import EnvironmentFailed, MigrationFailed
from headway.scripts.environment import Mode
from headway.types import Position
from tests.migrator.reference import dump
from tests.migrator.team import (
    FROM_CONFIG,
    LISTENER,
    LISTENING,
    TABLE,
    URL_OPTION,
    Team,
    made,
    pg,
)

ACME = {
    "options": ("", made("connect_args={'options': '-c search_path=acme'}"), "pass"),
    "listener on the engine": (
        LISTENER,
        f"listening({made('')})",
        "pass",
    ),
    "listener on the pool": (LISTENER, f"listening({made('')}, 'pool')", "pass"),
    "listener on the class": (
        LISTENER + "event.listen(Engine, 'connect', prepare)\n",
        FROM_CONFIG,
        "pass",
    ),
    "set_config": (
        "",
        FROM_CONFIG,
        "connection.execute(text(\"SELECT set_config('search_path', :name, false)\"), "
        "{'name': 'acme'}); connection.commit()",
    ),
    "the driver's cursor": (
        "",
        FROM_CONFIG,
        "connection.connection.cursor().execute('SET search_path TO acme'); "
        "connection.connection.commit()",
    ),
}


@pytest.mark.parametrize("way", ACME)
def test_the_schema_that_env_py_connects_to_is_migrated(
    team: Team, fresh_url: Callable[[str], URL], way: str
) -> None:
    team.ours, team.theirs = fresh_url("postgresql"), fresh_url("postgresql")
    for url in (team.ours, team.theirs):
        pg(url, "CREATE SCHEMA acme")
    head, engine, before = ACME[way]
    team.two().ini().env(head=head + LISTENING, engine=engine, before=before)
    project = team.load()
    database = project.at(team.ours)

    for target in ("a", "b"):
        assert database.upgrade(target).applied == (target,)
    team.alembic(("upgrade", "a"), ("upgrade", "b"))

    query = "SELECT schemaname::text, tablename::text FROM pg_tables WHERE schemaname IN ('acme', 'public')"
    assert sorted(pg(team.ours, query)) == sorted(pg(team.theirs, query))
    assert {schema for schema, _ in pg(team.ours, query)} == {"acme"}
    assert database.status().position is Position.AT_HEAD
    assert project.environment_for(team.ours).mode is Mode.EXECUTED


def test_the_role_that_env_py_connects_as_owns_what_is_made(
    team: Team, postgresql_url: URL
) -> None:
    role = f"{postgresql_url.database}_owner"
    pg(postgresql_url, f"CREATE ROLE {role}", f"GRANT ALL ON SCHEMA public TO {role}")
    team.two().ini().env(engine=made(f"connect_args={{'options': '-c role={role}'}}"))
    try:
        team.load().at(postgresql_url).upgrade()
        owners = pg(
            postgresql_url,
            "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'",
        )
        assert owners == [(role,)]
    finally:
        pg(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_role_that_env_py_takes_on_looks_where_it_would(team: Team, postgresql_url: URL) -> None:
    role = f"{postgresql_url.database}_tenant"
    pg(postgresql_url, f"CREATE ROLE {role}", f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    team.two().ini().env(before=f"connection.execute(text('SET ROLE {role}')); connection.commit()")
    database = team.load().at(postgresql_url)
    try:
        for target in ("a", "b"):
            assert database.upgrade(target).applied == (target,)
        assert database.status().position is Position.AT_HEAD
        assert database.downgrade("base").applied == ("b", "a")
        tables = "SELECT schemaname::text FROM pg_tables WHERE tablename = 'alembic_version'"
        assert pg(postgresql_url, tables) == [(role,)]
    finally:
        pg(postgresql_url, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_arguments_of_asyncpg_are_told_to_our_driver(team: Team, postgresql_url: URL) -> None:
    pg(postgresql_url, "CREATE SCHEMA acme")
    team.two().ini().env(
        head="""
        from headway.isolation import connecting
        """,
        engine=made("connect_args={'options': '-c search_path=acme'}"),
    )
    from headway.isolation.connecting import Settings

    asyncpg = Settings(driver="asyncpg", arguments={"server_settings": {"search_path": "acme"}})
    assert asyncpg.arguments_for(postgresql_url) == {"options": "-c search_path=acme"}
    with pytest.raises(EnvironmentFailed, match="does not know"):
        Settings(driver="asyncpg", arguments={"loop": 1}).arguments_for(postgresql_url)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (made("creator=lambda: None"), "creator"),
        (made("connect_args={'port': 1}"), "names the server or database"),
        (f"taking_over({FROM_CONFIG})", "do_connect"),
    ],
)
def test_a_connection_that_goes_its_own_way_is_refused(
    team: Team, postgresql_url: URL, engine: str, said: str
) -> None:
    head = """
    from sqlalchemy import event
    def taking_over(engine):
        event.listen(engine, "do_connect", lambda *a: None)
        return engine
    """
    team.two().ini().env(head=head, engine=engine)
    with pytest.raises(EnvironmentFailed, match=said):
        team.load().at(postgresql_url).upgrade()
    assert pg(postgresql_url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


FUNCTION = """
from sqlalchemy import event
def prepare(raw, record):
    raw.create_function("shout", 1, str.upper)
    raw.create_collation("backwards", lambda a, b: (a < b) - (a > b))
def listening(engine):
    event.listen(engine, "connect", prepare)
    return engine
"""
SHOUT = """
op.execute("CREATE TABLE said (what TEXT COLLATE backwards)")
op.execute("CREATE INDEX ix ON said (what)")
op.execute("INSERT INTO said SELECT shout('a') UNION SELECT shout('b')")
"""


@pytest.mark.parametrize(
    ("engine", "before"),
    [
        (f"listening({FROM_CONFIG})", "pass"),
        (FROM_CONFIG, "prepare(connection.connection.dbapi_connection, None)"),
        (FROM_CONFIG, "prepare(connection.connection.driver_connection, None)"),
    ],
)
def test_functions_and_collations_of_env_pys_connection_are_there(
    team: Team, engine: str, before: str
) -> None:
    team.ini().env(head=FUNCTION, engine=engine, before=before)
    team.revision("a", None, SHOUT, "op.execute('DROP TABLE said')")

    assert team.load().at(team.ours).upgrade().after == ("a",)

    with sqlite3.connect(team.ours.database or "") as own:
        assert sorted(own.execute("SELECT what FROM said NOT INDEXED")) == [("A",), ("B",)]


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
def test_sqlalchemys_recipe_for_transactions_of_sqlite_works(team: Team, begin: str) -> None:
    head = f"""
    from sqlalchemy import event
    def recipe(engine):
        @event.listens_for(engine, "connect")
        def connect(raw, record):
            raw.isolation_level = None
        @event.listens_for(engine, "begin")
        def begin(connection):
            connection.exec_driver_sql("{begin}")
        return engine
    """
    team.two().ini().env(head=head, engine=f"recipe({FROM_CONFIG})")
    team.moved()


def test_a_statement_that_a_listener_rewrites_is_the_one_that_runs(team: Team) -> None:
    head = """
    from sqlalchemy import event
    def rewriting(engine):
        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def rewrite(connection, cursor, statement, parameters, context, many):
            return statement.replace("t_b", "t_other"), parameters
        return engine
    """
    team.two().ini().env(head=head, engine=f"rewriting({FROM_CONFIG})")
    team.moved()


def test_options_of_the_connection_hold(team: Team) -> None:
    head = """
    from sqlalchemy import event
    def told(connection, cursor, statement, parameters, context, many):
        options = connection.get_execution_options()
        if "CREATE TABLE t_" in statement:
            assert options.get("tenant") == "acme", options
    def told_of(engine):
        event.listen(engine, "before_cursor_execute", told)
        return engine
    """
    for where in ("engine", "connection"):
        other = Team(team.root.parent / where)
        way = ".execution_options(tenant='acme')"
        engine = f"told_of({FROM_CONFIG})" + (way if where == "engine" else "")
        before = f"connection = connection{way}" if where == "connection" else "pass"
        other.two().ini().env(head=head, engine=engine, before=before)
        other.moved()


def test_a_listener_on_the_connection_itself_holds(team: Team) -> None:
    team.two().ini().env(
        head="from sqlalchemy import event\nheard = []",
        before="""
        event.listen(connection, "before_cursor_execute", lambda c, k, s, *a: heard.append(s))
        import builtins
        builtins.heard_by_the_team = heard
        """,
    )
    import builtins

    team.load().at(team.ours).upgrade()

    assert any("CREATE TABLE t_a" in one for one in builtins.heard_by_the_team)  # type: ignore[attr-defined]
    del builtins.heard_by_the_team  # type: ignore[attr-defined]


def test_an_option_that_env_py_adds_to_the_url_holds(team: Team, mariadb_url: URL) -> None:
    team.ini().env(
        engine=f"create_engine({URL_OPTION} + '?charset=latin1', poolclass=pool.NullPool)"
    ).revision("a", up="op.execute('CREATE TABLE t AS SELECT @@character_set_client AS n')")
    team.load().at(mariadb_url).upgrade()
    connection = sa.create_engine(mariadb_url, poolclass=sa.NullPool).connect()
    with connection:
        assert connection.scalar(sa.text("SELECT n FROM t")) == "latin1"


def test_a_listener_that_fails_is_told_in_words(team: Team) -> None:
    team.two().ini().env(
        head="""
        from sqlalchemy import event
        def prepared(engine):
            event.listen(engine, "connect", lambda raw, record: raw.no_such_method())
            return engine
        """,
        engine=f"prepared({FROM_CONFIG})",
    )
    with pytest.raises(EnvironmentFailed, match="no_such_method"):
        team.load().at(team.ours).upgrade()


def test_what_a_listener_does_once_for_a_connection_is_done_once(team: Team) -> None:
    team.env(
        head="""
        from sqlalchemy import event
        def attached(engine):
            @event.listens_for(engine, "connect")
            def attach(raw, record):
                raw.execute("ATTACH ':memory:' AS beside")
                raw.execute("CREATE TABLE beside.seven AS SELECT 7 AS n")
                raw.commit()
            return engine
        """,
        engine=f"attached({FROM_CONFIG})",
    ).revision("a", up="op.execute('CREATE TABLE t AS SELECT n FROM beside.seven')").ini()
    team.moved()
    assert sqlite3.connect(str(team.ours.database)).execute("SELECT n FROM t").fetchall() == [(7,)]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_what_a_listener_notes_of_a_connection_is_there_for_the_next(
    team: Team, fresh_url: Callable[[str], URL], dialect: str
) -> None:
    """As a program does that must not share connections with processes it forks."""
    team.ours, team.theirs = fresh_url(dialect), fresh_url(dialect)
    team.env(
        head="""
        from sqlalchemy import event
        def guarded(engine):
            @event.listens_for(engine, "connect")
            def note(raw, record):
                record.info["pid"] = os.getpid()
            @event.listens_for(engine, "checkout")
            def check(raw, record, pooled):
                assert record.info["pid"] == os.getpid()
            return engine
        """,
        engine=f"guarded({FROM_CONFIG})",
    ).two().ini()
    assert team.moved(("upgrade", "heads"), ("downgrade", "base")).after == ()


def test_what_is_done_once_is_done_for_the_next_database_too(team: Team, tmp_path: Path) -> None:
    team.env(
        head="""
        from sqlalchemy import event
        def attached(engine):
            @event.listens_for(engine, "connect", once=True)
            def attach(raw, record):
                raw.execute("ATTACH ':memory:' AS beside")
                raw.execute("CREATE TABLE beside.seven AS SELECT 7 AS n")
                raw.commit()
            return engine
        """,
        engine=f"attached({FROM_CONFIG})",
    ).revision("a", up="op.execute('CREATE TABLE t AS SELECT n FROM beside.seven')").ini()
    project = team.load()
    for name in ("one", "two"):
        assert project.at(tmp_path / f"{name}.db").upgrade().after == ("a",)


@pytest.mark.parametrize("once", ["", ", once=True"], ids=["always", "once"])
@pytest.mark.parametrize("target", ["Engine", "pool.Pool"])
def test_so_is_what_a_listener_of_every_engine_does(team: Team, target: str, once: str) -> None:
    log = team.root / "log"
    team.env(
        head=f"""
        import sqlite3
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        @event.listens_for({target}, "connect"{once})
        def attach(raw, record):
            if isinstance(raw, sqlite3.Connection):
                raw.execute("ATTACH ':memory:' AS beside")
                raw.execute("CREATE TABLE beside.seven AS SELECT 7 AS n")
                raw.commit()
                with open({str(log)!r}, "a") as out:
                    out.write(".")
        """,
    )
    up, down = "CREATE TABLE t AS SELECT n FROM beside.seven", "DROP TABLE t"
    team.revision("a", up=f"op.execute({up!r})", down=f"op.execute({down!r})").ini()
    team.moved()
    assert sqlite3.connect(str(team.ours.database)).execute("SELECT n FROM t").fetchall() == [(7,)]
    database = team.load().at(team.ours)
    calls = []
    for move in (database.downgrade, database.upgrade) * 2:
        log.write_text("")
        move("base" if move == database.downgrade else "heads")
        calls.append(len(log.read_text()))
    assert calls == [1, 1, 1, 1], "one connection each time"


@pytest.mark.parametrize(
    "engine",
    [
        made("isolation_level='SERIALIZABLE'"),
        made("", ".execution_options(isolation_level='SERIALIZABLE')"),
    ],
    ids=["create_engine", "execution_options"],
)
def test_the_isolation_level_of_env_pys_engine_holds(
    team: Team, engine: str, postgresql_url: URL
) -> None:
    team.ini().env(engine=engine).revision(
        "a",
        up="""op.execute("CREATE TABLE t AS SELECT current_setting('transaction_isolation') AS n")""",
    )
    team.load().at(postgresql_url).upgrade()
    connection = sa.create_engine(postgresql_url, poolclass=sa.NullPool).connect()
    with connection:
        assert connection.scalar(sa.text("SELECT n FROM t")) == "serializable"


# --- what depends on the database ---------------------------------------------------------------


def test_options_that_depend_on_the_database_are_asked_for_each(team: Team, tmp_path: Path) -> None:
    team.two().ini().env(
        options="version_table='v_' + sa.make_url(config.get_main_option('sqlalchemy.url'))"
        ".database.rpartition('/')[2].partition('.')[0]",
        head="import sqlalchemy as sa",
    )
    project = team.load()
    for name in ("ann", "bob"):
        project.at(tmp_path / f"{name}.db").upgrade()
        assert f"v_{name}" in str(dump(URL.create("sqlite", database=str(tmp_path / f"{name}.db"))))
    assert project.environment_for(team.ours).mode is Mode.EXECUTED


def test_so_are_filters_that_look_at_the_database(team: Team) -> None:
    team.two().ini().env(
        head="""
        database = config.get_main_option("sqlalchemy.url")
        def include(thing, name, kind, reflected, other):
            return name in database
        """,
        options="include_object=include",
    )
    assert team.load().environment.why == "what it configures depends on the database"


def test_so_is_the_schema_that_env_py_sets(team: Team, fresh_url: Callable[[str], URL]) -> None:
    team.two().ini().env(
        before="""
        name = config.get_main_option("sqlalchemy.url").rpartition("/")[2]
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS s_{name}"))
        connection.execute(text(f"SET search_path TO s_{name}"))
        connection.commit()
        """
    )
    project = team.load()
    for url in (fresh_url("postgresql"), fresh_url("postgresql")):
        for target in ("a", "b"):
            assert project.at(url).upgrade(target).applied == (target,)
        assert project.at(url).status().position is Position.AT_HEAD


def test_a_variable_that_env_py_reads_may_change(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.two().ini().env(options="version_table=os.environ['VERSIONS']")
    project = team.load()
    for name in ("one", "two"):
        monkeypatch.setenv("VERSIONS", name)
        project.at(tmp_path / f"{name}.db").upgrade()
        with sqlite3.connect(tmp_path / f"{name}.db") as own:
            assert own.execute(f"SELECT version_num FROM {name}").fetchall() == [("b",)]


# --- programs that hand over their connection -------------------------------------------------


GIVEN = """
from alembic import context
connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("run me from the program, which hands over its connection")
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
"""
GIVEN_OR_MADE = f"""
from alembic import context
from sqlalchemy import create_engine, engine_from_config, event, pool
config = context.config
def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
given = config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = {FROM_CONFIG}
    event.listen(engine, "connect", lambda raw, record: raw.execute("PRAGMA cache_size=7"))
    with engine.connect() as connection:
        run(connection)
"""


def test_an_env_py_that_only_takes_a_connection_gets_one(team: Team) -> None:
    team.two().write("migrations/env.py", GIVEN)
    project = team.load()
    assert project.at(team.ours).upgrade().after == ("b",)
    assert project.environment.mode is Mode.CAPTURED
    assert project.at(team.ours).check().is_clean


def test_a_connection_of_the_programs_is_used_as_it_is(team: Team) -> None:
    team.two().write("migrations/env.py", GIVEN_OR_MADE)
    project = team.load()
    engine = sa.create_engine(team.ours)
    with engine.begin() as connection:
        assert project.at(connection).upgrade().after == ("b",)
    assert project.environment_for(team.ours).mode is Mode.EXECUTED
    assert project.environment_for(team.ours, lent=True).mode is Mode.CAPTURED
    engine.dispose()


def test_one_that_env_py_would_set_up_otherwise_is_refused(team: Team) -> None:
    text = GIVEN_OR_MADE.replace("given is not None", "False")
    team.two().write("migrations/env.py", text)
    engine = sa.create_engine(team.ours)
    with pytest.raises(EnvironmentFailed, match="yours is another"):
        team.load().at(engine).upgrade()
    engine.dispose()


@pytest.mark.parametrize(("x", "way"), [({}, "program"), ({"a": "b"}, "command line")])
def test_an_env_py_may_ask_how_it_was_called(team: Team, x: dict[str, str], way: str) -> None:
    team.two().ini().env(
        head="""
        called = config.cmd_opts
        way = "command line" if called else "program"
        if called:
            assert called.cmd[0].__name__ == "upgrade", called
            assert called.revision == "heads", called
            assert not called.sql, called
        """,
        options="version_table=way.replace(' ', '_')",
    )
    team.load().at(team.ours, x=x).upgrade()
    with sqlite3.connect(team.ours.database or "") as own:
        assert own.execute(f"SELECT version_num FROM {way.replace(' ', '_')}").fetchall() == [
            ("b",)
        ]


# --- engines of revisions ---------------------------------------------------------------------


OWN_ENGINE = """
engine = sa.create_engine(os.environ["DATABASE_URL"])
with engine.begin() as own:
    own.execute(sa.text("INSERT INTO t_a (id) VALUES (7)"))
    assert "t_a" in sa.inspect(own).get_table_names()
with engine.connect() as own:
    own.execute(sa.text("INSERT INTO t_a (id) VALUES (8)"))  # never committed
"""


@pytest.mark.parametrize(
    "before", ["pass", "connection.execute(text('SELECT 1')); connection.rollback()"]
)
def test_an_engine_that_a_revision_opens_works_in_the_run(
    team: Team, catalog_url: URL, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = catalog_url.set(database=f"{catalog_url.database}_of_the_application")
    monkeypatch.setenv("DATABASE_URL", elsewhere.render_as_string(hide_password=False))
    team.ini().env(before=before)
    team.revision("a", None, TABLE.format("t_a"))
    team.revision("b", "a", "import os\n" + OWN_ENGINE)
    project = team.load()
    project.at(catalog_url).upgrade()
    engine = sa.create_engine(catalog_url)
    with engine.connect() as own:
        assert own.execute(sa.text("SELECT id FROM t_a")).scalars().all() == [7]
    engine.dispose()


def test_what_it_did_goes_with_the_run_that_fails(team: Team) -> None:
    team.ini().env()
    team.revision("a", None, TABLE.format("t_a"))
    team.revision("b", "a", "import os\n" + OWN_ENGINE + "raise RuntimeError('no')")
    project = team.load()
    project.at(team.ours).upgrade("a")
    with pytest.raises(Exception, match="no"):
        project.at(team.ours).upgrade("b")
    with sqlite3.connect(team.ours.database or "") as own:
        assert own.execute("SELECT id FROM t_a").fetchall() == []


def test_a_revision_may_have_a_database_in_memory_of_its_own(team: Team) -> None:
    team.ini().env()
    team.revision(
        "a",
        None,
        """
        engine = sa.create_engine("sqlite://")
        with engine.begin() as own:
            own.execute(sa.text("CREATE TABLE scratch (id INTEGER)"))
        op.create_table("kept", sa.Column("id", sa.Integer))
        """,
    )
    team.load().at(team.ours).upgrade()
    with sqlite3.connect(team.ours.database or "") as own:
        names = {name for (name,) in own.execute("SELECT name FROM sqlite_master")}
    assert "kept" in names
    assert "scratch" not in names


def test_a_revision_that_connects_to_another_kind_of_database_is_refused(
    team: Team, postgresql_url: URL
) -> None:
    team.ini().env()
    url = postgresql_url.render_as_string(hide_password=False)
    team.revision("a", None, f"sa.create_engine({url!r}).connect()")
    with pytest.raises(EnvironmentFailed, match="another kind of database"):
        team.load().at(team.ours).upgrade()


def test_scripts_that_connect_while_they_are_read_are_refused(team: Team) -> None:
    team.ini().env()
    text = "import sqlalchemy as sa, os\nsa.create_engine(os.environ['DATABASE_URL']).connect()\n"
    team.revision("a").revision("b", "a")
    file = team.scripts / "versions" / "b.py"
    file.write_text(text + file.read_text())
    with pytest.raises(Exception, match="while they are only read"):
        team.load().at(team.ours).upgrade()


def test_several_databases_of_one_env_py_are_created_and_rehearsed(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {name: f"sqlite:///{tmp_path / name}.db" for name in ("a", "b")}
    for name, url in urls.items():
        monkeypatch.setenv(f"{name.upper()}_URL", url)
    team.two().write(
        "migrations/env.py",
        """
        import os
        from alembic import context
        from sqlalchemy import create_engine
        for name in ("a", "b"):
            with create_engine(os.environ[f"{name.upper()}_URL"]).connect() as connection:
                with connection.begin():
                    context.configure(connection=connection, version_table=f"version_{name}")
                    context.run_migrations()
        """,
    )
    project = team.load()
    project.at(urls["a"]).create()
    assert project.at(urls["a"]).status().position is Position.AT_HEAD
    assert not Path(tmp_path / "b.db").exists()
    database = project.at(urls["b"])
    assert database.rehearse(database.plan()).failed is None
    assert not Path(tmp_path / "b.db").exists() or not (tmp_path / "b.db").stat().st_size
    project.at(urls["b"]).create()
    for name in ("a", "b"):
        with sqlite3.connect(tmp_path / f"{name}.db") as own:
            assert own.execute(f"SELECT version_num FROM version_{name}").fetchall() == [("b",)]


ASKS = {
    "its tables": "sa.inspect(connection).get_table_names()",
    "where it stands": "MigrationContext.configure(connection).get_current_heads()",
    "its version": "assert connection.dialect.server_version_info > (3,)",
    "its schema": "assert connection.dialect.default_schema_name not in (None, 'acme')",
}


@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
def test_what_env_py_asks_before_it_configures_is_answered_by_its_database(
    team: Team, catalog_url: URL, asks: str
) -> None:
    team.ini().two().write(
        "migrations/env.py",
        f"""
        import sqlalchemy as sa
        from alembic import context
        from alembic.runtime.migration import MigrationContext
        engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
        with engine.connect() as connection:
            {asks}
            connection.rollback()
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
        """,
    )
    project = team.load()
    assert project.environment_for(catalog_url).mode is Mode.EXECUTED
    assert project.at(catalog_url).upgrade().after == ("b",)


def test_a_run_for_the_next_schema_that_fails_says_that_the_first_ones_stays(
    team: Team, postgresql_url: URL
) -> None:
    team.ini().revision("a", None, "op.create_table('t', sa.Column('id', sa.Integer))")
    team.revision("b", "a", "op.execute('CREATE SCHEMA shared')")
    team.write(
        "migrations/env.py",
        """
        from alembic import context
        from sqlalchemy import create_engine, text
        engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
        with engine.connect() as connection:
            for schema in ("public", "acme"):
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
                connection.execute(text(f"SET search_path TO {schema}"))
                connection.commit()
                context.configure(connection=connection, version_table_schema=schema)
                with context.begin_transaction():
                    context.run_migrations()
        """,
    )
    with pytest.raises(MigrationFailed) as caught:
        team.load().at(postgresql_url).upgrade()
    assert "in runs of its own, stays." in str(caught.value)
    assert "as it was" not in str(caught.value)
    engine = sa.create_engine(postgresql_url)
    with engine.connect() as own:
        there = own.execute(sa.text("SELECT version_num FROM public.alembic_version")).scalars()
        assert list(there) == ["b"]
        assert sa.inspect(own).get_table_names("acme") == []
    engine.dispose()


def test_a_loop_of_the_programs_in_another_thread_leads_to_the_database_asked_for(
    team: Team, elsewhere_file: Path
) -> None:
    import asyncio
    import threading

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    import builtins

    builtins.loop_of_the_program = loop  # type: ignore[attr-defined]
    for execute in ("pass", "context.execute('SELECT 1')"):
        other = Team(team.root.parent / f"loop{len(execute)}")
        other.two().write(
            "migrations/env.py",
            f"""
            import asyncio, builtins
            from alembic import context
            from sqlalchemy.ext.asyncio import create_async_engine
            def work(connection):
                context.configure(connection=connection)
                {execute}
                with context.begin_transaction():
                    context.run_migrations()
            async def main():
                engine = create_async_engine("sqlite+aiosqlite:///{elsewhere_file}")
                async with engine.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    await connection.run_sync(work)
                    await connection.commit()
                await engine.dispose()
            asyncio.run_coroutine_threadsafe(main(), builtins.loop_of_the_program).result()
            """,
        )
        assert other.load().at(other.ours).upgrade().after == ("b",)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    del builtins.loop_of_the_program  # type: ignore[attr-defined]
    assert not elsewhere_file.exists()


@pytest.fixture
def elsewhere_file(tmp_path: Path) -> Path:
    return tmp_path / "the-programs-own.db"


@pytest.fixture(autouse=True)
def settings_of_the_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The application's settings name a database that nobody may touch."""
    path = tmp_path / "untouched.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.chdir("/")
    return path
