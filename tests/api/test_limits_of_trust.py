"""What comes from outside is not believed, and what is secret stays inside."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from flask import Flask, jsonify, request
from flask.testing import FlaskClient
from sqlalchemy.engine import URL

from app import create_app, logs
from app.api import access
from app.boot import alembic
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import limits, tokens
from app.settings import Settings
from tests.api.conftest import ROOT, Call, assert_problem
from tests.conftest import settings_for

People = dict[str, tuple[int, str]]


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[io.StringIO]:
    """What really goes to standard error, rendered."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(settings)
    try:
        yield stream
    finally:
        monkeypatch.undo()
        logs.configure(settings)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_of_the_log_holds_a_token_even_when_something_breaks(
    template_copy: URL,
    app: Flask,
    call: Call,
    people: People,
    monkeypatch: pytest.MonkeyPatch,
    log_format: str,
) -> None:
    token = people["viewer"][1]
    secret = token.split("_", 2)[2]
    settings = settings_for(template_copy, log_format=log_format, log_level="debug")
    with logged(monkeypatch, settings) as stream:
        made = call("viewer", "POST", "/tokens", json={"name": "t"}).get_json()["token"]
        call(None, "GET", f"/accounts/{token}")
        call(None, "GET", f"/me?token={token}")
        call(None, "POST", "/sign-in", json={"token": token})

        def breaks(text: str, **_: object) -> None:
            raise RuntimeError("broken with " + text)

        monkeypatch.setattr(access, "authenticate", breaks)
        assert_problem(call("viewer", "GET", "/me"), 500)
    said = stream.getvalue()
    assert "broken with" in said
    assert "Traceback" in said
    for text in (secret, made.split("_", 2)[2]):
        assert text not in said
    if log_format == "json":
        assert all(json.loads(line)["event"] for line in said.splitlines())


def test_a_line_break_in_a_path_is_no_line_of_the_log(
    template_copy: URL, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch, settings_for(template_copy)) as stream:
        client.get("/api/v1/a%0afake%1b[31m")
    (line,) = stream.getvalue().splitlines()
    assert "/api/v1/a%0Afake%1B%5B31m" in line


def test_logging_may_be_configured_twice(
    template_copy: URL, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = logging.getLogger("somebody.else")
    with logged(monkeypatch, settings_for(template_copy)) as stream:
        logs.configure(settings_for(template_copy))
        client.get("/nothing")
        known.warning("still heard")
    assert stream.getvalue().count("path=/nothing") == 1
    assert stream.getvalue().count("[somebody.else]") == 1
    assert not known.disabled


def test_the_lines_of_alembic_look_like_the_rest(
    template_copy: URL, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch, settings_for(template_copy, log_format="json")) as stream:
        logging.getLogger("alembic.runtime.migration").info("Running upgrade a -> b")
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"]) == ("Running upgrade a -> b", "info")


# --- bodies and headers that nobody means -----------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[" * 200_000, 400),
        ('{"name":' + '{"a":' * 50_000, 400),
        ("1" * 5_000, 400),
        (b'{"name":"\xff"}', 400),
        ('{"name":"\\ud800"}', 422),
        ('{"name":NaN}', 422),
        ('{"name":"x","birthdate":"0000-01-01"}', 422),
        ('{"name":"a\\nb"}', 422),
    ],
    ids=["deep list", "deep object", "long number", "bytes", "half a pair", "nan", "day", "lines"],
)
def test_a_body_that_cannot_be_read_is_the_callers_fault(
    call: Call, body: str | bytes, status: int
) -> None:
    response = call("operator", "POST", "/accounts", data=body, content_type="application/json")
    assert_problem(response, status)


@pytest.mark.parametrize("version", ["9" * 5_000, "0", "01", "-1"])
def test_a_version_that_cannot_be_is_stale(call: Call, people: People, version: str) -> None:
    key = people["viewer"][0]
    headers = {"If-Match": f'"{key}-{version}"'}
    refused = call("operator", "PATCH", f"/accounts/{key}", json={"name": "y"}, headers=headers)
    assert_problem(refused, 412, "account-changed")


def test_a_weak_tag_is_enough_to_have_it_already(call: Call, people: People) -> None:
    key = people["viewer"][0]
    tag = call("viewer", "GET", f"/accounts/{key}").headers["ETag"]
    again = call("viewer", "GET", f"/accounts/{key}", headers={"If-None-Match": f"W/{tag}"})
    assert again.status_code == 304


def test_methods_that_nobody_knows_do_not_fill_the_memory(client: FlaskClient) -> None:
    for n in range(3):
        client.open("/healthz", method=f"NONSENSE{n}")
    told = client.get("/metrics").text
    assert "NONSENSE" not in told
    assert 'method="other"' in told


def test_what_the_limits_refuse_has_an_id_too(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(1, timedelta(minutes=1)))
    for _ in range(2):
        response = client.post("/api/v1/sign-in", json={"token": "x"})
    problem = assert_problem(response, 429)
    assert problem["instance"] == f"urn:request:{response.headers['X-Request-ID']}"
    assert len(response.headers["X-Request-ID"]) == 16


# --- where a request comes from ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2001:db8::7", "2001:db8::7"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("x" * 200, None),
        ("unknown", None),
    ],
)
def test_what_a_proxy_says_is_an_address_or_nothing(
    template_copy: URL, said: str, expected: str | None
) -> None:
    app = create_app(settings_for(template_copy, trusted_proxies=1))
    with app.app_context():
        account, _ = accounts.create_account(ROOT, {"name": "p", "role": "operator"})
        issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="p", expires_days=1)
    headers = {"Authorization": f"Bearer {issued.text}", "X-Forwarded-For": said}
    made = app.test_client().post("/api/v1/accounts", json={"name": "q"}, headers=headers)
    assert (made.status_code, made.get_json()["ip_source"]) == (201, expected)


def test_a_proxy_that_is_not_trusted_says_nothing(app: Flask) -> None:
    app.add_url_rule(
        "/where", view_func=lambda: jsonify(ip=request.remote_addr, secure=request.is_secure)
    )
    headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    response = app.test_client().get("/where", headers=headers)
    assert response.get_json() == {"ip": "127.0.0.1", "secure": False}
    assert not re.search("6.6.6.6", str(response.headers))


def test_a_catalog_that_was_taken_back_is_no_bug_of_ours(app: Flask, call: Call) -> None:
    with app.app_context():
        alembic.downgrade("c0010")
        db.engine.dispose()
    body = assert_problem(call("admin", "GET", "/databases"), 503, "catalog-behind")
    assert "it was downgraded" in str(body["detail"])
