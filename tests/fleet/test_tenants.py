"""Tenants of one database: one member each, however spelled, and no drop takes a neighbour's."""

import codecs
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import psycopg.pq
import pymysql
import pymysql.charset
import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.errors import DatabaseRegistered
from app.extensions import db
from app.fleet import databases
from app.fleet.addresses import url_options, urls
from headway.dialects import dialect_of
from headway.dialects.urls import DatabaseURL
from headway.errors import (
    AddressInvalid,
    DatabaseMissing,
    DatabaseUnreachable,
    HeadwayError,
    StillNeeded,
)
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT
from tests.fleet.fleets import Fleet
from tests.fleet.registry import Registry, registry_on
from tests.migrator.making import rest, rows, run
from tests.servers import pgbouncer

SECRET = "s3cr3t-w0rd"
SAME = (
    "-csearch_path%3Da",
    "-c%20search_path=a",
    "--search_path=a",
    "--search-path=A",
    "-csearch_path=%22a%22",
    "-csearch_path=%5Ca",
    "-csearch_path=a,public",
    "-csearch_path=a%20-cstatement_timeout=0",
    "-c%20work_mem=8MB%20-csearch_path=a",
    "-cwork_mem=8MB&schema=a",
)
EVERYBODYS = (
    "-csearch_path=public",
    "-csearch_path=pg_catalog",
    "-csearch_path=information_schema,a",
    "-csearch_path=%22%24user%22",
    "-csearch_path=%24user,a",
    "-cwork_mem=8MB",
    "-capp.tenant=a",
    "",
)
"""Understood, and no tenant's own."""
ODD = ("Acme", "two words", 'a"b', "tenant-1", "é", "a,b", "a\\b", "A=b")
NOT_UNDERSTOOD = (
    "-crole=a",
    "-csearch_path=a,",
    "-csearch_path=%22a",
    "-csearch_path",
    "-c",
    "--=a",
    "-csearch_path=a%20b",
    "-csearch_path=a;DROP",
    "-csearch_path=a%20-csearch_path=b",
    "-csearch_path='a'",
    "-csearch_path=",
    "search_path=a",
    "-d5%20-csearch_path=a",
    # Blanks to Python, and none to the server.
    "-csearch_path=%C2%A0a",
    "-csearch_path=a%E2%80%83,b",
    "-csearch_path=a%C2%A0",
    "-c%C2%A0search_path=a",
)


