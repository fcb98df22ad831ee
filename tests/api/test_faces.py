"""What every answer has: problems, headers, ids, logs without secrets, the audit trail."""

import json
import logging
import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app.extensions import db
from app.http.statuses import STATUS, STATUS_OF
from app.models import Event
from headway import errors
from headway.errors import ErrorKind, HeadwayError
from headway.exit_codes import EXIT_OF, Exit
from tests.api.conftest import Call, assert_problem
from tests.conftest import settings_for

DOCS = Path(__file__).resolve().parents[2] / "docs"


def subclasses(cls: type[HeadwayError]) -> list[type[HeadwayError]]:
    return [cls, *(sub for child in cls.__subclasses__() for sub in subclasses(child))]


@pytest.mark.parametrize("error", subclasses(HeadwayError), ids=lambda e: e.__name__)
def test_every_error_has_a_page_that_says_its_codes(error: type[HeadwayError]) -> None:
    page = (DOCS / "problems" / f"{error.slug()}.md").read_text()
    assert page.startswith(f"# {error.title()}\n")
    status = STATUS_OF.get(error, STATUS[error.kind])
    assert f"HTTP {status} · exit code {int(EXIT_OF[error.kind])} · kind `{error.kind}`" in page
    assert "**What to do.**" in page


def test_no_page_is_left_over() -> None:
    slugs = {error.slug() for error in subclasses(HeadwayError)}
    assert {file.stem for file in (DOCS / "problems").glob("*.md")} == slugs | {"index"}


@pytest.mark.parametrize("error", subclasses(HeadwayError), ids=lambda e: e.__name__)
def test_every_error_survives_the_way_from_another_process(error: type[HeadwayError]) -> None:
    import pickle

    there = error("words", database="x")
    back = pickle.loads(pickle.dumps(there))
    assert (type(back), str(back), back.context) == (error, "words", {"database": "x"})


def test_every_kind_has_a_status_and_an_exit_code() -> None:
    assert set(STATUS) == set(EXIT_OF) == set(ErrorKind)


def test_the_exit_codes_are_documented() -> None:
    text = (DOCS / "cli.md").read_text()
    told = {
        int(code): name for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)
    }
    assert told == {int(code): code.name for code in Exit}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_address_that_is_not_there_is_a_problem(client: FlaskClient, method: str) -> None:
    assert_problem(client.open("/api/v1/nothing", method=method), 404)


def test_a_method_that_is_not_there_is_a_problem(client: FlaskClient) -> None:
    response = client.put("/api/v1/accounts")
    assert_problem(response, 405)
    assert "POST" in response.headers["Allow"]


def test_pages_keep_their_own_errors(client: FlaskClient) -> None:
    assert client.get("/nothing").content_type.startswith("text/html")


@pytest.mark.parametrize("error", subclasses(HeadwayError)[1:], ids=lambda e: e.__name__)
def test_every_error_becomes_its_problem(app: Flask, error: type[HeadwayError]) -> None:
    def fails() -> None:
        raise error("words", table="x")

    app.add_url_rule("/api/fails", view_func=fails)
    status = STATUS_OF.get(error, STATUS[error.kind])
    response = app.test_client().get("/api/fails")
    problem = assert_problem(response, status, error.slug())
    assert problem["title"] == error.title()
    assert problem["detail"] == "words"
    assert problem["table"] == "x"
    if error.kind in (ErrorKind.BUSY, ErrorKind.UNREACHABLE):
        assert int(response.headers["Retry-After"]) > 0


