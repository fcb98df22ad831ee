"""The served description, held against the served API, with a token of each role."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from tests.api.walking import ROLLOUTS, answers, server, walk
from tests.conftest import settings_for

__all__ = ["answers", "server"]

ALL = {f"api.{name}" for name in ("accounts.list_", "accounts.read")} | {
    f"api.tokens.{name}" for name in ("me", "create", "list_", "read", "revoke")
}
ALL |= {"api.projects.list_", "api.databases.list_", "api.databases.overview"}
REACHING = {f"api.databases.{name}" for name in ("create", "import_", "drop")}
"""What asks other servers while the caller waits: these may be away."""
OPERATORS = ALL | {"api.accounts.create", "api.accounts.change", "api.events.list_"}
ADMINS = (
    OPERATORS
    | {"api.accounts.delete"}
    | {
        f"api.webhooks.{name}"
        for name in ("create", "list_", "read", "delete", "deliveries", "test")
    }
)
MAY = {"viewer": ALL, "operator": OPERATORS, "admin": ADMINS}


@pytest.fixture
def app(backend: str, migrated: Callable[[str], URL], tmp_path: Path) -> Iterator[Flask]:
    roots = {"data_roots": (tmp_path / "data",), "project_roots": (tmp_path / "projects",)}
    app = create_app(settings_for(migrated(backend), **roots))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    ("backend", "role"),
    [
        pytest.param("sqlite", "viewer", marks=pytest.mark.thorough),
        pytest.param("sqlite", "operator", marks=pytest.mark.thorough),
        pytest.param("postgresql", "admin", marks=pytest.mark.thorough),
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
    others = ("--exclude-path-regex", ROLLOUTS)  # they have a test of their own
    walk(server, people[role][1], *others, "--max-examples", "2", cwd=tmp_path, timeout=600)
    done_right = {endpoint for endpoint, status in answers if 200 <= status < 300}
    assert MAY[role] <= done_right, "a run that is refused everywhere shows nothing"
    away = {(endpoint, status) for endpoint in REACHING for status in (502, 503)}
    assert max(status for endpoint, status in answers.keys() - away) < 500
