"""Every driver that a URL may name does what the migrator asks of a database."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects import dialect_of
from headway.dialects.driver import ask
from headway.dialects.urls import DatabaseURL
from headway.types import Position
from tests.migrator.making import make_project, rows, run, table, tables

# The name in a URL, the server, and the module without which it is skipped.
DRIVERS = {
    "sqlite": ("sqlite", "sqlite3"),
    "sqlite+pysqlite": ("sqlite", "sqlite3"),
    "sqlite+aiosqlite": ("sqlite", "sqlite3"),
    "postgresql": ("postgresql", "psycopg"),
    "postgresql+psycopg": ("postgresql", "psycopg"),
    "postgresql+psycopg_async": ("postgresql", "psycopg"),
    "postgresql+psycopg2": ("postgresql", "psycopg2"),
    "postgresql+asyncpg": ("postgresql", "psycopg"),
    "mysql": ("mariadb", "pymysql"),
    "mysql+pymysql": ("mariadb", "pymysql"),
    "mysql+aiomysql": ("mariadb", "pymysql"),
    "mysql+mysqldb": ("mariadb", "MySQLdb"),
    "mariadb": ("mariadb", "pymysql"),
    "mariadb+pymysql": ("mariadb", "pymysql"),
    "mariadb+mysqldb": ("mariadb", "MySQLdb"),
}
RAW = ("sqlite+pysqlite", "postgresql+psycopg", "postgresql+psycopg2", "mysql+pymysql")


@pytest.fixture
def url(request: pytest.FixtureRequest, fresh_url: Callable[[str], URL]) -> URL:
    """A new database's URL, as a person with this driver writes it."""
    name = request.param
    server, module = DRIVERS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return fresh_url(server).set(drivername=name)


