"""URLs that people send: whatever they hold, an answer in words, and nothing sent by mistake."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.fleet import projects
from tests.api.conftest import ROOT, Call
from tests.conftest import settings_for
from tests.impostors import Impostor, mysql, postgresql
from tests.migrator.scripts import write_project

SECRET = "s3cr3t-w0rd"
OF_MYSQL = (
    *("connect_timeout=abc", "connect_timeout=0", "connect_timeout=999999999", "read_timeout=0"),
    *("plugin=x", "cursorclass=x", "conv=x", "ssl=1", "local_infile=1", "client_flag=128"),
    *("ssl_ca=/nope", "ssl_ca=/etc/ssl/nope", "ssl_cert=/etc/ssl/nope", "ssl_key=/etc/ssl/nope"),
    *("charset=zzz", "charset=utf16", "collation=zzz", "sql_mode=zzz", "ssl_disabled=false"),
    *("init_command=SET%20a=1", "read_default_file=/etc/my.cnf", "connect_timeout=1" * 2),
    *("unix_socket=/run/mysqld/mysqld.sock", "bind_address=127.0.0.1", "schema=a", ""),
)
OF_POSTGRESQL = (
    *("connect_timeout=abc", "connect_timeout=-1", "keepalives=9", "keepalives_idle=999999999"),
    *("client_encoding=zzz", "client_encoding=utf16", "sslmode=zzz", "channel_binding=zzz"),
    *("require_auth=gss", "gssencmode=require", "ssl_min_protocol_version=zzz", "options=-cfoo"),
    *("sslcert=/etc/ssl/nope", "sslrootcert=/etc/ssl/nope", "sslrootcert=/etc/passwd"),
    *("passfile=/tmp/pgpass", "conninfo=hostaddr%3D127.0.0.1", "service=prod", "hostaddr=::1"),
    *("sslkeylogfile=/tmp/keys", "autocommit=1", "row_factory=x", "context=x", "options=-crole=x"),
    *("schema=a&options=-csearch_path=b", "schema=", "schema=a&schema=b", "application_name=a%00"),
)
HOSTS = ("a" * 70, "a..b", ".a", "127.1", "0x7f000001", "2130706433", "[zz]", "a%0a", "h%20", "-a")


@pytest.fixture
def app(template_copy: URL, data: Path, tmp_path: Path) -> Flask:
    return create_app(settings_for(template_copy, data_roots=(data,), project_roots=(tmp_path,)))


@pytest.fixture
def shop(app: Flask, tmp_path: Path) -> int:
    folder = write_project(tmp_path / "shop", 1)
    with app.app_context():
        made, _ = projects.create_project(ROOT, {"name": "shop", "location": str(folder)})
        return made.id


@pytest.fixture(scope="module")
def mysqls() -> Iterator[Impostor]:
    with mysql() as made:
        yield made


@pytest.fixture(scope="module")
def postgresqls() -> Iterator[Impostor]:
    with postgresql() as made:
        yield made


def test_no_option_of_a_server_that_is_asked_breaks_anything(
    call: Call, shop: int, mysqls: Impostor, postgresqls: Impostor
) -> None:
    at = f"127.0.0.1:{mysqls.port}/x"
    urls = [f"mysql://app:{SECRET}@{at}?{option}" for option in OF_MYSQL]
    at = f"127.0.0.1:{postgresqls.port}/x"
    urls += [f"postgresql://app:{SECRET}@{at}?{option}" for option in OF_POSTGRESQL]
    urls += [f"mysql://app:{SECRET}@{host}/x" for host in HOSTS]
    asked = [("server", url) for url in urls]
    asked += [("schemas", url) for url in urls if url.startswith("postgresql")]
    for source, url in asked:
        body = {"project_id": shop, source: {"url": url}}
        answer = call("operator", "POST", "/databases/import", json=body)
        assert answer.status_code in (422, 502, 503), (url, answer.text)
        assert SECRET not in answer.text
    assert any(one.startswith("file") for one in mysqls.heard)  # it was asked for
    assert Path("/etc/hostname").read_text().strip() not in str(mysqls.heard)


@pytest.mark.parametrize("way", ["/databases", "/databases/create"])
def test_a_control_character_is_refused_however_it_is_spelled(
    call: Call, shop: int, data: Path, way: str
) -> None:
    for sign in ("%00", "%0A", "%1b", "\u202e", "\u200b", "%E2%80%AE", "\u2028", "%C2%85"):
        for url in (
            f"postgresql://app:{SECRET}@h/x{sign}y",
            f"postgresql://a{sign}p:{SECRET}@h/xy",
            f"postgresql://app:{SECRET}@h/xy?application_name=a{sign}b",
            f"sqlite:///{data}/x{sign}.db",
        ):
            answer = call("operator", "POST", way, json={"project_id": shop, "url": url})
            assert answer.status_code == 422, (url, answer.text)
            assert SECRET not in answer.text


def test_a_name_is_what_it_looks_like(call: Call, shop: int) -> None:
    for sign in ("\u202e", "\u2066", "\u200b", "\ufeff", "\n", "\t", "\x85"):
        body = {"project_id": shop, "name": f"a{sign}b", "url": "postgresql://h/x"}
        assert call("operator", "POST", "/databases", json=body).status_code == 422
        rows = f'name,url\n"a{sign}b",postgresql://h/y\n'
        body = {"project_id": shop, "csv": rows}
        answer = call("operator", "POST", "/databases/import", json=body).get_json()
        assert answer["added"] == 0, sign
    body = {"project_id": shop, "name": "größter Kunde 東京", "url": "postgresql://h/z"}
    assert call("operator", "POST", "/databases", json=body).status_code == 201
