"""What a URL means: what the driver opens, and nothing that says otherwise."""

import contextlib
import os
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.connections.address import Address
from headway.dialects import dialect_of
from headway.dialects.driver import ask
from headway.dialects.search_path import session_of
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, DatabaseMissing, StillNeeded
from headway.project import Project
from headway.types import Position
from tests.migrator.making import make_project, run, table, tables

# --- SQLite ---------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", a=table("person"))


@pytest.mark.parametrize(
    "spelling",
    [
        "sqlite:///file:{path}?uri=true",
        "sqlite:///file://{path}?uri=true&timeout=9",
        "sqlite:///file://localhost{path}?uri=1&mode=rwc",
        "sqlite+pysqlite:///{path}?uri=true",
        "sqlite:///file:a%2520b.db?uri=true",
        "sqlite:///a b.db",
    ],
)
def test_a_file_is_what_sqlite_opens_by_its_uri(
    project: Project, tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a b.db"
    text = spelling.format(path=str(path).replace(" ", "%2520" if "file:" in spelling else " "))
    plain = sa.create_engine(text, poolclass=sa.NullPool)
    with plain.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
        opened = connection.exec_driver_sql("PRAGMA database_list").all()[0][2]
    assert opened == str(path)
    database = project.at(text)
    assert database.address.path == path
    assert database.status().position is Position.EMPTY
    assert database.upgrade().after == ("a",)
    assert database.status().position is Position.AT_HEAD
    assert ["theirs" in str(one) for one in database.check().differences] == [True]
    assert tables(URL.create("sqlite", database=str(path))) == {
        *("alembic_version", "person", "theirs")
    }
    assert database.snapshot()
    assert {file.parent for file in tmp_path.glob("*.snapshot")} == {tmp_path}
    dialect_of(database.address.url).drop(database.address.url)
    assert not path.exists()
    assert project.at(text).create() == ("a",)
    assert path.exists()


@pytest.mark.parametrize(
    "text",
    [
        *(f"sqlite:///file:a.db?{option}&uri=true" for option in ("mode=ro", "mode=memory")),
        *(f"sqlite:///file:a.db?{option}&uri=true" for option in ("vfs=unix-dotfile", "nolock=1")),
        *(f"sqlite:///file:a.db?{option}&uri=true" for option in ("immutable=1", "cache=shared")),
        "sqlite:///file:a.db%3Fmode=ro?uri=true",
        "sqlite:///file://elsewhere/a.db?uri=true",
        "sqlite:///file:a.db",
        "sqlite:///a.db?mode=ro&uri=true",
    ],
)
def test_what_else_a_uri_asks_for_is_refused(project: Project, text: str) -> None:
    with pytest.raises(AddressInvalid):
        project.at(text)
    assert not list(Path.cwd().glob("a.db*"))


@pytest.mark.parametrize(
    "text", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"]
)
def test_a_database_in_memory_has_no_file(text: str) -> None:
    assert DatabaseURL.parse(text).file is None
    with pytest.raises(AddressInvalid, match="in memory"):
        dialect_of(DatabaseURL.parse(text)).drop(DatabaseURL.parse(text))
    with Address.of(text).open() as raw:
        assert raw.execute("PRAGMA database_list").fetchone()[2] == ""


def test_an_engine_is_known_by_the_file_that_it_opens(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    engine = sa.create_engine(f"sqlite:///file:{path}?mode=rwc&cache=private&uri=true")
    assert project.at(engine).address.path == path
    assert project.at(engine, snapshot=True).upgrade().after == ("a",)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("a",)]


# --- servers --------------------------------------------------------------------------------------

SPELLINGS: dict[str, tuple[str, ...]] = {
    "-csearch_path=a": ("a",),
    "-c search_path=a": ("a",),
    "--search_path=a": ("a",),
    "--search-path=a": ("a",),
    "-c SEARCH_PATH=A": ("a",),
    '-csearch_path="A"': ("A",),
    '-csearch_path="a b"'.replace(" ", "\\ "): ("a b",),
    '-csearch_path="q""x"': ('q"x',),
    "-csearch_path=a -cstatement_timeout=0": ("a",),
    "-c work_mem=8MB  --search_path=a -c lock_timeout=7s": ("a",),
    "-csearch_path=a,public": ("a", "public"),
    "-csearch_path=public,a": ("public", "a"),
    "-csearch_path=a,\\ public": ("a", "public"),
    "-csearch_path=Größe": ("größe",),
    "-csearch_path=GRÖßE": ("grÖße",),
    "-csearch_path=\u212a": ("\u212a",),  # the sign of Kelvin
    "-cstatement_timeout=5s": (),
}


@pytest.mark.parametrize("options", SPELLINGS)
def test_options_are_read_as_the_server_reads_them(postgresql_url: URL, options: str) -> None:
    schemas = ("a", "A", "a b", 'q"x', "größe", "grÖße", "k", "\u212a")
    run(postgresql_url, *(f"""CREATE SCHEMA "{name.replace('"', '""')}" """ for name in schemas))
    url = DatabaseURL.parse(postgresql_url.update_query_dict({"options": options}))
    assert session_of(url).path == SPELLINGS[options]
    with Address.of(url).open() as raw:
        seen = tuple(ask(raw, "SELECT current_schemas(false)")[0][0])
    assert seen == (SPELLINGS[options] or ("public",))
    if schema := url.schema:
        again = DatabaseURL.parse(url.display.replace("***", "1"))
        assert again.schema == schema


@pytest.mark.parametrize(
    "options",
    [
        "-csearch_path=a -csearch_path=b",
        "-csearch_path=a b",
        "-csearch_path='a'",
        "-csearch_path=",
        "-csearch_path=a,,b",
        '-csearch_path="a',
        "-csearch_path",
        "search_path=a",
        "-S -csearch_path=a",
        "--",
        "-c",
        "-d5",
    ],
)
def test_options_that_are_not_understood_are_refused(options: str) -> None:
    url = URL.create("postgresql", host="h", database="d", query={"options": options})
    with pytest.raises(AddressInvalid):
        DatabaseURL.parse(url)
    assert DatabaseURL.of(url).display.endswith("options=***")


@pytest.mark.parametrize("name", ["a", "A", "a b", 'q"x', "größe", "a,b", "a\\b", "public"])
def test_a_schema_is_a_part_of_the_address(postgresql_url: URL, name: str) -> None:
    made = name.replace('"', '""')
    run(postgresql_url, f'CREATE SCHEMA IF NOT EXISTS "{made}"')
    url = DatabaseURL.parse(postgresql_url.update_query_dict({"schema": name}))
    assert url.schema == name
    with Address.of(url).open() as raw:
        assert ask(raw, "SELECT current_schema()") == [(name,)]
    assert DatabaseURL.parse(url.display.replace(":***@", "@")).schema == name
    assert "schema=" in url.display
    assert "options" not in url.display
    assert DatabaseURL.parse(url.text()) == url
    assert url.is_same(postgresql_url)
    is_own = name == "public"
    assert (url.identity == DatabaseURL.of(postgresql_url).identity) == is_own


def test_a_database_of_mysql_has_no_schemas() -> None:
    for text in ("mysql://h/d?schema=a", "mariadb://h/d?schema=a"):
        with pytest.raises(AddressInvalid, match="no schemas in it"):
            DatabaseURL.parse(text)


def test_a_url_is_one_value_wherever_it_is_taken_for_sqlalchemys() -> None:
    plain = sa.make_url("postgresql+psycopg://u:s3cret@h/d?sslpassword=s3cret")
    url = DatabaseURL.of(plain)
    assert url == plain
    assert hash(url) == hash(plain)
    assert {url: 1}[plain] == 1
    assert isinstance(url.set(database="e"), DatabaseURL)
    assert isinstance(pickle.loads(pickle.dumps(url)), DatabaseURL)  # ours
    assert "s3cret" not in f"{url} {url!r} {[url]}"
    assert sa.create_engine(url).url.password == "s3cret"
    assert url.display == "postgresql://u:***@h/d?sslpassword=***"


@pytest.mark.parametrize(
    ("spellings", "place"),
    [
        (("127.0.0.1", "localhost", "[::1]", "[0:0:0:0:0:0:0:1]", "LOCALHOST.", "0.0.0.0"), None),
        (("[2001:db8::7]", "[2001:0DB8:0:0:0:0:0:7]"), ("2001:db8::7", 5432)),
        (("10.0.0.7", "[::ffff:10.0.0.7]"), ("10.0.0.7", 5432)),
    ],
)
def test_one_host_in_many_spellings_is_one(
    spellings: tuple[str, ...], place: tuple[str, int] | None
) -> None:
    found = {DatabaseURL.parse(f"postgresql://{host}/d").place for host in spellings}
    assert found == {place or ("localhost", 5432)}


def test_a_nul_is_in_no_url() -> None:
    for text in ("sqlite:///a%00.db", "postgresql://u%00@h/d", "sqlite:///file:a%2500.db?uri=true"):
        with pytest.raises(AddressInvalid, match="NUL"):
            DatabaseURL.parse(text)


def test_the_users_own_schema_is_no_tenants() -> None:
    assert DatabaseURL.parse('postgresql://h/d?options=-csearch_path="$user",public').schema is None


@pytest.mark.parametrize(
    "text",
    [
        *(f"postgresql://u:p@h:1/d?{o}=x" for o in ("dbname", "host", "user", "password", "port")),
        *(f"postgresql://u@h/d?{o}=x" for o in ("conninfo", "service", "hostaddr", "dsn")),
        *(f"mysql://u:p@h:1/d?{o}=x" for o in ("db", "database", "host", "user", "passwd", "port")),
        "mysql://u@h/d?init_command=USE%20other",
        "mysql://u@h/d?init_command=SET%20a=1;%20USE%20other",
        "mysql://u@h/d?init_command=SET%20STATEMENT%20a=1%20FOR%20USE%20other",
        "postgresql://h/d?dbname=a&dbname=b",
    ],
)
def test_an_option_that_leads_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(AddressInvalid):
        DatabaseURL.parse(text)


def test_what_an_option_says_alone_is_what_the_url_says() -> None:
    said = DatabaseURL.parse(
        "postgresql:///?host=h&port=5433&user=u&password=p&dbname=d&sslmode=require"
    )
    assert said == DatabaseURL.parse("postgresql://u:p@h:5433/d?sslmode=require")
    assert DatabaseURL.parse("postgresql:///d?host=h:5433") == DatabaseURL.parse(
        "postgresql://h:5433/d"
    )
    assert DatabaseURL.parse("mysql:///?host=h&db=d&passwd=p&user=u") == DatabaseURL.parse(
        "mysql://u:p@h/d"
    )
    several = DatabaseURL.parse("postgresql:///d?host=a:1&host=b:2")
    assert several.query["host"] == ("a:1", "b:2")
    assert DatabaseURL.parse("postgresql:///d?host=/run/sockets").query["host"] == "/run/sockets"
    assert DatabaseURL.parse("mariadb://127.0.0.1/d").is_same(
        DatabaseURL.parse("mysql://localhost:3306/d")
    )


def test_the_drivers_other_options_reach_it(postgresql_url: URL) -> None:
    url = postgresql_url.update_query_dict({"application_name": "theirs"})
    with Address.of(url).open() as raw:
        assert ask(raw, "SHOW application_name") == [("theirs",)]


# --- what is not made, and not dropped ------------------------------------------------------------


def test_a_tenants_database_is_neither_made_nor_dropped(
    project: Project, postgresql_url: URL
) -> None:
    run(postgresql_url, "CREATE SCHEMA a", "CREATE SCHEMA b", "CREATE TABLE b.precious (id INT)")
    tenant = postgresql_url.update_query_dict({"options": "--search_path=a"})
    fresh = tenant.set(database=f"headway_test_{os.getpid()}_tenant")
    dialect = dialect_of(tenant)
    for refused in (
        lambda: dialect.drop(tenant),
        lambda: dialect.make(fresh),
    ):
        with pytest.raises(StillNeeded, match="schema a in a database that others share"):
            refused()
    with pytest.raises(
        DatabaseMissing,
        match=r"The schema a cannot be created, because there is no database headway_test",
    ):
        project.at(fresh).create()
    assert not dialect.exists(fresh)
    with Address.of(tenant).open() as raw:
        assert dialect.other_schemas(raw) == ("b",)


def test_only_what_was_made_for_a_while_is_discarded(
    fresh_url: Callable[[str], URL], backend: str
) -> None:
    if backend == "sqlite":
        pytest.skip("what is made for a while is in a folder of its own")
    url = fresh_url(backend)
    with pytest.raises(AddressInvalid, match="for a while"):
        dialect_of(url).discard(url)
    assert dialect_of(url).exists(url)
    with pytest.raises(AddressInvalid, match="names no database"):
        dialect_of(url).drop(url._replace(database=None))
