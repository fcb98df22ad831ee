"""Server-sent events, from real servers to a real client."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from flask import Flask
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import rollouts
from app.fleet.accounts import tokens
from app.http import event_stream
from tests import servers
from tests.conftest import environment_for
from tests.fleet.fleets import ROOT, Fleet, fleet_on
from tests.live import serve

ROOT_FOLDER = Path(__file__).resolve().parents[2]


@pytest.fixture
def fleet(template_copy: URL, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def app(fleet: Fleet) -> Flask:
    return fleet.app


@pytest.fixture
def server(app: Flask) -> Iterator[str]:
    with serve(app) as url:
        yield url


class Sent(NamedTuple):
    """One event as it came."""

    name: str
    id: str
    data: dict[str, object]


class Client:
    """Somebody who listens in a thread, and writes down what comes."""

    def __init__(self, url: str, token: str, last: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
        self.response = requests.get(url, headers=headers, stream=True, timeout=20)
        self.lines: list[str] = []
        self.events: list[Sent] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for raw in self.response.iter_lines(chunk_size=1):
                line = raw.decode()
                self.lines.append(line)
                if self.response.status_code != 200:
                    continue
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    data = json.loads(fields["data"])
                    self.events.append(Sent(fields["event"], fields["id"], data))
                    fields = {}
        except (requests.RequestException, AttributeError, ValueError):
            pass  # it was closed
        finally:
            self.response.close()

    def until(self, holds: Callable[["Client"], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds(self):
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def ended(self) -> list[Sent]:
        """Wait for the end; all that came."""
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.events


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.05)


@pytest.fixture
def listen(server: str, people: dict[str, tuple[int, str]]) -> Iterator[Callable[..., Client]]:
    open_: list[Client] = []

    def to(rollout: int, last: str = "", token: str = "") -> Client:
        where = f"{server}/api/v1/rollouts/{rollout}/events"
        open_.append(Client(where, token or people["viewer"][1], last))
        return open_[-1]

    yield to
    for client in open_:
        client.ended()


def test_who_listens_hears_every_change_and_the_end(
    fleet: Fleet, listen: Callable[..., Client]
) -> None:
    fleet.add_many(3)
    rollout = fleet.start(waves=["1", "100%"])
    client = listen(rollout.id)
    assert client.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert client.response.headers["Cache-Control"] == "no-store"
    client.until(lambda c: len(c.events) == 1)
    assert client.lines[0] == "retry: 1000"
    assert client.events[0].data["done"] == 0
    fleet.work(1)
    client.until(lambda c: c.events[-1].data["done"] == 1)
    fleet.drain()
    client.ended()
    *_, last, end = client.events
    assert (last.name, last.data["stage"], last.data["done"]) == ("progress", "succeeded", 3)
    assert (end.name, end.data) == ("end", {"stage": "succeeded", "reason": None})
    ids = [event.id for event in client.events]
    assert len(ids) == len(set(ids)), "only what changed is said"


def test_what_was_seen_is_not_sent_again(fleet: Fleet, listen: Callable[..., Client]) -> None:
    fleet.add("a")
    rollout = fleet.start()
    fleet.drain()
    progress, end = listen(rollout.id).ended()
    (again,) = listen(rollout.id, progress.id).ended()
    assert again == end
    nothing = listen(rollout.id, end.id)
    assert nothing.response.status_code == 204, "an EventSource that is told this stops asking"
    nothing.ended()
    rollouts.undo_rollout(ROOT, rollout.id)
    more = listen(rollout.id, end.id)
    more.until(lambda c: bool(c.events))
    assert more.events[0].data["stage"] == "undoing"
    fleet.drain()
    more.ended()
    assert more.events[-1].data == {"stage": "undone", "reason": None}


@pytest.mark.parametrize("verb", ["pause", "halt", "nothing", "cancel"])
def test_it_ends_when_nothing_more_happens_by_itself(
    fleet: Fleet, listen: Callable[..., Client], verb: str
) -> None:
    fleet.add_many(2)
    rollout = fleet.rollout(waves=["1", "100%"], retreat=verb == "halt")
    if verb != "nothing":
        rollouts.start_rollout(ROOT, rollout.id)
    if verb == "pause":
        rollouts.pause_rollout(ROOT, rollout.id)
    elif verb == "cancel":
        rollouts.cancel_rollout(ROOT, rollout.id)
    elif verb == "halt":
        (fleet.folder / "d000.db").write_bytes(b"no database at all" * 100)
        fleet.drain()
    client = listen(rollout.id)
    client.ended()
    assert [event.name for event in client.events] == ["progress", "end"]
    stage = {"pause": "paused", "halt": "halted", "nothing": "pending", "cancel": "cancelled"}
    assert client.events[-1].data["stage"] == stage[verb]


def test_a_canary_that_is_to_be_taken_back_is_waited_for(
    fleet: Fleet, listen: Callable[..., Client]
) -> None:
    fleet.add_many(2)
    gate = {"check": "sql", "sql": "SELECT 0"}
    rollout = fleet.start(waves=["1", "100%"], gate=gate)
    fleet.work(1)
    assert fleet.stage(rollout) == "undoing"
    client = listen(rollout.id)
    client.until(lambda c: bool(c.events))
    time.sleep(0.3)
    assert [event.name for event in client.events] == ["progress"], "its retreat is to come"
    fleet.drain()
    client.ended()
    end = client.events[-1]
    assert end.name == "end"
    assert str(end.data["reason"]).endswith("The canary was undone.")


def test_it_ends_after_a_while_and_shows_that_it_is_alive(
    fleet: Fleet, listen: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "SECONDS", 0.8)
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.2)
    fleet.add("a")
    client = listen(fleet.start().id)
    client.ended()
    assert [event.name for event in client.events] == ["progress"]
    assert client.lines.count(": still here") >= 2


def test_only_so_many_listen_and_who_leaves_makes_room(
    fleet: Fleet,
    listen: Callable[..., Client],
    people: dict[str, tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "SECONDS", 1.0)
    fleet.add("a")
    rollout = fleet.start()
    first, second = listen(rollout.id), listen(rollout.id)
    third = listen(rollout.id)
    other = listen(rollout.id, token=people["operator"][1])
    assert other.response.status_code == 200, "no account takes all places"
    third.ended()
    assert third.response.status_code == 503
    assert int(third.response.headers["Retry-After"]) > 0
    assert json.loads("".join(third.lines))["type"] == "/problems/too-many-streams"
    first.ended()
    second.ended()
    for _ in range(3):
        fourth = listen(rollout.id)
        assert fourth.response.status_code == 200
        fourth.ended()


def test_a_token_that_is_revoked_hears_no_more(
    fleet: Fleet, listen: Callable[..., Client], people: dict[str, tuple[int, str]]
) -> None:
    fleet.add_many(2)
    rollout = fleet.start(waves=["1", "100%"])
    account, _ = people["viewer"]
    issued, _ = tokens.issue_token(ROOT, account_id=account, name="x", expires_days=1)
    client = listen(rollout.id, token=issued.text)
    client.until(lambda c: bool(c.events))
    tokens.revoke_token(ROOT, issued.token.id)
    client.ended()
    fleet.drain()
    assert [event.data["done"] for event in client.events] == [0]
    assert listen(rollout.id, token=issued.text).response.status_code == 401


def test_nothing_of_the_catalog_is_held_between_two_looks(
    fleet: Fleet, listen: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.5)
    monkeypatch.setattr(event_stream, "SECONDS", 1.5)
    fleet.add("a")
    rollout = fleet.start()
    db.session.remove()
    client = listen(rollout.id)
    client.until(lambda c: bool(c.events))
    time.sleep(0.2)
    assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_catalog_that_is_away_for_a_moment_ends_nothing(
    fleet: Fleet, listen: Callable[..., Client]
) -> None:
    fleet.add_many(2)
    rollout = fleet.start(waves=["1", "100%"])
    client = listen(rollout.id)
    client.until(lambda c: bool(c.events))
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE run RENAME TO away")
    time.sleep(0.3)
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO run")
    fleet.drain()
    client.ended()
    assert client.events[-1].name == "end"


def test_who_may_not_read_or_asks_for_nothing_is_told_so(
    listen: Callable[..., Client], fleet: Fleet
) -> None:
    assert listen(999).response.status_code == 404
    assert listen(1, token="hw_nobody").response.status_code == 401


def test_gunicorn_is_not_kept_from_stopping(
    fleet: Fleet, people: dict[str, tuple[int, str]]
) -> None:
    fleet.add("a")
    rollout = fleet.start()
    url = db.engine.url
    db.session.remove()
    port = servers.free_port()
    env = environment_for(
        url,
        PORT=str(port),
        WEB_CONCURRENCY="1",
        HEADWAY_WORKERS="0",
        HEADWAY_ENCRYPTION_KEYS="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    )
    command = [str(Path(sys.executable).with_name("gunicorn")), "wsgi:app"]
    master = subprocess.Popen(command, cwd=ROOT_FOLDER, env=env)
    try:
        until_ready(port)
        where = f"http://127.0.0.1:{port}/api/v1/rollouts/{rollout.id}/events"
        client = Client(where, people["viewer"][1])
        client.until(lambda c: bool(c.events))
        asked = requests.get(
            f"http://127.0.0.1:{port}/api/v1/me",
            headers={"Authorization": f"Bearer {people['viewer'][1]}"},
            timeout=10,
        )
        assert asked.status_code == 200, "others are served meanwhile"
        began = time.monotonic()
        master.send_signal(signal.SIGTERM)
        client.ended()
        assert master.wait(20) == 0
        assert time.monotonic() - began < 15, "well within the time that a stop may take"
    finally:
        master.kill()
        master.wait()


def until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError("it does not get ready")