def test_a_bug_is_told_to_the_log_and_not_to_the_caller(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("the password is hunter2")

    app.add_url_rule("/api/bug", view_func=fails)
    problem = assert_problem(app.test_client().get("/api/bug"), 500)
    assert "hunter2" not in json.dumps(problem)
    assert str(problem["instance"]).removeprefix("urn:request:") in str(problem["detail"])
    assert "hunter2" in caplog.text


def test_a_catalog_that_is_gone_is_a_problem_too(app: Flask, call: Call) -> None:
    with app.app_context():
        path = Path(str(db.engine.url.database))
        db.engine.dispose()
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    response = call("admin", "GET", "/me")
    assert response.status_code in (500, 503)
    assert response.content_type == "application/problem+json"
    ready = call(None, "GET", "/../../readyz")
    assert ready.status_code in (404, 503)
    path.rmdir()


def test_problem_pages_are_served(client: FlaskClient) -> None:
    assert "**What to do.**" in client.get("/problems/token-refused").text
    page = client.get("/problems/token-refused", headers={"Accept": "text/html"})
    assert page.mimetype == "text/html"
    assert "<strong>What to do.</strong>" in page.text
    assert "To the overview" in page.text
    torn = client.get("/problems/database-torn", headers={"Accept": "text/html"}).text
    assert '<a href="/problems/migration-failed">a revision failed</a>' in torn
    refused = client.get("/problems/rollout-refused", headers={"Accept": "text/html"}).text
    assert "stage (<code>docs/on-duty.md</code>)" in refused
    assert client.get("/problems/no-such").status_code == 404
    assert client.get("/problems/..%2fsettings").status_code == 404


def test_every_answer_has_an_id_and_the_headers(client: FlaskClient) -> None:
    for path in ("/", "/healthz", "/api/v1/me", "/api/docs", "/nothing"):
        headers = client.get(path).headers
        assert len(headers["X-Request-ID"]) == 16
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Strict-Transport-Security" not in headers
    assert client.get("/", base_url="https://x").headers["Strict-Transport-Security"]


def test_a_sane_request_id_is_kept_and_another_is_not(client: FlaskClient) -> None:
    kept = client.get("/healthz", headers={"X-Request-ID": "trace-1234.5678"})
    assert kept.headers["X-Request-ID"] == "trace-1234.5678"
    odd = client.get("/healthz", headers={"X-Request-ID": "a b<script>"})
    assert odd.headers["X-Request-ID"] != "a b<script>"


def test_no_page_asks_another_server(client: FlaskClient) -> None:
    for path in ("/", "/api/docs"):
        page = client.get(path).text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
        for link in re.findall(r'(?:src|href)="([^"]+)"', page):
            with client.get(link, follow_redirects=True) as found:
                assert found.status_code == 200, link
    assert "<script>" not in client.get("/api/docs").text


def test_probes_say_where_the_catalog_stands(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"state": "alive"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.get_json()["state"] == "head"
    metrics = client.get("/metrics").text
    assert "headway_catalog_ready 1.0" in metrics
    assert 'endpoint="health.readyz"' in metrics


# --- nothing leaks --------------------------------------------------------------------------------


def test_no_token_is_in_a_log(
    call: Call, people: dict[str, tuple[int, str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = call("viewer", "POST", "/tokens", json={"name": "t"}).get_json()["token"]
    call(None, "POST", "/sign-in", json={"token": made})
    call(None, "GET", f"/me?token={made}")
    call("viewer", "GET", "/me")
    told = caplog.text + str([record.__dict__ for record in caplog.records])
    assert "account" in told
    for text in (made, people["viewer"][1]):
        assert text[-20:] not in told


def test_a_password_has_no_way_out(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    url = sa.make_url("postgresql+psycopg://me:hunter2@127.0.0.1:1/x")
    settings = settings_for(url, boot_wait_seconds=0)
    from app import create_app

    with pytest.raises(errors.DatabaseUnreachable) as refused:
        create_app(settings)
    said = capsys.readouterr()
    for text in (
        repr(settings),
        str(refused.value),
        repr(refused.value.context),
        caplog.text,
        said.err,
        said.out,
    ):
        assert "hunter2" not in text
    assert "not a secret" not in repr(settings)


# --- the audit trail ------------------------------------------------------------------------------


def test_every_change_is_an_event(call: Call, people: dict[str, tuple[int, str]]) -> None:
    made = call("admin", "POST", "/accounts", json={"name": "a", "email": "a@example.org"})
    path = f"/accounts/{made.get_json()['id']}"
    more = {"headers": {"If-Match": "*", "X-Request-ID": "my-request-1"}}
    call("admin", "PATCH", path, json={"name": "b"}, **more)
    token = call("admin", "POST", "/tokens", json={"name": "t"}).get_json()
    call("admin", "DELETE", f"/tokens/{token['id']}")
    call("admin", "DELETE", path, **more)
    events = call("operator", "GET", "/events?limit=5").get_json()["items"]
    assert [event["action"] for event in events] == [
        *("account.deleted", "token.revoked", "token.created", "account.changed"),
        "account.created",
    ]
    changed = events[3]
    assert changed["detail"] == {"name": ["a", "b"]}
    assert changed["actor_id"] == people["admin"][0]
    assert changed["request_id"] == "my-request-1"
    assert changed["ip"] == "127.0.0.1"
    assert token["token"] not in json.dumps(events)


def test_events_come_in_pages_newest_first(call: Call) -> None:
    first = call("admin", "GET", "/events?limit=2").get_json()
    second = call("admin", "GET", f"/events?limit=2&after={first['next']}").get_json()
    ids = [event["id"] for event in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 4


def test_a_change_that_fails_leaves_no_event(call: Call) -> None:
    before = call("admin", "GET", "/events").get_json()["items"]
    call("admin", "POST", "/accounts", json={"name": "x", "email": "admin@example.org"})
    assert call("admin", "GET", "/events").get_json()["items"] == before


def test_the_audit_trail_cannot_be_edited(app: Flask, client: FlaskClient) -> None:
    rules = [r for r in app.url_map.iter_rules() if "event" in r.rule]
    assert {method for rule in rules for method in rule.methods or ()} == {"GET", "HEAD", "OPTIONS"}
    with app.app_context():
        event = db.session.scalars(sa.select(Event)).first()
        assert event
        event.action = "something else"
        with pytest.raises(TypeError):
            db.session.commit()
        db.session.rollback()
        db.session.delete(db.session.scalars(sa.select(Event)).first())
        with pytest.raises(TypeError):
            db.session.commit()
