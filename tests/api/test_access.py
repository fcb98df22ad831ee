"""Everything needs a token; tokens can be lost, revoked, used up."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.extensions import db
from app.fleet.accounts import invitations, limits
from app.models import Token
from tests.api.conftest import Call, assert_problem
from tests.conftest import settings_for

OPEN = {"/api/v1/sign-in", "/api/v1/openapi.json"}


def api_rules(app: Flask) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"<(int:)?\w+>", "1", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if rule.rule.startswith("/api/v1/")
    ]


def test_every_operation_without_a_token_is_refused(app: Flask, client: FlaskClient) -> None:
    rules = [rule for rule in api_rules(app) if rule[1] not in OPEN]
    assert len(rules) >= 9
    for method, path in rules:
        response = client.open(path, method=method)
        assert_problem(response, 401, "token-refused")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Basic aHc6aHc=", "Bearer hw_first_" + "a" * 43, "bearer \x7f"],
)
def test_what_is_no_token_is_refused(client: FlaskClient, header: str) -> None:
    assert_problem(
        client.get("/api/v1/me", headers={"Authorization": header}), 401, "token-refused"
    )


def test_a_token_in_the_query_is_no_token(call: Call, people: dict[str, tuple[int, str]]) -> None:
    assert_problem(call(None, "GET", f"/me?token={people['admin'][1]}"), 401)


def test_who_asks_is_told_who_they_are(call: Call, people: dict[str, tuple[int, str]]) -> None:
    for role, (account, _) in people.items():
        assert call(role, "GET", "/me").get_json() == {"id": account, "name": role, "role": role}


RIGHTS = [
    # viewer, operator, admin
    ("GET", "/accounts", None, (200, 200, 200)),
    ("GET", "/accounts/1", None, (200, 200, 200)),
    ("POST", "/accounts", {"name": "x"}, (403, 201, 201)),
    ("POST", "/accounts", {"name": "x", "role": "admin"}, (403, 403, 201)),
    ("PATCH", "/accounts/{viewer}", {"location": "here"}, (403, 200, 200)),
    ("PATCH", "/accounts/{viewer}", {"role": "operator"}, (403, 403, 200)),
    ("PATCH", "/accounts/{admin}", {"location": "here"}, (403, 403, 200)),
    ("DELETE", "/accounts/{viewer}", None, (403, 403, 204)),
    ("GET", "/events", None, (403, 200, 200)),
    ("POST", "/tokens", {"name": "mine"}, (201, 201, 201)),
    ("POST", "/tokens", {"name": "theirs", "account_id": 1}, (403, 403, 201)),
    ("GET", "/tokens", None, (200, 200, 200)),
    ("GET", "/tokens?account_id=1", None, (403, 403, 200)),
    ("DELETE", "/tokens/1", None, (404, 404, 204)),
]


@pytest.mark.parametrize("place", range(3), ids=["viewer", "operator", "admin"])
@pytest.mark.parametrize(("method", "path", "body", "expected"), RIGHTS)
def test_each_role_may_do_what_the_table_says(
    call: Call,
    people: dict[str, tuple[int, str]],
    place: int,
    method: str,
    path: str,
    body: object,
    expected: tuple[int, int, int],
) -> None:
    who = ("viewer", "operator", "admin")[place]
    path = path.format(**{role: account for role, (account, _) in people.items()})
    more = {"json": body} if body is not None else {}
    response = call(who, method, path, headers={"If-Match": "*"}, **more)
    assert response.status_code == expected[place], response.text
    if expected[place] == 403:
        assert_problem(response, 403, "role-insufficient")


def test_nobody_raises_their_own_role(call: Call, people: dict[str, tuple[int, str]]) -> None:
    for role in ("viewer", "operator", "admin"):
        path = f"/accounts/{people[role][0]}"
        target = "viewer" if role == "admin" else "admin"
        response = call(role, "PATCH", path, json={"role": target}, headers={"If-Match": "*"})
        assert_problem(response, 403, "role-insufficient")


def test_a_revoked_token_is_refused(call: Call, people: dict[str, tuple[int, str]]) -> None:
    mine = call("viewer", "GET", "/tokens").get_json()["items"]
    assert call("viewer", "DELETE", f"/tokens/{mine[0]['id']}").status_code == 204
    assert_problem(call("viewer", "GET", "/me"), 401, "token-refused")


def test_an_expired_token_is_refused(app: Flask, call: Call) -> None:
    with app.app_context():
        past = datetime.now(UTC) - timedelta(seconds=1)
        db.session.execute(sa.update(Token).values(expires_at=past))
        db.session.commit()
    assert_problem(call("admin", "GET", "/me"), 401, "token-refused")


def test_the_tokens_of_a_deleted_account_go_with_it(
    call: Call, people: dict[str, tuple[int, str]]
) -> None:
    path = f"/accounts/{people['viewer'][0]}"
    assert call("admin", "DELETE", path, headers={"If-Match": "*"}).status_code == 204
    assert_problem(call("viewer", "GET", "/me"), 401, "token-refused")


def test_a_token_is_shown_once_and_kept_as_a_digest(app: Flask, call: Call) -> None:
    made = call("viewer", "POST", "/tokens", json={"name": "deploy"}).get_json()
    text, secret = made["token"], made["token"].split("_", 2)[2]
    assert call("viewer", "GET", "/tokens").get_json()["items"][-1] == {
        key: value for key, value in made.items() if key != "token"
    } | {"last_used_at": None}
    with app.app_context():
        rows = [tuple(row) for row in db.session.execute(sa.select(Token.__table__))]
    assert text not in str(rows)
    assert secret not in str(rows)


def test_when_a_token_was_last_used_is_kept(call: Call) -> None:
    call("viewer", "GET", "/me")
    assert call("viewer", "GET", "/tokens").get_json()["items"][0]["last_used_at"]


# --- the first sign-in ----------------------------------------------------------------------------


def invitation(app: Flask) -> str | None:
    with app.app_context():
        return invitations.invite_first_admin()


def test_the_first_start_invites_an_admin_once(
    sqlite_url: sa.URL, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(settings_for(sqlite_url))
    said = capsys.readouterr().err
    text = next(word for word in said.split() if word.startswith("hw_first_"))
    create_app(settings_for(sqlite_url))
    assert "hw_first_" not in capsys.readouterr().err
    client = app.test_client()
    signed_in = client.post("/api/v1/sign-in", json={"token": text})
    assert signed_in.status_code == 201
    token = signed_in.get_json()["token"]
    me = client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    assert me.get_json()["role"] == "admin"
    assert_problem(client.post("/api/v1/sign-in", json={"token": text}), 401, "token-refused")
    assert invitation(app) is None


def test_an_invitation_that_nobody_took_is_made_anew(sqlite_url: sa.URL) -> None:
    app = create_app(settings_for(sqlite_url))
    with app.app_context():
        past = datetime.now(UTC) - timedelta(seconds=1)
        db.session.execute(sa.update(Token).values(expires_at=past))
        db.session.commit()
    text = invitation(app)
    assert text
    assert app.test_client().post("/api/v1/sign-in", json={"token": text}).status_code == 201


def test_a_one_time_token_opens_nothing_else(
    sqlite_url: sa.URL, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(settings_for(sqlite_url))
    text = next(w for w in capsys.readouterr().err.split() if w.startswith("hw_first_"))
    response = app.test_client().get("/api/v1/me", headers={"Authorization": f"Bearer {text}"})
    assert_problem(response, 401, "token-refused")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five refusals are enough."""
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(5, timedelta(minutes=1)))


def test_guessing_is_slowed_down(client: FlaskClient, few: None) -> None:
    statuses = [client.post("/api/v1/sign-in", json={"token": "x"}).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    response = client.post("/api/v1/sign-in", json={"token": "x"})
    assert_problem(response, 429)
    assert int(response.headers["Retry-After"]) >= 1


def test_refused_tokens_are_counted_and_those_that_are_right_are_not_asked(
    client: FlaskClient, call: Call, few: None
) -> None:
    wrong = {"Authorization": "Bearer hw_0000_" + "a" * 43}
    statuses = [client.get("/api/v1/me", headers=wrong).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert call("viewer", "GET", "/me").status_code == 200
    elsewhere = client.get("/api/v1/me", headers=wrong, environ_base={"REMOTE_ADDR": "10.0.0.7"})
    assert elsewhere.status_code == 401


def test_a_start_keeps_no_connection_that_a_fork_would_share(sqlite_url: sa.URL) -> None:
    for _ in range(2):  # one that invites, one that only looks
        app = create_app(settings_for(sqlite_url))
        with app.app_context():
            pool = db.engine.pool
            assert isinstance(pool, sa.QueuePool)
            assert pool.checkedin() + pool.checkedout() == 0
