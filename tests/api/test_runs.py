"""Runs by the API: listed, read, exported; one database brought along, or opened."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app.fleet import databases, rollouts
from app.fleet.core import places
from app.fleet.runs import export
from tests.api.conftest import Call, assert_problem
from tests.fleet.fleets import ROOT, Fleet, fleet_on


@pytest.fixture
def fleet(template_copy: URL, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def app(fleet: Fleet) -> Flask:
    return fleet.app


# --- read ----------------------------------------------------------------------------------------


def test_runs_are_listed_by_what_one_asks_of_them(call: Call, fleet: Fleet) -> None:
    first, second = fleet.add_many(2)
    one = fleet.start(target="r002", waves=["1", "100%"])
    fleet.drain()
    two = databases.run_one(ROOT, second.id, "upgrade", "r003")

    def listed(query: str) -> list[tuple[int, int]]:
        page = call("viewer", "GET", f"/runs?{query}").get_json()
        return [(run["rollout_id"], run["database_id"]) for run in page["items"]]

    everything = [(one.id, first.id), (one.id, second.id), (two.id, second.id)]
    assert listed("") == everything
    assert listed(f"rollout_id={one.id}") == everything[:2]
    assert listed(f"database_id={second.id}") == everything[1:]
    assert listed("state=pending") == everything[2:]
    assert listed("kind=downgrade") == []
    page = call("viewer", "GET", "/runs?limit=2")
    assert page.headers["Link"].endswith('rel="next"')
    assert listed(f"limit=2&after={page.get_json()['next']}") == everything[2:]
    runs = page.get_json()["items"]
    assert [run["wave"] for run in runs] == [1, 2]
    assert [run["database"] for run in runs] == ["d000", "d001"]
    for query in ("state=dancing", "kind=x", "limit=201", "replaced=perhaps"):
        assert_problem(call("viewer", "GET", f"/runs?{query}"), 422, "input-invalid")


def test_a_run_tells_what_was_done_with_log_and_sql(call: Call, fleet: Fleet) -> None:
    fleet.add("a")
    fleet.start()
    fleet.drain()
    (run,) = call("viewer", "GET", "/runs").get_json()["items"]
    assert "log" not in run
    assert call("viewer", "GET", f"/runs/{run['id']}").get_json()["log"] is None
    read = call("operator", "GET", f"/runs/{run['id']}").get_json()
    assert {name: read[name] for name in run} == run
    assert (read["state"], read["before"], read["after"]) == ("succeeded", "r001", "r003")
    assert read["applied"] == ["r002", "r003"]
    assert "CREATE TABLE t2" in read["sql"]
    assert "r002" in read["log"]
    for path in ("/runs/999", "/runs/99999999999999999999"):
        assert_problem(call("viewer", "GET", path), 404, "run-not-found")


def test_those_tried_again_are_shown_on_request(call: Call, fleet: Fleet) -> None:
    fleet.add("a")
    path = fleet.folder / "a.db"
    good = path.read_bytes()
    path.write_bytes(b"this is no database at all" * 50)
    rollout = fleet.start()
    fleet.drain()
    path.write_bytes(good)
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    (last,) = call("viewer", "GET", "/runs").get_json()["items"]
    first, again = call("viewer", "GET", "/runs?replaced=true").get_json()["items"]
    assert again == last
    assert (first["state"], first["replaced_by"], last["state"]) == (
        *("failed", last["id"]),
        "succeeded",
    )
    assert first["problem"] == "database-damaged"


# --- export --------------------------------------------------------------------------------------


def test_json_lines_hold_everything(call: Call, fleet: Fleet) -> None:
    fleet.add_many(3)
    rollout = fleet.start(title="spring", waves=["1", "100%"])
    fleet.drain()
    response = call("viewer", "GET", "/runs.jsonl")
    assert response.content_type == "application/jsonl"
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [row["database"] for row in rows] == ["d000", "d001", "d002"]
    assert [row["wave"] for row in rows] == [1, 2, 2]
    assert {row["rollout"] for row in rows} == {"spring"}
    assert {row["by"] for row in rows} == {"test"}
    for row in rows:
        shown = call("viewer", "GET", f"/runs/{row['id']}").get_json()
        assert (row["sql"], row["log"]) == (shown["sql"], shown["log"])
        assert row["applied"] == ["r002", "r003"]
    one = call("viewer", "GET", f"/runs.jsonl?database_id={rows[1]['database_id']}")
    assert len(one.text.splitlines()) == 1
    assert call("viewer", "GET", f"/runs.jsonl?rollout_id={rollout.id + 1}").text == ""


def test_csv_is_for_a_spreadsheet_and_runs_nothing_in_it(call: Call, fleet: Fleet) -> None:
    fleet.add('=cmd|"x"!A1')
    fleet.start(title='say "hi", twice')
    fleet.drain()
    response = call("viewer", "GET", "/runs.csv")
    assert response.mimetype == "text/csv"
    names, row = csv.reader(response.text.splitlines())
    told = dict(zip(names, row, strict=True))
    assert told["database"] == '\'=cmd|"x"!A1'
    assert told["rollout"] == 'say "hi", twice'
    assert (told["before"], told["after"], told["applied"]) == ("r001", "r003", "r002 r003")
    assert {"log", "sql"}.isdisjoint(told)
    assert response.text.endswith("\r\n")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    row = dict.fromkeys(export.COLUMNS) | {"error": text, "attempt": -1}
    _, line = export.as_csv([row])
    assert f"'{text}" in line
    assert ",-1," in line, "a number is one"


def test_an_export_is_made_page_by_page(
    call: Call, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.fleet.runs import queries

    fleet.add_many(5)
    fleet.start()
    fleet.drain()
    monkeypatch.setattr(queries, "BATCH", 2)
    rows = [json.loads(line) for line in call("viewer", "GET", "/runs.jsonl").text.splitlines()]
    assert [row["database"] for row in rows] == [f"d00{number}" for number in range(5)]


def test_one_export_at_a_time(call: Call, fleet: Fleet) -> None:
    with places.EXPORTING.take():
        refused = call("viewer", "GET", "/runs.csv")
        assert_problem(refused, 503, "too-many-streams")
        assert int(refused.headers["Retry-After"]) > 0
    for _ in range(3):
        asked = call("viewer", "HEAD", "/runs.csv")
        asked.close()
        assert asked.status_code == 200, "who is done makes room, and who reads nothing too"
        assert call("viewer", "GET", "/runs.csv").status_code == 200


# --- one database --------------------------------------------------------------------------------


def test_one_database_is_brought_along_at_once(call: Call, fleet: Fleet) -> None:
    member, other = fleet.add_many(2)
    path = f"/databases/{member.id}/runs"
    assert_problem(call("viewer", "POST", path, json={}), 403, "role-insufficient")
    key = {"headers": {"Idempotency-Key": "k"}}
    begun = call("operator", "POST", path, json={"target": "r002"}, **key)
    assert begun.status_code == 202
    rollout = begun.get_json()
    assert rollout["title"] == "upgrade of d000"
    assert begun.headers["Location"] == f"/api/v1/rollouts/{rollout['id']}/progress"
    assert call("operator", "POST", path, json={"target": "r002"}, **key).get_json() == rollout
    assert_problem(call("operator", "POST", path, json={}), 409, "rollout-refused")
    fleet.drain()
    assert (fleet.at(member), fleet.at(other)) == ("r002", "r001")
    assert call("operator", "POST", path, json={"target": "r002"}, **key).status_code == 202
    fleet.drain()
    assert len(call("viewer", "GET", "/runs").get_json()["items"]) == 1, "done once"
    gone = call("operator", "POST", "/databases/999/runs", json={})
    assert_problem(gone, 404, "database-not-found")
    for body in ({"kind": "undo"}, {"timeout_seconds": "1"}, {"what": 1}):
        assert_problem(call("operator", "POST", path, json=body), 422, "input-invalid")


def test_a_database_that_migrates_on_open_is_brought_along_when_it_is_opened(
    call: Call, fleet: Fleet
) -> None:
    member = fleet.add("a", strategy="on_open")
    path = f"/databases/{member.id}/open"
    assert_problem(call("viewer", "POST", path, json={}), 403, "role-insufficient")
    first = call("operator", "POST", path, json={})
    assert first.status_code == 202
    told = first.get_json()
    assert (told["position"], told["ready"]) == ("behind", False)
    assert first.headers["Location"] == f"/api/v1/rollouts/{told['rollout']['id']}/progress"
    again = call("operator", "POST", path, json={}).get_json()
    assert again["rollout"]["id"] == told["rollout"]["id"], "two that open it wait for one"
    fleet.drain()
    opened = call("operator", "POST", path, json={})
    assert opened.status_code == 200
    assert "Location" not in opened.headers
    assert opened.get_json() == {
        "database_id": member.id,
        "position": "at_head",
        "current": "r003",
        "ready": True,
        "rollout": None,
    }


def test_a_database_of_the_waves_only_says_where_it_is(call: Call, fleet: Fleet) -> None:
    member = fleet.add("a")
    response = call("operator", "POST", f"/databases/{member.id}/open", json={})
    assert response.status_code == 200
    assert (response.get_json()["ready"], response.get_json()["rollout"]) == (False, None)
    assert call("viewer", "GET", "/rollouts").get_json()["items"] == []
