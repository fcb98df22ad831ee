"""The same for rollouts and runs, on a catalog that has some: elsewhere all is "not there"."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app.http import event_stream
from tests.api.walking import ROLLOUTS, answers, server, walk
from tests.fleet.fleets import fleet_on

__all__ = ["answers", "server"]

READ = {
    *(f"api.rollouts.{name}" for name in ("list_", "read", "preview", "preview_new")),
    *("api.rollouts.progress", "api.rollouts.events"),
    *(f"api.runs.{name}" for name in ("list_", "read", "json_lines", "csv")),
}
ACT = {
    *(f"api.rollouts.{name}" for name in ("create", "start", "rehearse", "cancel", "undo")),
    *("api.runs.start", "api.runs.open_"),
}
MAY = {"viewer": READ, "operator": READ | ACT, "admin": READ | ACT}


@pytest.fixture
def app(
    backend: str,
    migrated: Callable[[str], URL],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Flask]:
    monkeypatch.setattr(event_stream, "SECONDS", 0.1)
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.02)
    with fleet_on(migrated(backend), tmp_path) as fleet:
        fleet.add("one")
        fleet.add("lazy", strategy="on_open")
        fleet.add("two")
        fleet.start(target="r002")
        fleet.drain()
        yield fleet.app


@pytest.mark.parametrize(
    ("backend", "role"),
    [
        pytest.param("sqlite", "viewer", marks=pytest.mark.thorough),
        pytest.param("sqlite", "operator", marks=pytest.mark.thorough),
        ("postgresql", "admin"),
    ],
)
def test_rollouts_keep_what_their_description_says(
    server: str,
    people: dict[str, tuple[int, str]],
    answers: Counter[tuple[str, int]],
    role: str,
    tmp_path: Path,
) -> None:
    ours = ("--include-path-regex", ROLLOUTS)
    walk(server, people[role][1], *ours, "--max-examples", "4", cwd=tmp_path, timeout=400)
    done_right = {endpoint for endpoint, status in answers if 200 <= status < 300}
    assert MAY[role] <= done_right, "a run that is refused everywhere shows nothing"
    assert max(status for _, status in answers) < 500
