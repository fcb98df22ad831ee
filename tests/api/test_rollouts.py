"""Rollouts by the API, on real files, with a worker in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import rollouts
from app.fleet.core.selectors import POSITIONS
from tests.api.conftest import Call, assert_problem
from tests.fleet.fleets import Fleet, fleet_on

Fleets = Callable[[], Fleet]


@pytest.fixture
def fleet(template_copy: URL, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def app(fleet: Fleet) -> Flask:
    return fleet.app


def asked(fleet: Fleet, **values: object) -> dict[str, object]:
    return {"project_id": fleet.project_id, **values}


def made(call: Call, fleet: Fleet, **values: object) -> int:
    response = call("operator", "POST", "/rollouts", json=asked(fleet, **values))
    assert response.status_code == 201, response.text
    return int(response.get_json()["id"])


def do(call: Call, rollout: int, verb: str, who: str = "operator", **body: object) -> str:
    response = call(who, "POST", f"/rollouts/{rollout}/{verb}", json=body)
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/api/v1/rollouts/{rollout}/progress"
    return str(response.get_json()["stage"])


def broken(fleet: Fleet, name: str) -> Path:
    """A file in which r002 fails."""
    path = fleet.folder / f"{name}.db"
    execute(path, "CREATE TABLE t2 (x INTEGER)")
    return path


def execute(path: Path, statement: str) -> None:
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


# --- made ----------------------------------------------------------------------------------------


def test_a_rollout_is_made_as_it_was_asked_for(call: Call, fleet: Fleet) -> None:
    body = asked(
        fleet,
        title="spring",
        selector={"labels": {"tier": "gold"}, "positions": ["behind"]},
        waves=["1", "10%", "100%"],
        gate={"failures": 2, "failures_percent": 1.5, "soak_seconds": 60, "approval": True},
        window={"from": "22:00", "until": "04:00", "days": ["sat"], "zone": "Europe/Berlin"},
        concurrency=20,
        per_server=2,
        timeout_seconds=30,
        snapshot=True,
        retreat=False,
    )
    response = call("operator", "POST", "/rollouts", json=body)
    rollout = response.get_json()
    assert response.status_code == 201, rollout
    assert response.headers["Location"] == f"/api/v1/rollouts/{rollout['id']}"
    assert rollout["target"] == "r003", "the head of today, not of the day it starts"
    assert (rollout["stage"], rollout["wave"], rollout["sizes"]) == ("pending", 0, [])
    assert rollout["selector"]["labels"] == {"tier": "gold"}
    assert rollout["gate"] == {"check": None, "sql": None, **body["gate"]}  # type: ignore[dict-item]
    assert rollout["window"] == body["window"]
    for name in ("title", "waves", "concurrency", "per_server", "timeout_seconds", "snapshot"):
        assert rollout[name] == body[name]
    assert rollout["retreat"] is False
    assert rollout["by_name"] == "operator"
    assert call("viewer", "GET", f"/rollouts/{rollout['id']}").get_json() == rollout


def test_the_same_post_with_the_same_key_makes_one(call: Call, fleet: Fleet) -> None:
    headers = {"Idempotency-Key": "k"}
    first = call("operator", "POST", "/rollouts", json=asked(fleet), headers=headers)
    again = call("operator", "POST", "/rollouts", json=asked(fleet), headers=headers)
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotent-Replayed"] == "true"
    other = call("operator", "POST", "/rollouts", json=asked(fleet, title="x"), headers=headers)
    assert_problem(other, 409, "idempotency-key-reused")


def test_the_same_step_with_the_same_key_is_taken_once(call: Call, fleet: Fleet) -> None:
    fleet.add("a")
    rollout = made(call, fleet)
    start, headers = f"/rollouts/{rollout}/start", {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = call("operator", "POST", start, json={}, headers=headers)
        assert (answer.status_code, answer.get_json()["stage"]) == (202, "running")
    assert_problem(call("operator", "POST", start, json={}), 409, "rollout-refused")
    call("operator", "POST", f"/rollouts/{rollout}/pause", json={})
    late = call("operator", "POST", start, json={}, headers=headers)
    assert (late.status_code, late.get_json()["stage"]) == (202, "paused"), "as it is now"
    other = call("operator", "POST", f"/rollouts/{rollout}/cancel", json={}, headers=headers)
    assert_problem(other, 409, "idempotency-key-reused")
    events = call("admin", "GET", "/events?limit=200").get_json()["items"]
    assert [one["action"] for one in events].count("rollout.started") == 1


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"kind": "rehearse"}, "/kind"),
        ({"kind": "explode"}, "/kind"),
        ({"waves": []}, "/waves"),
        ({"waves": ["0"]}, "/waves/0"),
        ({"waves": ["1", "101%"]}, "/waves/1"),
        ({"gate": {"failures": -1}}, "/gate/failures"),
        ({"gate": {"failures_percent": 101}}, "/gate/failures_percent"),
        ({"gate": {"soak_seconds": 1e300}}, "/gate/soak_seconds"),
        ({"gate": {"a.b/c": 1}}, "/gate/a.b~1c"),
        ({"window": {"from": "25:00", "until": "04:00"}}, "/window/from"),
        ({"window": {"from": "22:00", "until": "04:00", "days": ["someday"]}}, "/window/days/0"),
        ({"selector": {"project_id": 2}}, "/selector/project_id"),
        ({"selector": {"positions": ["nowhere"]}}, "/selector/positions/0"),
        ({"concurrency": 0}, "/concurrency"),
        ({"concurrency": "8"}, "/concurrency"),
        ({"timeout_seconds": 0}, "/timeout_seconds"),
        ({"snapshot": "yes"}, "/snapshot"),
        ({"target": ""}, "/target"),
        ({"title": "x" * 201}, "/title"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    call: Call, fleet: Fleet, values: dict[str, object], pointer: str
) -> None:
    for path in ("/rollouts", "/rollouts/preview"):
        problem = assert_problem(call("operator", "POST", path, json=asked(fleet, **values)), 422)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "downgrade"}, "needs its target"),
        ({"gate": {"check": "sql"}}, "needs a query"),
        ({"gate": {"sql": "SELECT 1"}}, "needs a query"),
        ({"target": "-1"}, "An upgrade cannot reach -1"),
        ({"kind": "downgrade", "target": "+1"}, "A downgrade cannot reach +1"),
        ({"waves": ["50%", "10%"]}, "waves must grow"),
        ({"waves": ["5", "50%", "1"]}, "Wave 1 after 5: waves must grow"),
        ({"gate": {"check": "sql", "sql": "DROP TABLE x"}}, "begin with SELECT"),
        ({"selector": {"labels": {"!!": ""}}}, "not a valid name of a label"),
        ({"window": {"from": "22:00", "until": "22:00"}}, "begins and ends at the same time"),
        ({"window": {"from": "22:00", "until": "04:00", "zone": "Mars/Olympus"}}, "Mars/Olympus"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(
    call: Call, fleet: Fleet, values: dict[str, object], words: str
) -> None:
    response = call("operator", "POST", "/rollouts", json=asked(fleet, **values))
    assert words in str(assert_problem(response, 422, "input-invalid")["detail"])


def test_what_it_names_has_to_be_there(call: Call, fleet: Fleet) -> None:
    gone = call("operator", "POST", "/rollouts", json={"project_id": 999})
    assert_problem(gone, 404, "project-not-found")
    for path in ("/rollouts/999", "/rollouts/99999999999999999999/progress"):
        assert_problem(call("viewer", "GET", path), 404, "rollout-not-found")
    missing = call("operator", "POST", "/rollouts/999/start", json={})
    assert_problem(missing, 404, "rollout-not-found")


def test_the_face_knows_the_words_of_the_fleet() -> None:
    from typing import get_args

    from app.api.schemas.databases import PositionName
    from app.api.schemas.rollouts import Day, Operation
    from app.fleet.rollouts.rules.windows import DAYS

    assert get_args(Operation) == tuple(kind.value for kind in rollouts.OPERATIONS)
    assert set(get_args(PositionName)) == set(POSITIONS)
    assert get_args(Day) == DAYS


# --- who -----------------------------------------------------------------------------------------

VERBS = ("start", "pause", "resume", "cancel", "retry", "undo", "approve", "rehearse")


def test_a_viewer_reads_and_begins_nothing(call: Call, fleet: Fleet) -> None:
    fleet.add("a")
    refused = call("viewer", "POST", "/rollouts", json=asked(fleet))
    assert_problem(refused, 403, "role-insufficient")
    rollout = made(call, fleet)
    for verb in VERBS:
        response = call("viewer", "POST", f"/rollouts/{rollout}/{verb}", json={})
        assert_problem(response, 403, "role-insufficient")
    for path in ("", f"/{rollout}", f"/{rollout}/preview", f"/{rollout}/progress"):
        assert call("viewer", "GET", f"/rollouts{path}").status_code == 200
    shown = call("viewer", "POST", "/rollouts/preview", json=asked(fleet))
    assert shown.get_json()["total"] == 1


def test_who_made_it_does_not_approve_it(call: Call, fleet: Fleet) -> None:
    fleet.add_many(2)
    rollout = made(call, fleet, waves=["1", "100%"], gate={"approval": True})
    do(call, rollout, "start")
    fleet.drain()
    assert call("viewer", "GET", f"/rollouts/{rollout}").get_json()["stage"] == "waiting"
    own = call("operator", "POST", f"/rollouts/{rollout}/approve", json={})
    problem = assert_problem(own, 403, "approval-refused")
    assert "another account" in str(problem["detail"])
    other = call("admin", "POST", f"/rollouts/{rollout}/approve", json={"wave": 2})
    assert "wave 1 waits for approval" in str(
        assert_problem(other, 409, "rollout-refused")["detail"]
    )
    assert do(call, rollout, "approve", who="admin") == "waiting", "the workers go on"
    assert do(call, rollout, "approve", who="admin") == "waiting", "once is enough"
    fleet.drain()
    told = call("viewer", "GET", f"/rollouts/{rollout}/progress").get_json()
    assert told["stage"] == "succeeded"
    assert [(one["wave"], one["account_name"]) for one in told["approvals"]] == [(1, "admin")]


# --- its life ------------------------------------------------------------------------------------


def test_from_preview_to_undo(call: Call, fleet: Fleet) -> None:
    members = fleet.add_many(4)
    pinned = fleet.add("pinned")
    from datetime import UTC, datetime, timedelta

    from app.fleet import databases
    from tests.fleet.fleets import ROOT

    until = datetime.now(UTC) + timedelta(days=1)
    databases.pin_database(ROOT, pinned.id, reason="audit", until=until)
    path = broken(fleet, "d002")
    rollout = made(call, fleet, waves=["1", "3", "100%"])

    seen = call("viewer", "GET", f"/rollouts/{rollout}/preview").get_json()
    (group,) = seen["groups"]
    assert (group["dialect"], group["current"], group["ends"]) == ("sqlite", "r001", "r003")
    assert (group["databases"], seen["total"], seen["waves"]) == (4, 4, [1, 2, 1])
    assert [step["revision"] for step in group["steps"]] == ["r002", "r003"]
    assert "CREATE TABLE t2" in group["sql"]
    (skipped,) = seen["skipped"]
    assert skipped == {"why": "pinned: audit", "databases": 1, "ids": [pinned.id]}

    assert do(call, rollout, "start") == "running"
    fleet.drain()
    told = call("viewer", "GET", f"/rollouts/{rollout}/progress").get_json()
    assert (told["stage"], told["wave"], told["done"], told["total"]) == ("halted", 2, 2, 4)
    assert told["first_error"]["database"] == "d002"
    assert told["first_error"]["error"] == "A revision failed (migration-failed)."
    told = call("operator", "GET", f"/rollouts/{rollout}/progress").get_json()
    assert "already exists" in told["first_error"]["error"]
    assert [(w["size"], w["succeeded"], w["failed"]) for w in told["waves"]] == [
        *((1, 1, 0), (2, 1, 1)),
        (1, 0, 0),
    ]

    execute(path, "DROP TABLE t2")
    assert do(call, rollout, "resume") == "running"
    fleet.drain()
    assert call("viewer", "GET", f"/rollouts/{rollout}").get_json()["stage"] == "succeeded"
    assert [fleet.at(one) for one in members] == ["r003"] * 4
    assert_problem(
        call("operator", "POST", f"/rollouts/{rollout}/pause", json={}), 409, "rollout-refused"
    )

    assert do(call, rollout, "undo") == "undoing"
    fleet.drain()
    told = call("viewer", "GET", f"/rollouts/{rollout}/progress").get_json()
    assert (told["stage"], told["undo"]["succeeded"]) == ("undone", 4)
    assert [fleet.at(one) for one in members] == ["r001"] * 4


def test_those_that_failed_may_be_left_out(call: Call, fleet: Fleet) -> None:
    members = fleet.add_many(2)
    broken(fleet, "d000")
    rollout = made(call, fleet, waves=["1", "100%"], retreat=False)
    do(call, rollout, "start")
    fleet.drain()
    assert do(call, rollout, "resume", skip_failed=True) == "running"
    fleet.drain()
    assert call("viewer", "GET", f"/rollouts/{rollout}").get_json()["stage"] == "succeeded"
    assert [fleet.at(one) for one in members] == ["r001", "r003"]


def test_a_rehearsal_says_what_would_fail(call: Call, fleet: Fleet) -> None:
    members = fleet.add_many(3)
    broken(fleet, "d001")
    rollout = made(call, fleet)
    do(call, rollout, "rehearse")
    fleet.drain()
    told = call("viewer", "GET", f"/rollouts/{rollout}/progress").get_json()
    rehearsal = told["rehearsal"]
    assert (told["stage"], told["wave"]) == ("pending", 0)
    assert (rehearsal["total"], rehearsal["done"], rehearsal["failed"]) == (3, 3, 1)
    assert rehearsal["first_error"]["database"] == "d001"
    assert [fleet.at(one) for one in members] == ["r001"] * 3
    do(call, rollout, "rehearse", sample=1)
    fleet.drain()
    told = call("viewer", "GET", f"/rollouts/{rollout}/progress").get_json()
    assert told["rehearsal"]["total"] == 1


def test_paused_and_cancelled(call: Call, fleet: Fleet) -> None:
    members = fleet.add_many(3)
    rollout = made(call, fleet, waves=["1", "100%"])
    do(call, rollout, "start")
    fleet.work()
    assert do(call, rollout, "pause") == "paused"
    fleet.drain()
    assert [fleet.at(one) for one in members] == ["r003", "r001", "r001"]
    assert do(call, rollout, "cancel") == "cancelled"
    shown = call("viewer", "GET", f"/rollouts/{rollout}").get_json()
    assert shown["reason"] == "Cancelled by operator."
    assert shown["finished_at"]


# --- lists ---------------------------------------------------------------------------------------


def test_rollouts_are_listed_newest_first_by_project_and_stage(call: Call, fleet: Fleet) -> None:
    fleet.add("a")
    ids = [made(call, fleet, title=str(number)) for number in range(3)]
    do(call, ids[1], "start")

    def listed(query: str) -> list[int]:
        page = call("viewer", "GET", f"/rollouts?{query}").get_json()
        return [one["id"] for one in page["items"]]

    assert listed("") == ids[::-1]
    assert listed("stage=running") == [ids[1]]
    assert listed(f"project_id={fleet.project_id}") == ids[::-1]
    assert listed("project_id=999") == []
    first = call("viewer", "GET", "/rollouts?limit=2")
    assert [one["id"] for one in first.get_json()["items"]] == [ids[2], ids[1]]
    assert first.headers["Link"].endswith('rel="next"')
    assert listed(f"limit=2&after={first.get_json()['next']}") == [ids[0]]
    for query in ("stage=dancing", "limit=0", "after=-1", "what=1"):
        assert_problem(call("viewer", "GET", f"/rollouts?{query}"), 422, "input-invalid")
    db.session.rollback()
