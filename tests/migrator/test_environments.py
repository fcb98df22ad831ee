"""Script directories as teams have them, each compared with what Alembic's own commands do."""

import asyncio
import logging
import multiprocessing
import os
import pickle
import py_compile
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask, current_app, has_app_context
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.engine import URL

from headway.errors import EnvironmentFailed, HeadwayError, MigrationFailed, ScriptsUnreadable
from headway.project import Project
from headway.scripts.environment import Mode
from headway.types import Outcome, Position
from tests.migrator.reference import Move, alembic, dump, rows
from tests.migrator.scripts import write_project
from tests.migrator.team import ELSEWHERE, FROM_CONFIG, TABLE, Team


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The application's own database, which nobody may touch; and no help from the folder."""
    path = tmp_path / "elsewhere.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    monkeypatch.chdir("/")
    yield path
    assert not path.exists()


# --- env.py as `alembic init` writes it ---------------------------------------------------------


@pytest.mark.parametrize("template", ["generic", "async", "pyproject", "pyproject_async"])
def test_an_env_py_of_alembics_templates_is_heard_once(team: Team, template: str) -> None:
    team.init(template).two()
    if "async" in template:
        team.theirs = team.theirs.set(drivername="sqlite+aiosqlite")

    project = team.load()
    team.moved(project=project)
    team.moved(("downgrade", "-1"), project=project)

    assert project.environment_for(team.ours).mode is Mode.CAPTURED


def test_an_async_env_py_runs_inside_a_running_loop(team: Team) -> None:
    team.init("async").two()

    async def main() -> Outcome:
        return team.load().at(team.ours).upgrade()

    assert asyncio.run(main()).after == ("b",)


@pytest.mark.parametrize(
    "before", ["", "await connection.exec_driver_sql('SELECT 1'); await connection.commit()"]
)
def test_an_async_engine_of_the_applications_own_leads_to_the_database_asked_for(
    team: Team, postgresql_url: URL, before: str
) -> None:
    team.two().ini()
    team.write(
        "migrations/env.py",
        f"""
        import asyncio, os
        from alembic import context
        from sqlalchemy.ext.asyncio import create_async_engine

        def work(connection):
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()

        async def main():
            engine = create_async_engine("postgresql+psycopg://nobody:secret@127.0.0.1:1/no")
            async with engine.connect() as connection:
                {before or "pass"}
                await connection.run_sync(work)
            await engine.dispose()

        asyncio.run(main())
        """,
    )
    database = team.load().at(postgresql_url)

    assert database.upgrade().after == ("b",)

    async def inside() -> Outcome:
        return database.downgrade("base")

    assert asyncio.run(inside()).after == ()
    assert ("captured" in database.plan().environment) == (not before)


# --- settings and engines of the application's own ------------------------------------------------


def test_a_url_from_the_applications_settings_leads_to_the_database_asked_for(team: Team) -> None:
    team.two().ini().env(
        head="""
        def get_url():
            return os.environ["DATABASE_URL"]
        config.set_main_option("sqlalchemy.url", get_url())
        """
    )
    team.moved()


