"""The password of a registered URL has no way out: by any route, command, log, event or error."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import Base, db
from app.models.secrets import Secret
from tests.api.conftest import Call
from tests.conftest import settings_for
from tests.migrator.scripts import write_project

SECRET = "s3cr3t-w0rd"
HIDDEN = "sslpassword-0f-m1ne"
URLS = (
    f"postgresql://u:{SECRET}@127.0.0.1:1/one?sslpassword={HIDDEN}",
    f"mysql://u:{SECRET}@127.0.0.1:1/two?ssl_key_password={HIDDEN}",
    f"mariadb://u:{SECRET}@127.0.0.1:1/three",
)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    return write_project(tmp_path / "projects" / "shop", 1)


@pytest.fixture
def app(template_copy: URL, tmp_path: Path, scripts: Path) -> Iterator[Flask]:
    data = tmp_path / "data"
    data.mkdir()
    roots = {"data_roots": (data,), "project_roots": (scripts.parent,)}
    app = create_app(settings_for(template_copy, **roots))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def ids(
    call: Call, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, int]:
    """A project and databases whose URLs hold secrets, one of them by reference."""
    monkeypatch.setenv("FOUR_URL", f"postgresql://u:{SECRET}@127.0.0.1:1/four?sslpassword={HIDDEN}")
    project = call("admin", "POST", "/projects", json={"name": "shop", "location": str(scripts)})
    key = project.get_json()["id"]
    places: list[dict[str, str]] = [{"url": url} for url in URLS]
    file = tmp_path / "data" / "five"
    file.write_text(f"mysql://u:{SECRET}@127.0.0.1:1/five")
    places += [{"reference": "env:FOUR_URL"}, {"reference": f"file:{file}"}]
    made = [
        call("operator", "POST", "/databases", json={"project_id": key} | place).get_json()
        for place in places
    ]
    return {"project_id": key, "database_id": made[0]["id"]}


def assert_clean(text: str, where: str) -> None:
    for secret in (SECRET, HIDDEN):
        assert secret not in text, where


def test_no_route_shows_a_password(
    app: Flask, call: Call, ids: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    walked = 0
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        methods = (rule.methods or set()) & {"GET", "POST", "PATCH", "DELETE"}
        for method in sorted(methods):
            if "events" in rule.rule and "<" in rule.rule:
                continue  # a stream does not end; its events are the rollout's own words
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(ids.get(found[1], 1)), rule.rule)
            if method == "DELETE" and path.startswith("/api/v1/tokens"):
                continue
            if not path.startswith("/api/v1/"):
                answer = app.test_client().open(path, method=method)
            else:
                more: dict[str, Any] = {"headers": {"If-Match": '"1-999"'}}
                if method in ("POST", "PATCH"):
                    more["json"] = _body(path, ids)
                answer = call("operator", method, path.removeprefix("/api/v1"), **more)
            assert_clean(answer.text + str(answer.headers), f"{method} {path}")
            walked += 1
    assert walked > 40
    assert_clean(caplog.text, "the log")


def _body(path: str, ids: dict[str, int]) -> dict[str, Any]:
    """What gets as far as it can, with secrets in what is refused too."""
    if path.endswith("/import"):
        server = {"url": f"postgresql://u:{SECRET}@127.0.0.1:1/?sslpassword={HIDDEN}"}
        return {"project_id": ids["project_id"], "server": server}
    if path.endswith(("/databases", "/create")):
        url = f"postgresql://u:{SECRET}@127.0.0.1:1/new?sslpassword={HIDDEN}"
        return {"project_id": ids["project_id"], "url": url}
    if path.endswith("/pin"):
        return {"reason": "r", "until": "2099-01-31T00:00:00Z"}
    if path.endswith("/drop"):
        return {"confirm": "one"}
    return {}


@pytest.mark.parametrize(
    "body",
    [
        {"url": f"postgresql://u:{SECRET}@h:port/x"},
        {"url": f"oracle://u:{SECRET}@h/x"},
        {"url": f"postgresql://u:{SECRET}@h/x?service=s"},
        {"url": [f"postgresql://u:{SECRET}@h/x"]},
        {"url": f"postgresql://u:{SECRET}@h/x", "colour": SECRET[:3]},
        {"url": f"postgresql://u:{SECRET}@h/\u0000"},
        {"url": f"postgresql://u:{SECRET}@h/x", "reference": "env:X"},
        {"url": f"postgresql://u:{SECRET}@127.0.0.1:1/one"},
    ],
    ids=range(8),
)
@pytest.mark.parametrize("path", ["/databases", "/databases/create"])
def test_no_refusal_repeats_a_password(
    call: Call,
    ids: dict[str, int],
    path: str,
    body: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = call("operator", "POST", path, json={"project_id": ids["project_id"]} | body)
    assert answer.status_code >= 400
    assert_clean(answer.text, path)
    assert_clean(caplog.text, "the log")


def test_the_admin_who_fails_to_reach_or_drop_one_is_told_no_password(
    call: Call, ids: dict[str, int]
) -> None:
    answer = call("admin", "POST", f"/databases/{ids['database_id']}/drop", json={"confirm": "one"})
    assert answer.status_code == 503, answer.text
    assert "127.0.0.1:1/one" in answer.text
    assert_clean(answer.text, "drop")
    assert call("viewer", "GET", f"/databases/{ids['database_id']}").get_json()["name"] == "one"


def test_the_catalog_holds_no_password_in_any_column(app: Flask, ids: dict[str, int]) -> None:
    with app.app_context():
        for table in Base.metadata.sorted_tables:
            plain = sa.table(table.name, *(sa.column(column.name) for column in table.columns))
            rows = db.session.execute(sa.select(plain)).all()
            assert_clean(str([tuple(row) for row in rows]), table.name)
        kept = [
            column
            for table in Base.metadata.sorted_tables
            for column in table.columns
            if isinstance(column.type, Secret)
        ]
        assert kept


def test_no_command_shows_a_password(app: Flask, ids: dict[str, int]) -> None:
    runner = app.test_cli_runner()
    number = str(ids["database_id"])
    for args in (
        ("databases", "list"),
        ("databases", "list", "--json"),
        ("databases", "show", number),
        ("databases", "show", number, "--json"),
        ("databases", "status", "--json"),
        ("databases", "drop", "one", "--yes", "--confirm", "one"),
        ("databases", "retire", "one", "--yes"),
        ("projects", "show", "shop", "--json"),
        ("catalog", "rotate-keys"),
    ):
        done = runner.invoke(args=list(args))
        assert_clean(done.output + str(done.exception), " ".join(args))