each = pytest.mark.parametrize("url", DRIVERS, indirect=True)
each_installed = pytest.mark.parametrize(
    "url", [*RAW, "mysql+mysqldb", "mariadb+pymysql"], indirect=True
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    drop = ('op.drop_table("pet")',)
    return make_project(tmp_path / "p", a=table("person"), b=(table("pet"), drop[0]))


@each
def test_up_down_and_what_is_seen(project: Project, url: URL) -> None:
    database = project.at(url.render_as_string(hide_password=False))
    assert database.status().position is Position.EMPTY
    assert database.upgrade("a").after == ("a",)
    assert database.status().position is Position.BEHIND
    assert database.upgrade().after == ("b",)
    assert database.check().is_clean
    assert database.downgrade("a").after == ("a",)
    assert database.upgrade().after == ("b",)


@each_installed
def test_a_database_is_made_renamed_and_dropped(project: Project, url: URL) -> None:
    url = DatabaseURL.parse(url)
    dialect = dialect_of(url)
    copy = url.set(database=f"{url.database}_copy")
    if url.get_backend_name() != "sqlite":
        dialect.drop(url)
    try:
        assert project.at(url).create() == ("b",)
        with pytest.raises(errors.DatabaseExists):
            project.at(url).create()
        if url.get_backend_name() == "postgresql":
            dialect.rename(url, str(copy.database))
            assert str(copy.database) in dialect.named(url, str(copy.database))
            with pytest.raises(errors.DatabaseExists):
                dialect.make(copy)
            dialect.rename(copy, str(url.database))
        assert dialect.exists(url)
        assert project.at(url).status().current == ("b",)
    finally:
        dialect.drop(url)
        dialect.drop(copy)
    assert not dialect.exists(url)


@each_installed
def test_locks_brakes_and_reading_only(project: Project, url: URL) -> None:
    url = DatabaseURL.parse(url)
    project.at(url).upgrade()
    with held(Address.of(url), Policy()) as raw:
        with pytest.raises(errors.DatabaseLocked):
            project.at(url, lock_wait=0.0).stamp("a")
        assert ask(raw, "SELECT 1") == [(1,)]
    with Address.of(url).open() as raw:
        dialect_of(url).set_read_only(raw)
        with pytest.raises(Exception, match=r"(?i)read.?only"):
            raw.cursor().execute("INSERT INTO person (id) VALUES (1)")
        raw.rollback()
    if url.get_backend_name() == "postgresql":
        with Address.of(url).open() as raw:
            dialect_of(url).set_timeouts(raw, lock_seconds=1, statement_seconds=0.2)
            with pytest.raises(Exception, match="statement timeout") as ended:
                ask(raw, "SELECT pg_sleep(5)")
            assert dialect_of(url).is_timeout(ended.value)
            assert dialect_of(url).refusal(ended.value) is errors.DatabaseInUse


@each_installed
def test_an_engine_and_a_connection_are_borrowed(project: Project, url: URL) -> None:
    engine = sa.create_engine(DatabaseURL.parse(url))
    try:
        assert project.at(engine).upgrade("a").after == ("a",)
        with engine.connect() as connection:
            assert project.at(connection).upgrade().after == ("b",)
            assert connection.exec_driver_sql("SELECT COUNT(*) FROM pet").scalar() == 0
        assert project.at(engine).status().position is Position.AT_HEAD
    finally:
        engine.dispose()


@each_installed
def test_a_failure_is_told_and_taken_back(project: Project, url: URL, tmp_path: Path) -> None:
    url = DatabaseURL.parse(url)
    project.at(url).upgrade("a")
    broken = make_project(
        tmp_path / "p", a=table("person"), b=f'{table("pet")}\nop.execute("SELECT * FROM missing")'
    )
    with pytest.raises((errors.MigrationFailed, errors.DatabaseTorn), match="missing"):
        broken.at(url).upgrade()
    if broken.at(url).status().position is Position.TORN:
        broken.at(url).repair()
    assert "pet" not in tables(url)
    assert broken.at(url).status().current == ("a",)
    assert broken.at(url).adopt().revision == "a"


@each_installed
def test_a_version_that_is_none_is_told(project: Project, url: URL) -> None:
    url = DatabaseURL.parse(url)
    run(url, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    run(url, "INSERT INTO alembic_version VALUES (NULL)")
    assert "is NULL" in str(project.at(url).status().reason)
    with pytest.raises(errors.DatabaseDamaged, match="is NULL"):
        project.at(url).upgrade()
    run(url, "DELETE FROM alembic_version")
    assert project.at(url).upgrade().after == ("b",)
    assert rows(url, "SELECT version_num FROM alembic_version") == [("b",)]


def test_options_of_asyncpg_are_psycopgs() -> None:
    said = DatabaseURL.parse(
        "postgresql+asyncpg://u@h/d?ssl=require&prepared_statement_cache_size=0"
    )
    assert (said.drivername, dict(said.query)) == ("postgresql+psycopg", {"sslmode": "require"})


def test_an_option_that_no_driver_knows_is_told(project: Project, mariadb_url: URL) -> None:
    odd = mariadb_url.update_query_dict({"colour": "blue"})
    with pytest.raises(errors.AddressInvalid, match="colour"):
        project.at(odd).upgrade()


@pytest.mark.parametrize("password", ["pa€ss", "plain"])
def test_a_password_of_any_letters_lets_in(
    project: Project, mariadb_url: URL, password: str
) -> None:
    name = f"p{abs(hash(mariadb_url.database)) % 10**8}"
    run(mariadb_url, f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'")
    run(mariadb_url, f"GRANT ALL ON `{mariadb_url.database}`.* TO '{name}'@'%'")
    try:
        theirs = mariadb_url.set(username=name, password=password)
        assert project.at(theirs).upgrade().after == ("b",)
        with pytest.raises(errors.DatabaseDenied) as refused:
            project.at(theirs.set(password="wrong€")).upgrade()
        assert "wrong€" not in str(refused.value)
    finally:
        run(mariadb_url, f"DROP USER '{name}'@'%'")
