"""Every operation of the API with every kind of credential, and by everybody who may not."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import invitations, limits, sessions, tokens
from app.models import Account, Role, Scope, Token
from tests.api.conftest import ROOT, assert_problem

OPEN = {("POST", "/sign-in"), ("GET", "/openapi.json")}
M, V, O, A = Role  # noqa: E741
ROLLOUT: dict[str, Any] = {"project_id": 9}
IGNORED = {"project_id": 9, "digest": "a" * 64, "reason": "r"}
PIN = {"reason": "r", "until": "2099-01-31T00:00:00Z"}
DATABASE = {"project_id": 9, "url": "mysql://h/x"}
WEBHOOK = {"name": "w", "url": "https://example.org/"}
OPERATIONS: dict[tuple[str, str], tuple[Role, dict[str, Any] | None]] = {
    ("GET", "/accounts"): (V, None),
    ("GET", "/accounts/1"): (V, None),
    ("POST", "/accounts"): (O, {"name": "x"}),
    ("PATCH", "/accounts/1"): (O, {"location": "here"}),
    ("DELETE", "/accounts/1"): (A, None),
    ("GET", "/databases"): (M, None),
    ("GET", "/databases/1"): (M, None),
    ("GET", "/databases/1/plan"): (M, None),
    ("GET", "/databases/find"): (M, None),
    ("POST", "/databases"): (O, DATABASE),
    ("POST", "/databases/create"): (O, DATABASE),
    ("POST", "/databases/import"): (O, {"project_id": 9, "csv": "name,url\n"}),
    ("PATCH", "/databases"): (O, {"selector": {}, "labels": {"a": "b"}}),
    ("PATCH", "/databases/1"): (O, {"notes": "n"}),
    ("DELETE", "/databases/1"): (O, None),
    ("POST", "/databases/1/drop"): (A, {"confirm": "x"}),
    ("POST", "/databases/1/open"): (O, {}),
    ("POST", "/databases/1/pin"): (O, PIN),
    ("DELETE", "/databases/1/pin"): (O, None),
    ("POST", "/databases/1/runs"): (O, {"kind": "upgrade"}),
    ("GET", "/drifts"): (M, None),
    ("GET", "/drifts/differences"): (M, None),
    ("POST", "/drifts/ignored"): (O, IGNORED),
    ("DELETE", "/drifts/ignored/1/x"): (O, None),
    ("GET", "/events"): (O, None),
    ("GET", "/grants"): (M, None),
    ("POST", "/grants"): (A, {"project_id": 9, "account": "x", "role": "viewer"}),
    ("DELETE", "/grants/1/1"): (A, None),
    ("GET", "/me"): (M, None),
    ("GET", "/overview"): (M, None),
    ("GET", "/projects"): (M, None),
    ("GET", "/projects/1"): (M, None),
    ("GET", "/projects/find"): (M, None),
    ("POST", "/projects"): (A, {"name": "n", "location": "/x"}),
    ("PATCH", "/projects/1"): (A, {"notes": "n"}),
    ("DELETE", "/projects/1"): (A, None),
    ("POST", "/projects/1/refresh"): (O, {}),
    ("GET", "/projects/1/revisions"): (M, None),
    ("GET", "/projects/1/revisions/x"): (M, None),
    ("GET", "/rollouts"): (M, None),
    ("GET", "/rollouts/1"): (M, None),
    ("GET", "/rollouts/1/events"): (M, None),
    ("GET", "/rollouts/1/preview"): (M, None),
    ("GET", "/rollouts/1/progress"): (M, None),
    ("GET", "/rollouts/1/undo/preview"): (M, None),
    ("POST", "/rollouts/preview"): (M, ROLLOUT),
    ("POST", "/rollouts"): (O, ROLLOUT),
    **{
        ("POST", f"/rollouts/1/{verb}"): (O, {})
        for verb in ("approve", "cancel", "pause", "rehearse", "resume", "retry", "start", "undo")
    },
    ("GET", "/runs"): (M, None),
    ("GET", "/runs/1"): (M, None),
    ("GET", "/runs.csv"): (M, None),
    ("GET", "/runs.jsonl"): (M, None),
    ("GET", "/tokens"): (M, None),
    ("GET", "/tokens/1"): (M, None),
    ("POST", "/tokens"): (M, {"name": "mine"}),
    ("DELETE", "/tokens/1"): (M, None),
    ("GET", "/webhooks"): (A, None),
    ("POST", "/webhooks"): (A, WEBHOOK),
    ("GET", "/webhooks/1"): (A, None),
    ("DELETE", "/webhooks/1"): (A, None),
    ("GET", "/webhooks/1/deliveries"): (A, None),
    ("POST", "/webhooks/1/test"): (A, {}),
    ("GET", "/workers"): (V, None),
}
"""Each operation: the lowest role that may, and a body that is right in all but what it names."""

QUERIES = {
    "/drifts": "?project_id=1",
    "/drifts/differences": "?project_id=1&digest=a",
    "/databases/find": "?name=x",
    "/projects/find": "?name=x",
}


def ask(client: FlaskClient, operation: tuple[str, str], credential: str = "") -> TestResponse:
    method, path = operation
    _, body = OPERATIONS[operation]
    headers = {"If-Match": "*"} | ({"Authorization": credential} if credential else {})
    more: dict[str, Any] = {} if body is None else {"json": body}
    query = QUERIES.get(path, "")
    return client.open(f"/api/v1{path}{query}", method=method, headers=headers, **more)


def test_every_operation_is_in_the_table(app: Flask) -> None:
    names = {"revision": "x", "digest": "x"}
    found = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", lambda name: names.get(name[1], "1"), rule.rule[7:]))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1/")
    }
    assert found == OPERATIONS.keys() | OPEN


def _refused(account_id: int) -> dict[str, str]:
    """What is no token of a program, or not any more, of an admin: by what it is."""

    def issue(**columns: object) -> str:
        issued, _ = tokens.issue_token(ROOT, account_id=account_id, name="t", expires_days=1)
        for name, value in columns.items():
            setattr(db.session.get_one(Token, issued.token.id), name, value)
        db.session.commit()
        return issued.text or ""

    past = datetime.now(UTC) - timedelta(minutes=1)
    good = issue()
    other, _ = accounts.create_account(ROOT, {"name": "away", "role": "admin"})
    disabled, _ = tokens.issue_token(ROOT, account_id=other.id, name="t", expires_days=1)
    accounts.change_account(ROOT, other.id, {"disabled": True}, version=None)
    session, _ = sessions.start(good, request_id=None, ip=None)
    bearers = {
        "a session": session.text or "",
        "an invitation": invitations.invite(ROOT, account_id).text or "",
        "expired": issue(expires_at=past),
        "revoked": issue(revoked_at=past),
        "of a disabled account": disabled.text or "",
        "another secret": f"{good[:-4]}AAAA",
        "another prefix": f"hw_000000000000_{good.split('_', 2)[2]}",
        "its digest": db.session.get_one(Token, disabled.token.id).digest,
        "two": f"{good} {good}",
    }
    return {what: f"Bearer {text}" for what, text in bearers.items()} | {
        "no scheme": good,
        "a password": "Basic aHc6aHc=",
        "none": "",
    }


def test_no_other_credential_opens_an_operation(
    app: Flask,
    client: FlaskClient,
    people: dict[str, tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "refused_bearer", lambda _: None)  # hundreds, from one address
    with app.app_context():
        refused = _refused(people["admin"][0])
    for operation in OPERATIONS:
        for what, credential in refused.items():
            answer = ask(client, operation, credential)
            assert answer.status_code == 401, (operation, what, answer.text)
            assert_problem(answer, 401, "token-refused")
    client.set_cookie("headway_session", refused["a session"].removeprefix("Bearer "))
    for operation in OPERATIONS:
        assert ask(client, operation).status_code == 401, "a cookie is for the pages"


@pytest.mark.parametrize("scope", [None, *Scope])
@pytest.mark.parametrize("role", list(Role))
def test_every_operation_by_everybody_who_may_not(
    app: Flask, client: FlaskClient, role: Role, scope: Scope | None
) -> None:
    with app.app_context():
        db.session.get_one(Account, 1).role = Role.VIEWER  # nobody's superior
        db.session.commit()
        person, _ = accounts.create_account(ROOT, {"name": "p", "role": role})
        asked = {"name": "t", "expires_days": 1, "scope": scope}
        issued, _ = tokens.issue_token(ROOT, account_id=person.id, **asked)
        text = f"Bearer {issued.text}"
        has = scope.narrow(role) if scope else role
    # What would end the token itself, or the account that it is of, comes last.
    for operation in sorted(OPERATIONS, key=lambda one: one[0] == "DELETE"):
        lowest, _ = OPERATIONS[operation]
        answer = ask(client, operation, text)
        if not has.includes(lowest):
            assert_problem(answer, 403, "role-insufficient")
        elif scope and operation in (("POST", "/tokens"), ("DELETE", "/tokens/1")):
            assert answer.status_code == 403, "a narrowed token makes and revokes none"
        else:
            fits = answer.status_code in (200, 201, 202, 204, 404, 409)
            assert fits or "outside-roots" in answer.text, (operation, answer.text)
        answer.close()  # an export has one place