def test_a_missing_setting_is_named_and_works_once_it_is_there(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.two().ini().env(head="import settings").write(
        "settings.py", "import os\nURL = os.environ['TEAM_URL']\n"
    )
    project = team.load()

    with pytest.raises(EnvironmentFailed, match=r"KeyError: 'TEAM_URL'\. .*check the settings"):
        project.at(team.ours).upgrade()

    monkeypatch.setenv("TEAM_URL", "sqlite://")
    assert project.at(team.ours).upgrade().after == ("b",)


def test_what_pydantic_misses_is_named_without_what_it_was_given(team: Team) -> None:
    team.two().ini().env(head="from settings import Settings; Settings(password='hunter2')").write(
        "settings.py",
        """
        from pydantic import BaseModel
        class Settings(BaseModel):
            password: int
            database_url: str
        """,
    )
    with pytest.raises(EnvironmentFailed, match="database_url: Field required") as caught:
        team.load().at(team.ours).upgrade()
    assert "hunter2" not in _everything(caught.value)


def test_a_password_in_what_env_py_says_is_not_repeated(team: Team, postgresql_url: URL) -> None:
    url = postgresql_url.set(username="postgres", password="hunter2")
    team.two().ini().env(
        before="raise RuntimeError(config.get_main_option('sqlalchemy.url') + ' is odd')"
    )
    with pytest.raises(EnvironmentFailed, match=r":\*\*\*@.* is odd") as caught:
        team.load().environment_for(url)
    assert "hunter2" not in _everything(caught.value)

    team.env(head="raise RuntimeError('cannot use postgresql://me:hunter2@db/x')")
    with pytest.raises(EnvironmentFailed, match=r"postgresql://me:\*\*\*@db/x") as caught:
        team.load().at(team.ours).upgrade()
    assert "hunter2" not in _everything(caught.value)


def _everything(error: BaseException) -> str:
    shown = "".join(traceback.format_exception(error))
    return f"{error!r} {error} {getattr(error, 'context', '')} {shown}"


@pytest.mark.parametrize(
    "engine",
    [
        "__import__('myapp.db').db.engine",
        "__import__('myapp.db').db.engine.execution_options(isolation_level='SERIALIZABLE')",
    ],
)
@pytest.mark.parametrize(
    "before", ["pass", "connection.execute(text('SELECT 1')); connection.commit()"]
)
def test_an_engine_imported_from_the_application_touches_no_database_of_its_own(
    team: Team, engine: str, before: str
) -> None:
    team.two().ini().env(engine=engine, before=before).write("myapp/__init__.py", "").write(
        "myapp/db.py",
        """
        import os
        from sqlalchemy import MetaData, Table, Column, Integer, create_engine
        engine = create_engine(os.environ["DATABASE_URL"])
        """,
    )
    assert team.load().at(team.ours).upgrade().after == ("b",)


def test_an_application_that_makes_tables_on_import_makes_none(team: Team, elsewhere: Path) -> None:
    team.two().ini().env(head="import myapp").write(
        "myapp.py",
        """
        import os
        from sqlalchemy import MetaData, Table, Column, Integer, create_engine
        metadata = MetaData()
        Table("thing", metadata, Column("id", Integer, primary_key=True))
        engine = create_engine(os.environ["DATABASE_URL"])
        metadata.create_all(engine)
        engine.raw_connection().close()
        """,
    )
    assert team.load().at(team.ours).upgrade().after == ("b",)
    assert not elsewhere.exists()


def test_a_thread_of_env_pys_own_leads_to_the_database_asked_for(team: Team) -> None:
    team.two().ini().env(
        engine=ELSEWHERE,
        before="""
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: engine.connect().close()).result() is None
        """,
    )
    assert team.load().at(team.ours).upgrade().after == ("b",)


# --- several databases in one env.py --------------------------------------------------------------


@pytest.fixture
def several(team: Team) -> tuple[Team, list[URL]]:
    """Alembic's template for several databases, with two of them."""
    team.init("multidb")
    urls = [team.ours.set(database=str(team.root / f"engine{n}.db")) for n in (1, 2)]
    text = (team.root / "alembic.ini").read_text()
    text = text.replace("driver://user:pass@localhost/dbname2", f"sqlite:///{urls[1].database}")
    text = text.replace("driver://user:pass@localhost/dbname", f"sqlite:///{urls[0].database}")
    team.write("alembic.ini", text)
    up = "if engine_name == 'engine1':\n    {0}\nelse:\n    {1}"
    for name, parent in (("a", None), ("b", "a")):
        made = up.format(TABLE.format(f"one_{name}"), TABLE.format(f"two_{name}"))
        team.revision(name, parent, made, "pass", arguments="(engine_name)")
    return team, urls


@pytest.mark.parametrize("sql", [False, True])
def test_of_several_databases_only_the_one_asked_for_is_touched(
    several: tuple[Team, list[URL]], sql: bool
) -> None:
    team, (first, second) = several
    env = (team.scripts / "env.py").read_text()
    if sql:
        env = env.replace(
            "            context.configure(\n                connection=",
            "            rec['connection'].exec_driver_sql('SELECT 1')\n"
            "            context.configure(\n                connection=",
        )
        (team.scripts / "env.py").write_text(env)
    project = team.load()

    assert project.at(second).upgrade().after == ("b",)

    assert not Path(str(first.database)).exists()
    assert project.at(first).status().position is Position.EMPTY
    assert project.at(first).upgrade().after == ("b",)
    made = [dump(first), dump(second)]
    for url in (first, second):
        Path(str(url.database)).unlink()
    alembic(team.root, None, ini=team.root / "alembic.ini")
    assert made == [dump(first), dump(second)]
    mode = Mode.EXECUTED if sql else Mode.CAPTURED
    assert project.environment_for(first).mode is mode


def test_a_database_that_env_py_does_not_know_is_refused(
    several: tuple[Team, list[URL]],
) -> None:
    team, (first, second) = several
    with pytest.raises(EnvironmentFailed, match=r"give the URL of one: sqlite.*engine1"):
        team.load().at(team.ours).upgrade()
    assert not any(Path(str(url.database)).exists() for url in (first, second, team.ours))


# --- histories ------------------------------------------------------------------------------------


HISTORIES: dict[str, tuple[Callable[[Team], Team], list[Move]]] = {
    "several heads": (
        lambda team: team.revision("a").revision("b1", "a").revision("b2", "a"),
        [("upgrade", "heads"), ("downgrade", "b1@-1"), ("upgrade", "b1"), ("downgrade", "base")],
    ),
    "labels": (
        lambda team: (
            team.revision("a", labels="core").revision("b", "a").revision("p", labels="plugin")
        ).revision("q", "p"),
        [("upgrade", "core@head"), ("upgrade", "plugin@+1"), ("downgrade", "core@base")],
    ),
    "depends_on": (
        lambda team: (
            team.revision("a").revision("b", "a").revision("p", labels="plugin")
        ).revision("q", "p", depends_on="b"),
        [("upgrade", "plugin@head"), ("downgrade", "plugin@base"), ("upgrade", "heads")],
    ),
    "merge": (
        lambda team: (
            team.revision("a").revision("b1", "a").revision("b2", "a").revision("m", ("b1", "b2"))
        ).revision("n", "m"),
        [("upgrade", "head"), ("downgrade", "-1"), ("downgrade", "a"), ("upgrade", "m")],
    ),
    "several bases": (
        lambda team: team.revision("a").revision("p").revision("m", ("a", "p")),
        [("upgrade", "a"), ("upgrade", "head"), ("downgrade", "base")],
    ),
    "stamps": (
        lambda team: team.two().revision("c", "b", "pass", "pass"),
        [("stamp", "b"), ("upgrade", "+1"), ("stamp", "a"), ("stamp", "head")],
    ),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_goes_the_way_that_alembic_goes(team: Team, history: str) -> None:
    write, moves = HISTORIES[history]
    write(team.ini().env())
    project = team.load()
    for count in range(1, len(moves) + 1):
        team.ours = team.ours.set(database=f"{team.root}/ours{count}.db")
        team.theirs = team.ours.set(database=f"{team.root}/theirs{count}.db")
        team.moved(*moves[:count], project=project)


# --- options --------------------------------------------------------------------------------------


def test_version_locations_start_at_the_file_that_names_them(team: Team) -> None:
    team.ini("version_locations = migrations/versions more/versions", "path_separator = space")
    team.env().two().revision("p", "b", path="more/versions/{id}.py")
    assert team.moved().after == ("p",)


def test_revisions_in_folders_by_year_are_found(team: Team) -> None:
    team.ini("recursive_version_locations = true", "file_template = %%(year)d/%%(rev)s").env()
    team.revision("a", path="migrations/versions/2024/12/a.py")
    team.revision("b", "a", path="migrations/versions/2025/b_x.py")
    assert team.moved().after == ("b",)


def test_the_version_is_kept_where_env_py_says(team: Team) -> None:
    team.two().ini().env(options="version_table='versions_of_team'")
    team.moved()
    assert team.load().at(team.ours).status().position is Position.AT_HEAD


@pytest.mark.parametrize("with_sql", [True, False])
def test_a_schema_for_the_version_may_be_made_by_env_py_itself(
    team: Team, fresh_url: Callable[[str], URL], with_sql: bool
) -> None:
    team.ours, team.theirs = fresh_url("postgresql"), fresh_url("postgresql")
    for url in (team.ours, team.theirs):
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA tenant")
        engine.dispose()
    sql = """
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS meta"))
    connection.execute(text("SET search_path TO tenant"))
    connection.commit()
    """
    schema = "meta" if with_sql else "tenant"
    team.two().ini().env(
        before=sql if with_sql else "pass",
        options=f"version_table='v', version_table_schema='{schema}'",
    )
    project = team.load()
    assert project.at(team.ours).status().position is Position.EMPTY
    assert team.moved(project=project).after == ("b",)
    assert project.at(team.ours).status().position is Position.AT_HEAD
    team.moved(("downgrade", "a"), project=project)
    assert project.at(team.ours).status().current == ("a",)


@pytest.mark.parametrize("way", ["SET search_path TO {0}", 'SET LOCAL search_path = "{0}"'])
def test_a_tenants_schema_is_where_its_version_is(
    team: Team, postgresql_url: URL, way: str
) -> None:
    say = f"connection.execute(text(f'{way.format('{tenant}')}'))"
    ends = "" if "LOCAL" in way else "connection.commit()"
    team.two().ini().write(
        "migrations/env.py",
        f"""
        from alembic import context
        from sqlalchemy import engine_from_config, pool, text
        config = context.config
        tenant = context.get_x_argument(as_dictionary=True)["tenant"]
        with {FROM_CONFIG}.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {{tenant}}"))
            connection.commit()
            {say if ends else "pass"}
            {ends or "pass"}
            context.configure(connection=connection)
            with context.begin_transaction():
                {"pass" if ends else say}
                context.run_migrations()
        """,
    )
    project = team.load()
    for tenant in ("acme", "other"):
        database = project.at(postgresql_url, x={"tenant": tenant})
        for target in ("a", "b"):
            outcome = database.upgrade(target)
            assert (outcome.applied, outcome.after) == ((target,), (target,))
        assert database.status().position is Position.AT_HEAD
        assert not database.upgrade().applied


def test_an_env_py_that_looks_somewhere_else_unheard_is_refused(
    team: Team, postgresql_url: URL
) -> None:
    team.two().ini().env(
        before="""
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS acme"))
        connection.execute(text("SELECT set_config('search_' || 'path', 'acme', false)"))
        connection.commit()
        """
    )
    database = team.load().at(postgresql_url)
    database.upgrade("a")
    with pytest.raises(EnvironmentFailed, match="`version_table_schema`"):
        database.upgrade("b")


def test_what_env_py_sets_in_alembics_transaction_holds_for_the_revisions(
    team: Team, fresh_url: Callable[[str], URL]
) -> None:
    team.ours, team.theirs = fresh_url("postgresql"), fresh_url("postgresql")
    team.ini().write(
        "migrations/env.py",
        f"""
        from alembic import context
        from sqlalchemy import engine_from_config, pool
        config = context.config
        with {FROM_CONFIG}.connect() as connection:
            context.configure(connection=connection, version_table_schema="tenant")
            with context.begin_transaction():
                context.execute("CREATE SCHEMA IF NOT EXISTS tenant")
                context.execute("SET search_path TO tenant")
                context.run_migrations()
        """,
    )
    team.two()
    project = team.load()

    assert team.moved(("upgrade", "a"), project=project).after == ("a",)
    assert team.moved(project=project).after == ("b",)


def test_a_transaction_for_each_revision_keeps_those_that_worked(team: Team) -> None:
    team.revision("a").revision("b", "a", "op.execute('SELECT nonsense')")
    team.ini().env(options="transaction_per_migration=True")
    with pytest.raises(MigrationFailed, match="Applied before it: a"):
        team.load().at(team.ours).upgrade()
    assert team.load().at(team.ours).status().current == ("a",)


def test_a_batch_rebuild_is_alembics(team: Team) -> None:
    seven = TABLE.format("t_a") + "\nop.execute('INSERT INTO t_a VALUES (7)')"
    team.revision("a", None, seven).ini().env(
        options="render_as_batch=True, include_object=lambda *_: True"
    )
    team.revision(
        "b",
        "a",
        """
        with op.batch_alter_table("t_a") as batch:
            batch.add_column(sa.Column("name", sa.String(9), server_default="x"))
            batch.alter_column("id", type_=sa.BigInteger)
        """,
        "op.drop_column('t_a', 'name')",
    )
    team.moved()
    team.moved(("downgrade", "-1"), ("upgrade", "+1"))


def test_on_version_apply_is_told_of_each_revision(team: Team) -> None:
    team.two().ini().env(
        head="""
        def note(ctx, step, heads, run_args, **kw):
            ctx.connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS note (said text)")
            ctx.connection.exec_driver_sql(f"INSERT INTO note VALUES ('{step.up_revision_id}')")
        """,
        options="on_version_apply=note",
    )
    team.moved()
    assert rows(team.ours, "SELECT said FROM note") == [("a",), ("b",)]


def test_x_arguments_are_read_by_env_py(team: Team) -> None:
    team.two().ini().env(
        head="tenant = context.get_x_argument(as_dictionary=True).get('tenant', 'none')",
        options="version_table=f'v_{tenant}'",
    )
    project = team.load()
    for tenant in ("one", "two"):
        database = project.at(team.ours, x={"tenant": tenant})
        assert database.upgrade("a").after == ("a",)
        assert database.status().current == ("a",)
        Path(str(team.ours.database)).unlink()
    project.at(team.ours, x={"tenant": "one"}).upgrade()
    team.alembic(x=("tenant=one",))
    assert dump(team.ours) == dump(team.theirs)


def test_x_arguments_are_read_by_a_revision(team: Team) -> None:
    up = "op.create_table(context.get_x_argument(as_dictionary=True)['name'], sa.Column('id'))"
    up = up.replace("sa.Column('id')", "sa.Column('id', sa.Integer)")
    team.ini().env().revision("a", None, up)
    project = team.load()
    for name in ("one", "two"):
        url = team.ours.set(database=f"{team.root}/{name}.db")
        project.at(url, x={"name": name}).upgrade()
        theirs = team.ours.set(database=f"{team.root}/{name}-theirs.db")
        team.alembic(url=theirs, x=(f"name={name}",))
        assert dump(url) == dump(theirs)


def test_arguments_of_run_migrations_reach_the_revisions(team: Team) -> None:
    up = "op.create_table(flavour, sa.Column('id', sa.Integer))"
    team.ini().env(arguments="flavour='vanilla'")
    team.revision("a", None, up, "op.drop_table(flavour)", arguments="(flavour)")
    team.moved()
    team.moved(("downgrade", "base"))


def test_an_env_py_that_asks_for_its_context_is_executed(team: Team) -> None:
    team.two().ini().write(
        "migrations/env.py",
        f"""
        from alembic import context
        from sqlalchemy import engine_from_config, pool
        config = context.config
        with {FROM_CONFIG}.connect() as connection:
            context.configure(connection=connection, version_table="mine")
            with context.begin_transaction():
                context.get_context()._ensure_version_table()
                context.run_migrations()
        """,
    )
    project = team.load()
    team.moved(project=project)
    assert project.environment_for(team.ours).mode is Mode.EXECUTED
    assert project.at(team.ours).status().current == ("b",)


def test_a_connection_in_autocommit_builds_indexes_concurrently(
    team: Team, fresh_url: Callable[[str], URL]
) -> None:
    team.ours, team.theirs = fresh_url("postgresql"), fresh_url("postgresql")
    team.ini().env(before="connection = connection.execution_options(isolation_level='AUTOCOMMIT')")
    team.revision("a").revision("b", "a", "op.execute('CREATE INDEX CONCURRENTLY i ON t_a (id)')")
    assert team.moved().after == ("b",)


def test_an_engine_in_autocommit_builds_indexes_concurrently(
    team: Team, fresh_url: Callable[[str], URL]
) -> None:
    team.ours, team.theirs = fresh_url("postgresql"), fresh_url("postgresql")
    made = "create_engine(config.get_main_option('sqlalchemy.url'), isolation_level='AUTOCOMMIT')"
    team.ini().env(engine=made)
    team.revision("a").revision("b", "a", "op.execute('CREATE INDEX CONCURRENTLY i ON t_a (id)')")
    assert team.moved().after == ("b",)


def test_an_env_py_that_loses_its_work_is_told_so(team: Team, postgresql_url: URL) -> None:
    team.two().ini().env(before="connection.execute(text('SELECT 1'))")
    for url in (team.ours, postgresql_url):
        with pytest.raises(EnvironmentFailed, match="commit, or roll back, before"):
            team.load().at(url).upgrade()
        assert team.load().at(url).status().position is Position.EMPTY


def test_an_executed_env_py_cannot_join_a_transaction_and_says_so(team: Team) -> None:
    team.two().ini().env(before="connection.execute(text('SELECT 1')); connection.commit()")
    engine = sa.create_engine(team.ours, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(EnvironmentFailed, match="cannot be a part of yours"):
            team.load().at(connection).upgrade()
    assert team.load().at(engine).upgrade().after == ("b",)


def test_an_env_py_may_commit_what_it_began(team: Team) -> None:
    team.two().ini().write(
        "migrations/env.py",
        f"""
        from alembic import context
        from sqlalchemy import engine_from_config, pool
        config = context.config
        with {FROM_CONFIG}.begin() as connection:
            context.configure(connection=connection)
            context.run_migrations()
        """,
    )
    team.moved()


def test_the_connection_in_the_attributes_is_ours(team: Team) -> None:
    team.two().ini().write(
        "migrations/env.py",
        f"""
        from alembic import context
        from sqlalchemy import engine_from_config, pool
        config = context.config
        def run(connection):
            connection.exec_driver_sql("SELECT 1")
            connection.rollback()
            context.configure(connection=connection)
            with context.begin_transaction():
                context.run_migrations()
        given = config.attributes.get("connection")
        if given is None:
            with {FROM_CONFIG}.connect() as connection:
                run(connection)
        else:
            run(given)
        """,
    )
    team.moved()


# --- Flask-Migrate --------------------------------------------------------------------------------


@pytest.fixture
def flask_app(team: Team, elsewhere: Path) -> Flask:
    app = Flask("team")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{elsewhere}"
    Migrate(app, SQLAlchemy(app), compare_type=True)
    import flask_migrate

    with app.app_context():
        flask_migrate.init(str(team.scripts))
    team.two()
    return app


@pytest.mark.filterwarnings("ignore:'get_engine':DeprecationWarning")
def test_flask_migrate_works_inside_its_application(
    team: Team, flask_app: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    with flask_app.app_context():
        database = team.load().at(team.ours)
        assert database.upgrade().after == ("b",)

        async def inside() -> Outcome:
            return team.load().at(team.ours).downgrade("a")

        assert asyncio.run(inside()).after == ("a",)


@pytest.mark.filterwarnings("ignore:'get_engine':DeprecationWarning")
def test_flask_migrate_without_its_application_says_what_to_do(
    team: Team, flask_app: Flask
) -> None:
    with pytest.raises(EnvironmentFailed, match=r"with app\.app_context\(\):"):
        team.load().at(team.ours).upgrade()
    with flask_app.app_context():
        assert team.load().at(team.ours).upgrade().after == ("b",)


# --- the program around us ------------------------------------------------------------------------


def test_what_env_py_does_to_logging_stays_its_own(team: Team) -> None:
    team.init().two()
    env = (team.scripts / "env.py").read_text()
    more = """
import logging
logging.getLogger("team.host").setLevel(logging.CRITICAL)
logging.getLogger("team.host").handlers.clear()
logging.getLogger().addHandler(logging.NullHandler())
logging.basicConfig(force=True, level=1)
logging.disable(logging.CRITICAL)
"""
    (team.scripts / "env.py").write_text(more + env)
    host, handler = logging.getLogger("team.host"), logging.NullHandler()
    host.addHandler(handler)
    host.setLevel(logging.INFO)
    root = (logging.root.level, list(logging.root.handlers))

    team.load().at(team.ours).upgrade()

    assert (host.level, host.handlers, host.disabled) == (logging.INFO, [handler], False)
    assert (logging.root.level, logging.root.handlers) == root
    assert logging.root.manager.disable == 0
    host.removeHandler(handler)


def test_variables_and_the_folder_that_env_py_sets_are_its_own(team: Team) -> None:
    team.ini().env(
        head="""
        os.environ["TEAM_SECRET"] = "from .env"
        os.environ["DATABASE_URL"] = "sqlite://"
        os.chdir(os.path.dirname(os.path.abspath(__file__)))
        """
    )
    team.revision("a", None, "op.create_table(os.environ['TEAM_SECRET'], sa.Column('id', sa.Text))")
    team.revision("b", "a", "op.rename_table(os.environ['TEAM_SECRET'], 'b')")
    url = os.environ["DATABASE_URL"]
    project = team.load()

    for target in ("a", "b"):
        project.at(team.ours).upgrade(target)

        assert "TEAM_SECRET" not in os.environ
        assert os.environ["DATABASE_URL"] == url
        assert Path.cwd() == Path("/")


def test_a_flask_application_that_env_py_pushes_is_there_for_the_revisions_alone(
    team: Team,
) -> None:
    team.ini().env(
        head="""
        from flask import Flask
        app = Flask("team", instance_path="/nowhere")
        app.config["TABLE"] = "pushed"
        app.app_context().push()
        """
    )
    table = TABLE.replace("{0!r}", "current_app.config['TABLE']")
    team.revision("a", None, f"from flask import current_app\n{table}", "pass")
    other = Flask("host")

    with other.app_context():
        team.moved()
        assert current_app._get_current_object() is other  # type: ignore[attr-defined]

    assert not has_app_context()


def test_an_env_py_that_ends_the_program_ends_itself(team: Team) -> None:
    team.two().ini().env(head="sys.exit('no URL')")
    with pytest.raises(EnvironmentFailed, match=r"it ended the program \(no URL\)"):
        team.load().at(team.ours).upgrade()


@pytest.mark.parametrize("sql", [False, True])
def test_an_env_py_serves_every_kind_of_database(team: Team, catalog_url: URL, sql: bool) -> None:
    team.two().ini().env(
        before="connection.execute(text('SELECT 1')); connection.commit()" if sql else "pass"
    )
    database = team.load().at(catalog_url)
    assert database.upgrade().after == ("b",)
    assert database.downgrade("a").after == ("a",)
    assert database.status().position is Position.BEHIND


# --- what cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nowhere_at_all", "c.py cannot be imported: ModuleNotFoundError"),
        ("def (", "c.py cannot be imported: SyntaxError"),
    ],
)
def test_a_revision_that_cannot_be_imported_is_named(team: Team, source: str, said: str) -> None:
    team.two().ini().env()
    team.write("migrations/versions/c.py", f"revision = 'c'\ndown_revision = 'b'\n{source}\n")
    with pytest.raises(ScriptsUnreadable, match=said):
        team.load().at(team.ours).upgrade()


def test_so_is_one_that_does_not_say_plainly_what_it_stands_on(team: Team) -> None:
    team.two().ini().env()
    script = "PARENT = 'b'\nrevision = 'c'\ndown_revision = (PARENT,)\ndef upgrade():\n    pass\n"
    team.write("migrations/versions/c.py", script)
    assert team.load().scripts.by_id["c"].parents == ("b",)
    team.write("migrations/versions/c.py", "revision = 'c'\nraise ValueError('no')")
    with pytest.raises(ScriptsUnreadable, match=r"c\.py cannot be imported: ValueError: no"):
        _ = team.load().scripts


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("alembic.ini", "no section"),
        ("alembic.ini", "[alembic]\nscript_location = migrations\nversion_locations = %(no)s/x"),
        ("pyproject.toml", "[tool.alembic"),
    ],
)
def test_options_that_cannot_be_read_are_said_so(team: Team, file: str, text: str) -> None:
    team.two().env().write(file, text)
    with pytest.raises(ScriptsUnreadable, match="cannot be read"):
        Project.load(team.scripts, team.root / file)


