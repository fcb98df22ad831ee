"""A browser without a script: follows links and sends forms."""

import re

from flask import g
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.fleet.accounts import tokens
from app.models import Role
from tests.fleet.conftest import person
from tests.fleet.fleets import ROOT, Fleet

FORGERY = re.compile(r'name="csrf_token" value="([^"]+)"')


class Browser:
    """Somebody at a browser."""

    def __init__(self, fleet: Fleet, role: Role | None = Role.OPERATOR, name: str = "") -> None:
        self.client: FlaskClient = fleet.app.test_client()
        self.token = ""
        if role:
            account, self.actor = person(role, name or role.value)
            issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="mine", expires_days=1)
            self.token = issued.text or ""
            assert self.post("/sign-in", token=self.token).status_code == 302

    def get(self, path: str, **more: object) -> TestResponse:
        forget()
        return self.client.get(path, **more)  # type: ignore[arg-type]

    def post(self, path: str, at: str = "", **form: object) -> TestResponse:
        """Fill in the form at a page, by default at the same path, and send it."""
        found = FORGERY.search(self.get(at or path).text)
        forget()
        return self.client.post(path, data={"csrf_token": found[1] if found else "", **form})


def forget() -> None:
    """The test's own app context is that of its requests too: each begins with nothing."""
    for name in ("csrf_token", "csrf_valid", "actor", "token_id"):
        g.pop(name, None)
