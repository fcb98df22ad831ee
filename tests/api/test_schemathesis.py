"""The served description, held against the served API, with a token of each role."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask, Response, request
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db, limiter
from app.models import Token
from tests.conftest import settings_for
from tests.live import serve

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.fixture
def answers(app: Flask) -> Counter[tuple[str, int]]:
    """(operation, status) -> how often."""
    seen: Counter[tuple[str, int]] = Counter()

    @app.after_request
    def count(response: Response) -> Response:
        seen[(str(request.endpoint), response.status_code)] += 1
        if request.endpoint == "api.tokens.revoke":  # or all that follows would only be refused
            with db.engine.begin() as connection:
                connection.execute(sa.update(Token).values(revoked_at=None))
        return response

    return seen


@pytest.fixture
def server(app: Flask, answers: Counter[tuple[str, int]]) -> Iterator[str]:
    limiter.enabled = False  # thousands of requests from one address, most refused
    with serve(app) as url:
        yield url
    limiter.enabled = True


ALL = {f"api.{name}" for name in ("accounts.list_", "accounts.read")} | {
    f"api.tokens.{name}" for name in ("me", "create", "list_", "read", "revoke")
}
OPERATORS = ALL | {"api.accounts.create", "api.accounts.change", "api.events.list_"}
MAY = {"viewer": ALL, "operator": OPERATORS, "admin": OPERATORS | {"api.accounts.delete"}}


@pytest.fixture
def app(backend: str, migrated: Callable[[str], URL]) -> Iterator[Flask]:
    app = create_app(settings_for(migrated(backend)))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    ("backend", "role"),
    [
        *(("sqlite", role) for role in MAY),
        ("postgresql", "admin"),
        ("mariadb", "admin"),
    ],
)
def test_the_api_keeps_what_its_description_says(
    server: str,
    people: dict[str, tuple[int, str]],
    answers: Counter[tuple[str, int]],
    role: str,
    tmp_path: Path,
) -> None:
    command = [
        *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{server}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {people[role][1]}"),
        *("--max-examples", "40", "--phases", "examples,coverage,fuzzing"),
        *("--seed", "1", "--no-color", "--generation-database", "none", "--workers", "1"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:]
    done_right = {endpoint for endpoint, status in answers if 200 <= status < 300}
    assert MAY[role] <= done_right, "a run that is refused everywhere shows nothing"
    assert max(status for _, status in answers) < 500