@pytest.fixture
def registry(template_copy: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def shared(postgresql_url: URL) -> str:
    """A database with a schema, and a neighbour's table in another."""
    run(
        postgresql_url,
        "CREATE SCHEMA a",
        "CREATE SCHEMA b",
        "CREATE TABLE b.precious AS SELECT 1 AS x",
        "CREATE TABLE public.everybodys AS SELECT 2 AS y",
    )
    return postgresql_url.render_as_string(hide_password=False)


def is_unharmed(text: str) -> bool:
    return rows(urls.parse(text), "SELECT x FROM b.precious") == [(1,)]


@pytest.mark.parametrize("options", SAME)
def test_a_schema_is_one_member_and_its_drop_takes_nothing_else_however_it_is_spelled(
    registry: Registry, shared: str, options: str
) -> None:
    made = registry.register("a", url=f"{shared}?options={options}")
    assert made.address.endswith("path%3Da,public" if ",public" in options else "schema=a")
    for other in SAME:
        with pytest.raises(DatabaseRegistered):
            registry.register("again", url=f"{shared}?options={other}")
    other = registry.register("b", url=f"{shared}?options=-csearch_path%3Db")
    assert other.identity != made.identity
    before = rest(urls.parse(shared), "a")
    run(urls.parse(shared), "CREATE TABLE a.mine (x INT)")
    databases.drop_database(ROOT, made.id, confirm="a")
    assert rest(urls.parse(shared), "a") == before
    assert rows(urls.parse(shared), "SELECT 1 FROM pg_namespace WHERE nspname = 'a'") == []
    assert is_unharmed(shared)
    with pytest.raises(
        DatabaseMissing,
        match=r"The schema a cannot be created, because there is no database .*_new",
    ):
        registry.create(urls.parse(f"{shared}_new?options={options}"))


@pytest.mark.parametrize("options", EVERYBODYS)
def test_what_is_everybodys_is_not_dropped(
    registry: Registry, shared: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it led elsewhere by what the process has in its environment."""
    monkeypatch.setenv("PGOPTIONS", "-csearch_path=a")
    before = rest(urls.parse(shared), "nobody's")
    made = registry.register("a", url=f"{shared}?options={options}" if options else shared)
    with pytest.raises((StillNeeded, AddressInvalid)):
        databases.drop_database(ROOT, made.id, confirm="a")
    assert rest(urls.parse(shared), "nobody's") == before


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_has_to_be_quoted_is_the_tenants_alone(
    registry: Registry, shared: str, name: str
) -> None:
    url = urls.parse(shared).in_schema(name)
    quoted = '"' + name.replace('"', '""') + '"'
    run(urls.parse(shared), f"CREATE SCHEMA {quoted}", f"CREATE TABLE {quoted}.mine (x INT)")
    made = registry.register("odd", url=url.text())
    assert DatabaseURL.parse(made.address).schema == name
    databases.drop_database(ROOT, made.id, confirm="odd")
    known = {one for (one,) in rows(urls.parse(shared), "SELECT nspname FROM pg_namespace")}
    assert name not in known
    assert known >= {"a", "b", "public"}
    assert is_unharmed(shared)
    assert rows(urls.parse(shared), "SELECT y FROM public.everybodys") == [(2,)]


def test_what_the_server_reads_otherwise_than_we_do_is_not_dropped(
    registry: Registry, fresh_url: Callable[..., URL]
) -> None:
    """The bytes of a URL are taken as they are: é in UTF-8 is two letters of LATIN1."""
    url = DatabaseURL.of(fresh_url("postgresql", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
    run(url, *(f'CREATE SCHEMA "{name}"' for name in ("é", "Ã©")))
    run(url, 'CREATE TABLE "é".mine (x INT)', 'CREATE TABLE "Ã©".mine (x INT)')
    made = registry.register("latin", url=url.in_schema("é").text())
    before = rest(url, "nobody's")
    with pytest.raises(HeadwayError, match="Nothing was changed"):
        databases.drop_database(ROOT, made.id, confirm="latin")
    with pytest.raises(HeadwayError, match="Nothing was changed"):
        registry.create(url.in_schema("ü"))
    assert rest(url, "nobody's") == before


@pytest.mark.parametrize(
    ("options", "own", "others"),
    [("-csearch_path=%C3%89", "É", "é"), ("-csearch_path=%E2%84%AA", "\u212a", "k")],
)
def test_a_letter_that_python_alone_makes_small_is_another_tenants(
    registry: Registry, shared: str, options: str, own: str, others: str
) -> None:
    """The Kelvin sign is no k."""
    for name in (own, others):
        run(urls.parse(shared), f'CREATE SCHEMA "{name}"', f'CREATE TABLE "{name}".mine (x INT)')
    made = registry.register("a", url=f"{shared}?options={options}")
    before = rest(urls.parse(shared), own)
    databases.drop_database(ROOT, made.id, confirm="a")
    assert rest(urls.parse(shared), own) == before
    found = rows(urls.parse(shared), "SELECT nspname FROM pg_namespace")
    assert (own,) not in found
    assert (others,) in found


@pytest.mark.parametrize("options", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_not_registered(
    registry: Registry, shared: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANT_URL", f"{shared}?options={options}")
    for place in ({"url": f"{shared}?options={options}"}, {"reference": "env:TENANT_URL"}):
        with pytest.raises((AddressInvalid, DatabaseUnreachable)):  # the latter of a variable
            urls.url_of(registry.register("a", **place))
    assert is_unharmed(shared)


def test_a_drop_asks_the_server_who_else_is_there(registry: Registry, shared: str) -> None:
    whole = registry.register("whole", url=shared)
    with pytest.raises(StillNeeded, match=r"other schemas that are not empty.*: b\."):
        databases.drop_database(ROOT, whole.id, confirm="whole")
    assert is_unharmed(shared)
    assert registry.is_counted_right()
    run(urls.parse(shared), "DROP SCHEMA b CASCADE", "CREATE SCHEMA b")
    run(urls.parse(shared), "CREATE FUNCTION b.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with pytest.raises(StillNeeded, match=r"other schemas that are not empty.*: b\."):
        databases.drop_database(ROOT, whole.id, confirm="whole")
    run(urls.parse(shared), "DROP FUNCTION b.f", "CREATE EXTENSION pgcrypto SCHEMA b")
    databases.drop_database(ROOT, whole.id, confirm="whole")
    url = urls.parse(shared)
    assert not dialect_of(url).exists(url)


def test_a_login_whose_schema_is_the_servers_word_drops_no_neighbour(
    registry: Registry, shared: str
) -> None:
    url = urls.parse(shared)
    run(url, f'ALTER DATABASE "{url.database}" SET search_path = a')
    whole = registry.register("whole", url=shared)
    run(
        url, "CREATE TABLE a.mine (x INT)", "DROP SCHEMA b CASCADE", "CREATE TABLE public.p (x INT)"
    )
    with pytest.raises(AddressInvalid, match=r"in the schema a, .*\?schema=a"):
        databases.drop_database(ROOT, whole.id, confirm="whole")
    assert rows(url, "SELECT count(*) FROM public.p") == [(0,)]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_member_by_reference_is_a_neighbour_too(
    registry: Registry,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place: URL = request.getfixturevalue(f"{kind}_url")
    text = place.render_as_string(hide_password=False)
    # On MariaDB a second member of one database is the same one by another spelling of its host.
    other = f"{text}?options=-csearch_path%3Db" if kind == "postgresql" else text.upper()
    if kind == "mariadb":
        other = place.set(database=str(place.database).upper()).render_as_string(False)
    monkeypatch.setenv("OTHER_URL", other)
    whole = registry.register("whole", url=text)
    tenant = registry.register("tenant", reference="env:OTHER_URL")
    with pytest.raises(StillNeeded, match=f"Database {tenant.id} of the fleet is in the same"):
        databases.drop_database(ROOT, whole.id, confirm="whole")
    monkeypatch.delenv("OTHER_URL")
    with pytest.raises(StillNeeded, match="cannot be read here"):
        databases.drop_database(ROOT, whole.id, confirm="whole")
    assert dialect_of(place).exists(place)
    databases.retire_database(ROOT, tenant.id)
    databases.drop_database(ROOT, whole.id, confirm="whole")
    assert not dialect_of(place).exists(place)


# --- options --------------------------------------------------------------------------------------

DRIVERS = {
    "postgresql+psycopg": {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    | set(inspect.signature(psycopg.connect).parameters),
    "mysql+pymysql": set(inspect.signature(pymysql.Connection.__init__).parameters),
}
LEADING = {
    *("host", "hostaddr", "port", "user", "password", "passwd", "dbname", "database", "db"),
    *("conninfo", "service", "servicefile", "passfile", "unix_socket", "init_command"),
    *("read_default_file", "read_default_group", "local_infile", "client_flag", "sslkeylogfile"),
    *("cursorclass", "defer_connect", "plugin"),
}


@pytest.mark.parametrize("drivername", DRIVERS)
def test_every_parameter_of_a_driver_is_known_or_refused(
    registry: Registry, drivername: str
) -> None:
    allowed = url_options.ALLOWED[drivername.partition("+")[2]]
    assert not allowed.keys() & LEADING
    for name in sorted(DRIVERS[drivername] | LEADING | {"nobody_knows"}):
        url = URL.create(drivername, "u", SECRET, "h", 1, "d", {name: f"/etc/{SECRET};x"})
        if name in ("application_name", "sslpassword", "ssl_key_password"):  # any text
            urls.parse(url.render_as_string(hide_password=False))
            continue
        with pytest.raises(AddressInvalid) as refused:
            urls.parse(url.render_as_string(hide_password=False))
        assert SECRET not in str(refused.value)


GOOD = {
    "application_name": "Größe 1",
    "channel_binding": "require",
    "charset": "utf8mb4",
    "client_encoding": "UTF8",
    "collation": "utf8mb4_bin",
    "connect_timeout": "5",
    "gssencmode": "disable",
    "keepalives": "1",
    "keepalives_count": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "options": "-csearch_path=a -cstatement_timeout=5s -capp.tenant=7",
    "program_name": "shop-1.0",
    "read_timeout": "30",
    "require_auth": "scram-sha-256,md5",
    "sql_mode": "STRICT_ALL_TABLES,ANSI_QUOTES",
    "ssl_ca": "/etc/ssl/ca.pem",
    "ssl_cert": "/run/secrets/cert.pem",
    "ssl_check_hostname": "false",
    "ssl_disabled": "true",
    "ssl_key": "/run/secrets/key.pem",
    "ssl_key_password": SECRET,
    "ssl_max_protocol_version": "TLSv1.3",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_verify_cert": "true",
    "ssl_verify_identity": "true",
    "sslcert": "/etc/ssl/c.pem",
    "sslcrl": "/etc/ssl/c.crl",
    "sslkey": "/run/secrets/k.pem",
    "sslmode": "verify-full",
    "sslpassword": SECRET,
    "sslrootcert": "system",
    "target_session_attrs": "read-write",
    "tcp_user_timeout": "30000",
    "write_timeout": "30",
}


@pytest.mark.parametrize("drivername", DRIVERS)
def test_every_option_that_is_allowed_is_taken_by_the_driver_and_in_one_form(
    registry: Registry, drivername: str
) -> None:
    allowed = url_options.ALLOWED[drivername.partition("+")[2]]
    assert allowed.keys() <= DRIVERS[drivername] | {"ssl_check_hostname"}  # read by SQLAlchemy
    for name in allowed:
        url = URL.create(drivername, "u", SECRET, "h", 1, "d", {name: GOOD[name]})
        assert urls.parse(url.render_as_string(hide_password=False)).query == {name: GOOD[name]}
        twice = url.set(query={name: (GOOD[name], GOOD[name])})
        with pytest.raises(AddressInvalid):
            urls.parse(twice.render_as_string(hide_password=False))


@pytest.mark.parametrize("drivername", DRIVERS)
@pytest.mark.parametrize(("said", "taken"), [("86400", "7"), ("3", "3"), (None, "7")])
def test_a_url_can_only_shorten_how_long_a_server_is_waited_for(
    registry: Registry, drivername: str, said: str | None, taken: str
) -> None:
    allowed = url_options.ALLOWED[drivername.partition("+")[2]]
    names = [
        name for name in ("connect_timeout", "read_timeout", "write_timeout") if name in allowed
    ]
    query = dict.fromkeys(names, said) if said else {}
    more = {"tcp_user_timeout": "0", "keepalives": "0"} if "keepalives" in allowed else {}
    url = DatabaseURL.create(drivername, "u", SECRET, "h", 1, "d", query | more)
    found = url_options.with_timeouts(DatabaseURL.of(url), 7)
    assert {name: found.query[name] for name in names} == dict.fromkeys(names, taken)
    assert not more or (found.query["tcp_user_timeout"], found.query["keepalives"]) == ("7000", "1")
    url_options.check(found, ())  # nothing that the driver does not take


def test_every_charset_that_is_allowed_is_one_of_the_drivers_and_of_python(
    registry: Registry,
) -> None:
    for name in url_options.MYSQL["charset"].words.removeprefix("one of ").split(", "):
        assert codecs.lookup(pymysql.charset.charset_by_name(name).encoding), name


@pytest.mark.parametrize(
    ("hosts", "allowed", "refused"),
    [
        ((), ("h", "10.0.0.7", "[2001:db8::7]"), ("/run/postgresql",)),
        (("db.example.org",), ("DB.example.org.", "db.example.org:5433"), ("example.org", "h")),
        (("*.example.org",), ("a.example.org", "a.b.example.org"), ("example.org", "h")),
        (("h:5432", "[::1]:5433"), ("h", "localhost:5433"), ("h:5433", "[::1]")),
        (("/run/postgresql",), ("/run/postgresql",), ("h", "/run", "/run/postgresql/..")),
        (("*", "/run/x"), ("h", "10.0.0.7:1", "/run/x"), ("/run/postgresql",)),
    ],
    ids=str,
)
def test_only_hosts_that_are_named_are_reached(
    template_copy: URL, hosts: tuple[str, ...], allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    def url(place: str) -> str:
        is_socket = place.startswith("/")
        return f"postgresql:///d?host={place}" if is_socket else f"postgresql://{place}/d"

    app = create_app(settings_for(template_copy, database_hosts=hosts))
    with app.app_context():
        for place in allowed:
            assert urls.parse(url(place)).database == "d"
            assert urls.parse_server(url(place))
        for place in refused:
            with pytest.raises(AddressInvalid, match="HEADWAY_DATABASE_HOSTS"):
                urls.parse(url(place))
            with pytest.raises(AddressInvalid, match="HEADWAY_DATABASE_HOSTS"):
                urls.parse_server(url(place))
        db.engine.dispose()


def test_a_socket_of_mysqls_is_reached_only_if_it_is_named(template_copy: URL) -> None:
    socket = "/run/mysqld/mysqld.sock"
    for hosts in ((), (socket,)):
        app = create_app(settings_for(template_copy, database_hosts=hosts))
        with app.app_context():
            for text in (f"mysql:///d?unix_socket={socket}", f"mysql://h/d?unix_socket={socket}"):
                if hosts and "h/d" not in text:
                    assert urls.parse(text).server == f"mysql://{socket}:3306"
                    continue
                with pytest.raises(AddressInvalid):
                    urls.parse(text)
            db.engine.dispose()


@pytest.mark.parametrize("name", ["role", "session_authorization", "session_replication_role"])
def test_a_setting_that_changes_who_or_where_a_session_is_is_refused(
    registry: Registry, name: str
) -> None:
    for spelling in (f"-c{name}%3Dx", f"-c%20{name}%3Dx", f"--{name.replace('_', '-')}%3Dx"):
        with pytest.raises(AddressInvalid, match=name):
            urls.parse(f"postgresql://h/d?options={spelling}")


def test_a_file_of_certificates_is_in_an_allowed_folder(registry: Registry) -> None:
    at = "postgresql://h/d?sslmode=verify-full&sslrootcert="
    for good in ("system", "/etc/ssl/certs/ca.pem", "/run/secrets/ca", f"{registry.data}/ca.pem"):
        assert urls.parse(at + good)
    (registry.data / "link").symlink_to("/etc/passwd")
    for bad in ("/etc/passwd", "ca.pem", f"{registry.data}/../x", f"{registry.data}/link"):
        with pytest.raises(AddressInvalid, match="a file in one of the folders"):
            urls.parse(at + bad)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://app:x@{SECRET}@db.example.org/shop",
        f"postgresql://app:x@{SECRET}/9x@db.example.org/shop",
        f"postgresql://app%3A{SECRET}@db.example.org/shop",
        f"postgresql://app@db.example.org/shop;password={SECRET}",
        "postgresql:///shop",
        "postgresql:///shop?host=/run/postgresql",
        "postgresql:///shop?host=a,b",
        "postgresql:///shop?host=a&host=b",
        "mysql:///shop",
    ],
)
def test_a_place_is_one_host_and_no_part_of_a_password(registry: Registry, text: str) -> None:
    with pytest.raises(HeadwayError) as refused:
        urls.parse(text)
    assert SECRET not in str(refused.value)


def test_a_proxy_is_told_of_when_a_member_is_first_looked_at(
    fleet_here: Flask, tmp_path: Path, postgresql_url: URL
) -> None:
    fleet = Fleet(fleet_here, tmp_path)
    with pgbouncer(postgresql_url, "transaction") as proxy:
        made = fleet.register("behind", proxy)
        assert (made.position, made.pending) == ("empty", 3)
        assert "a pool in session mode" in str(made.reason)
    plain = fleet.register("plain", postgresql_url)
    assert (plain.position, plain.reason) == ("empty", None)
