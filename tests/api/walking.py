"""Walks of the API by schemathesis: a served app, and what it answered."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask, Response, request

from app.extensions import db
from app.fleet.accounts import limits
from app.models import Token
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
def server(
    app: Flask, answers: Counter[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    # Thousands of requests from one address, most refused.
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(1_000_000, timedelta(0)))
    with serve(app) as url:
        yield url


def walk(server: str, token: str, *options: str, cwd: Path, timeout: float) -> None:
    """Send what the description allows and what it does not, by whoever has this token."""
    command = [
        *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{server}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {token}", "--phases", "examples,coverage,fuzzing"),
        *("--seed", "1", "--no-color", "--generation-database", "none", "--workers", "1"),
    ]
    command += options
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=timeout)
    assert done.returncode == 0, done.stdout[-6000:]


ROLLOUTS = "/rollouts|/runs|/open$"
