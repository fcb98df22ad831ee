"""Four people: an admin, an operator, a viewer, and nobody."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.fleet import accounts
from app.fleet.accounts import tokens
from app.fleet.core.permissions import Actor
from app.models import Role

ROOT = Actor(id=None, name="test", role=Role.ADMIN)


@pytest.fixture
def people(app: Flask) -> dict[str, tuple[int, str]]:
    """Role -> (account id, token)."""
    made = {}
    with app.app_context():
        for role in Role:
            account, _ = accounts.create_account(
                ROOT, {"name": role.value, "email": f"{role}@example.org", "role": role}
            )
            issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="test", expires_days=1)
            made[role.value] = (account.id, issued.text or "")
    return made


Call = Callable[..., TestResponse]


@pytest.fixture
def call(client: FlaskClient, people: dict[str, tuple[int, str]]) -> Call:
    """call("admin", "GET", "/accounts"): a request to the API as someone."""

    def ask(who: str | None, method: str, path: str, **more: object) -> TestResponse:
        headers = dict(more.pop("headers", {}))  # type: ignore[call-overload]
        if who:
            headers["Authorization"] = f"Bearer {people[who][1]}"
        return client.open(f"/api/v1{path}", method=method, headers=headers, **more)  # type: ignore[arg-type]

    return ask


def assert_problem(
    response: TestResponse, status: int, slug: str | None = None
) -> dict[str, object]:
    """The one shape of every error."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body = response.get_json()
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert body["status"] == status
    if slug:
        assert body["type"] == f"/problems/{slug}"
    return dict(body)
