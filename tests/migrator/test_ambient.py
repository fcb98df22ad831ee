"""What is on the machine beside a URL: a program may have none of it sent to servers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg.pq
import pytest
from sqlalchemy.engine import URL

from headway.dialects import ambient
from headway.dialects.translation import opened
from headway.dialects.urls import DatabaseURL
from tests.impostors import Impostor, postgresql

SECRET = "s3cr3t-of-the-machine"
LEFT = {
    # Neither a credential nor a place: whom to believe, how to connect, what a session is called.
    *("application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname"),
    *("gssdelegation", "gsslib", "host", "krbsrvname", "load_balance_hosts"),
    *("max_protocol_version", "min_protocol_version", "ssl_max_protocol_version"),
    *("ssl_min_protocol_version", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir"),
    *("sslmode", "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "user"),
    "service",  # its variable is taken out of the environment
}


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    with postgresql() as made:
        yield made


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> None:
    # An app that another test made has refused it for the process.
    monkeypatch.setattr(ambient, "_is_allowed", lambda _url: True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def connect(impostor: Impostor, drivername: str, host: str = "127.0.0.1") -> None:
    url = URL.create(drivername, "app", host=host, port=impostor.port, database="x")
    with contextlib.suppress(Exception):
        opened(url).close()


SOURCES = ("PGPASSWORD", "PGPASSFILE", ".pgpass", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR")


def prepare(source: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = f"[prod]\npassword={SECRET}\n"
    if source == "PGPASSWORD":
        monkeypatch.setenv(source, SECRET)
    elif source == "PGPASSFILE":
        monkeypatch.setenv(source, str(written(home / "pass", f"*:*:*:*:{SECRET}\n")))
    elif source == ".pgpass":
        written(home / ".pgpass", f"*:*:*:*:{SECRET}\n")
    else:
        monkeypatch.setenv("PGSERVICE", "prod")
        if source == "PGSERVICE":
            written(home / ".pg_service.conf", service)
        elif source == "PGSERVICEFILE":
            monkeypatch.setenv(source, str(written(home / "services", service)))
        else:
            written(home / "pg_service.conf", service)
            monkeypatch.setenv(source, str(home))


@pytest.mark.parametrize("drivername", ["postgresql+psycopg", "postgresql+psycopg2"])
@pytest.mark.parametrize("source", SOURCES)
def test_no_password_of_the_machine_is_sent(
    source: str, drivername: str, home: Path, impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(source, home, monkeypatch)
    connect(impostor, drivername)
    assert impostor.passwords == [SECRET]  # as psql and plain Alembic do
    impostor.heard.clear()
    ambient.refuse()
    connect(impostor, drivername)
    assert not impostor.passwords
    assert any(one.startswith("startup") for one in impostor.heard)


@pytest.mark.parametrize("drivername", ["postgresql+psycopg", "postgresql+psycopg2"])
def test_a_url_leads_where_it_says_whatever_the_environment_says(
    drivername: str, home: Path, impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    monkeypatch.setenv("PGOPTIONS", "-csearch_path=elsewhere")
    connect(impostor, drivername, "nowhere.invalid")
    assert any("elsewhere" in one for one in impostor.heard)
    impostor.heard.clear()
    ambient.refuse()
    connect(impostor, drivername, "nowhere.invalid")
    assert not impostor.heard
    connect(impostor, drivername)
    assert impostor.heard
    assert "elsewhere" not in str(impostor.heard)


@pytest.mark.parametrize("drivername", ["postgresql+psycopg", "postgresql+psycopg2"])
def test_no_ambient_user_signs_in(
    home: Path, impostor: Impostor, monkeypatch: pytest.MonkeyPatch, drivername: str
) -> None:
    monkeypatch.setenv("PGUSER", "somebody_else")
    ambient.refuse()
    url = URL.create(drivername, host="127.0.0.1", port=impostor.port, database="x")
    with contextlib.suppress(Exception):
        opened(url).close()
    assert impostor.heard
    assert "somebody_else" not in str(impostor.heard)
    connect(impostor, drivername)
    assert any("user app" in one for one in impostor.heard)


def test_a_programs_own_database_is_left_what_it_has(
    home: Path, impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    ambient.refuse(but=DatabaseURL.parse(f"postgresql://app@127.0.0.1:{impostor.port}/x"))
    connect(impostor, "postgresql+psycopg")
    assert impostor.passwords == [SECRET]


def test_every_variable_of_libpq_is_answered_or_harmless() -> None:
    options = {one.keyword.decode(): one for one in psycopg.pq.Conninfo.get_defaults()}
    with_variable = {name for name, one in options.items() if one.envvar}
    answered = ambient.LIBPQ.keys() | ambient.NO_TICKETS.keys()
    assert not answered & LEFT
    assert with_variable <= answered | LEFT
    assert answered <= options.keys()