def test_an_env_py_that_runs_nothing_is_said_so(team: Team) -> None:
    team.two().ini().write("migrations/env.py", "from alembic import context\n")
    with pytest.raises(EnvironmentFailed, match=r"called no `context\.run_migrations`"):
        team.load().at(team.ours).upgrade()


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [True, False])
def test_compiled_revisions_alone_are_enough(team: Team, said: bool) -> None:
    team.ini("sourceless = true" if said else "").env().two()
    for source in (team.scripts / "versions").glob("*.py"):
        py_compile.compile(str(source), cfile=str(source.with_suffix(".pyc")), doraise=True)
        source.unlink()
    project = team.load()
    assert project.at(team.ours).upgrade().after == ("b",)
    if said:
        team.alembic()
        assert dump(team.ours) == dump(team.theirs)


@pytest.mark.parametrize("package", ["teampkg", "teampkg.deep.er"])
def test_scripts_in_a_package_are_found_by_its_name(
    team: Team, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{package}_{os.getpid()}"
    inside = Path(*name.split("."))
    team.env().two()
    for folder in [inside, *inside.parents][:-1]:
        team.write(str(folder / "__init__.py"), "")
    team.scripts.rename(team.root / inside / "scripts")
    team.write("alembic.ini", f"[alembic]\nscript_location = {name}:scripts\n")
    monkeypatch.syspath_prepend(str(team.root))
    project = Project.load(f"{name}:scripts")

    assert project.config.config_file_name or package != "teampkg"
    assert project.at(team.ours).upgrade().after == ("b",)
    team.alembic()
    assert dump(team.ours) == dump(team.theirs)


def test_a_package_that_is_not_there_is_said_so() -> None:
    with pytest.raises(ScriptsUnreadable, match="package nowhere_at_all cannot be imported"):
        Project.load("nowhere_at_all:migrations")


@pytest.mark.parametrize("name", ["with spaces", "100%", "%(here)s", "größe-数据", "quo'te"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    team = Team(tmp_path / name)
    team.ini().env().two()
    if "%" in name:  # Alembic's own commands need it doubled, in the file as well
        assert team.load().at(team.ours).upgrade().after == ("b",)
    else:
        team.moved()


def test_the_working_directory_does_not_matter(
    team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    team.ini("prepend_sys_path = .", "version_locations = migrations/versions").two()
    team.env(head="import teams_own").write("teams_own.py", "")
    monkeypatch.chdir(team.root)
    project = Project.load("migrations")
    monkeypatch.chdir(tmp_path)

    assert pickle.loads(pickle.dumps(project)).folder == team.scripts
    assert project.at(team.ours).upgrade().after == ("b",)


# --- names that are also somebody else's ----------------------------------------------------------


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("ini", ["prepend_sys_path = .", "", None])
def test_a_package_called_app_is_the_teams(team: Team, package: bool, ini: str | None) -> None:
    import app.errors  # noqa: F401  # so that it is there, whichever test ran before

    ours = sys.modules["app"]
    if ini is not None:
        team.ini(ini)
    team.env(
        head="from app.models import metadata; import app.models as m; assert m.OWNER == 'team'",
        options="target_metadata=metadata",
    )
    team.revision("a", None, "from app.models import NAME\n" + TABLE.replace("{0!r}", "NAME"))
    team.write(
        "app/models.py",
        """
        import sqlalchemy
        metadata = sqlalchemy.MetaData()
        NAME, OWNER = "x", "team"
        """,
    )
    if package:
        team.write("app/__init__.py", "").moved()
    else:  # installed beside ours, Alembic's own command would import ours
        assert team.load().at(team.ours).upgrade().after == ("a",)

    assert sys.modules["app"] is ours
    assert sys.modules["app.errors"].HeadwayError is HeadwayError


def test_a_module_beside_the_scripts_is_the_teams(team: Team) -> None:
    team.ini("prepend_sys_path = .").env(head="from migrations.helpers import NAME")
    team.write("migrations/helpers.py", "NAME = 'helped'\n")
    table = TABLE.replace("{0!r}", "NAME")
    team.revision("a", None, f"from migrations.helpers import NAME\n{table}", "pass")
    team.moved()


def test_two_projects_with_the_same_names_follow_each_other(tmp_path: Path) -> None:
    teams = [Team(tmp_path / name) for name in ("first", "second")]
    for team in teams:
        team.ini("prepend_sys_path = .").env(head="import shared.names, app.names")
        team.write("shared/__init__.py", "").write("app/__init__.py", "")
        team.write("shared/names.py", f"NAME = '{team.root.name}'\n")
        team.write("app/names.py", f"NAME = 'app_{team.root.name}'\n")
        for name, module, parent in (("a", "shared", None), ("b", "app", "a")):
            table = TABLE.replace("{0!r}", "NAME")
            team.revision(name, parent, f"from {module}.names import NAME\n{table}", "pass")
    projects = [team.load() for team in teams]

    for target in ("a", "b"):
        for team, project in zip(teams, projects, strict=True):
            project.at(team.ours).upgrade(target)

    for team in teams:
        team.alembic()
        assert dump(team.ours) == dump(team.theirs)
    assert not {"shared", "shared.names"} & sys.modules.keys()


# --- processes and threads ------------------------------------------------------------------------


def _upgrade(database: object) -> object:
    return database.upgrade()  # type: ignore[attr-defined]


def test_a_database_travels_to_another_process(team: Team) -> None:
    team.ini("prepend_sys_path = .").env(head="import app.models").two()
    team.write("app/__init__.py", "").write("app/models.py", "")
    database = team.load().at(team.ours, snapshot=False)

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outcome = pool.apply(_upgrade, [database])

    assert outcome.after == ("b",)
    team.alembic()
    assert dump(team.ours) == dump(team.theirs)


def test_an_error_travels_back_from_another_process(team: Team) -> None:
    team.ini().env(head="raise RuntimeError('no settings')").two()
    with (
        multiprocessing.get_context("spawn").Pool(1) as pool,
        pytest.raises(EnvironmentFailed, match="no settings"),
    ):
        pool.apply(_upgrade, [team.load().at(team.ours)])


@pytest.mark.parametrize(
    "sql", ["pass", "connection.execute(text('SELECT 1')); connection.commit()"]
)
def test_two_threads_on_two_databases_never_meet(team: Team, sql: str) -> None:
    team.ini().env(before=sql)
    parent = None
    for number in range(12):
        team.revision(f"r{number:02}", parent)
        parent = f"r{number:02}"
    project = team.load()
    urls = [team.ours.set(database=f"{team.root}/db{n}.db") for n in range(8)]
    outcomes: list[Outcome | HeadwayError] = []

    def work(mine: list[URL]) -> None:
        for url in mine:
            try:
                outcomes.append(project.at(url, replay=False).upgrade())
            except HeadwayError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=work, args=(urls[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [getattr(one, "after", one) for one in outcomes] == [("r11",)] * 8
    team.alembic()
    assert {dump(url) for url in urls} == {dump(team.theirs)}


def test_the_root_of_a_project_is_as_good_as_its_script_directory(
    tmp_path: Path, sqlite_url: URL
) -> None:
    write_project(tmp_path / "db" / "scripts", 2)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/db/scripts\n")
    project = Project.load(tmp_path)
    assert project.folder == tmp_path / "db" / "scripts"
    assert project.at(sqlite_url).upgrade().after == ("r002",)
