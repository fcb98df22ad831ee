"""`/projects`, `/databases` and `/overview`: shapes, versions, keys, refusals."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.engine import URL
from werkzeug.test import TestResponse

from headway import Project as Scripts
from tests.api.conftest import Call, assert_problem
from tests.fleet.fleets import working
from tests.migrator.making import run

NOBODY: dict[str, Any] = {}


@pytest.fixture
def app(shop_app: Flask) -> Flask:
    return shop_app


@pytest.fixture
def scripts(shop_scripts: Path) -> Path:
    return shop_scripts


@pytest.fixture
def project(call: Call, scripts: Path) -> int:
    made = call("admin", "POST", "/projects", json={"name": "shop", "location": str(scripts)})
    assert made.status_code == 201, made.text
    return int(made.get_json()["id"])


@pytest.fixture
def made(call: Call, project: int, data: Path) -> dict[str, Any]:
    body = {"project_id": project, "url": f"{data}/acme.db", "labels": {"tier": "gold"}}
    answer = call("operator", "POST", "/databases", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.get_json())


# --- projects --------------------------------------------------------------------------------


def test_a_project_is_made_read_changed_and_deleted(call: Call, scripts: Path) -> None:
    body = {"name": "shop", "location": str(scripts), "x": {"tenant": "a"}}
    key = {"Idempotency-Key": "k1"}
    first = call("admin", "POST", "/projects", json=body, headers=key)
    assert first.status_code == 201
    assert first.get_json() | {"state": "waiting", "heads": [], "x": {"tenant": "a"}} == (
        first.get_json()
    )
    again = call("admin", "POST", "/projects", json=body, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    where = first.headers["Location"].removeprefix("/api/v1")
    read = call("viewer", "GET", where)
    assert read.headers["ETag"] == first.headers["ETag"]
    assert_problem(call("admin", "PATCH", where, json={"notes": "n"}), 428)
    tag = {"If-Match": read.headers["ETag"]}
    changed = call("admin", "PATCH", where, json={"notes": "n"}, headers=tag)
    assert changed.get_json()["notes"] == "n"
    stale = call("admin", "PATCH", where, json={"notes": "m"}, headers=tag)
    assert_problem(stale, 412, "record-changed")
    listed = call("viewer", "GET", "/projects?search=SHO").get_json()
    assert [one["name"] for one in listed["items"]] == ["shop"]
    assert call("admin", "DELETE", where, headers={"If-Match": "*"}).status_code == 204
    assert_problem(call("viewer", "GET", where), 404, "project-not-found")


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"location": "/etc"}, 422, "outside-roots"),
        ({"location": "{scripts}/none"}, 422, "input-invalid"),
        ({"name": "17"}, 422, "input-invalid"),
        ({"name": "a/b"}, 422, "input-invalid"),
        ({"refresh_seconds": -1}, 422, "input-invalid"),
        ({"x": {"a": 1}}, 422, "input-invalid"),
    ],
    ids=str,
)
def test_a_project_that_cannot_be_is_refused(
    call: Call, scripts: Path, body: dict[str, Any], status: int, slug: str
) -> None:
    told = {
        k: v.replace("{scripts}", str(scripts)) if isinstance(v, str) else v
        for k, v in body.items()
    }
    asked = {"name": "n", "location": str(scripts)} | told
    assert_problem(call("admin", "POST", "/projects", json=asked), status, slug)


# --- databases -------------------------------------------------------------------------------


def test_a_database_says_all_but_its_url(call: Call, made: dict[str, Any], data: Path) -> None:
    assert (
        made
        | {
            "name": "acme",
            "project": "shop",
            "address": f"sqlite:///{data}/acme.db",
            "labels": {"tier": "gold"},
            "position": "unknown",
            "current": "",
            "owner": None,
            "dialect": "sqlite",
        }
        == made
    )
    assert not {"url", "identity"} & made.keys()
    assert call("viewer", "GET", f"/databases/{made['id']}").get_json() == made


def test_a_database_is_registered_once_for_a_key(call: Call, project: int) -> None:
    body = {"project_id": project, "url": "postgresql://u:p@h/acme"}
    key = {"Idempotency-Key": "k1"}
    first = call("operator", "POST", "/databases", json=body, headers=key)
    again = call("operator", "POST", "/databases", json=body, headers=key)
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotent-Replayed"] == "true"
    other = call("operator", "POST", "/databases", json=body | {"name": "x"}, headers=key)
    assert_problem(other, 409, "idempotency-key-reused")
    assert_problem(call("operator", "POST", "/databases", json=body), 409, "database-registered")


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        ({"url": "/etc/passwd"}, "outside-roots"),
        ({"url": "nothing"}, "address-invalid"),
        ({"url": "{data}/a.db", "reference": "env:X"}, "input-invalid"),
        ({}, "input-invalid"),
        ({"reference": "env:HEADWAY_SECRET_KEY"}, "address-invalid"),
        ({"reference": "vault:x"}, "input-invalid"),
        ({"url": "{data}/a.db", "labels": {"a b": "c"}}, "input-invalid"),
        ({"url": "{data}/a.db", "labels": {"a": 1}}, "input-invalid"),
        ({"url": "{data}/a.db", "strategy": "never"}, "input-invalid"),
        ({"url": "{data}/a.db", "x": {"k": "{tenant}"}}, "input-invalid"),
        ({"url": "{data}/a.db", "x": {"a=b": "c"}}, "input-invalid"),
        ({"url": "{data}/a.db", "x": {"k": 1}}, "input-invalid"),
    ],
    ids=str,
)
def test_a_database_that_cannot_be_is_refused(
    call: Call, project: int, data: Path, body: dict[str, Any], slug: str
) -> None:
    told = {k: v.replace("{data}", str(data)) if isinstance(v, str) else v for k, v in body.items()}
    answer = call("operator", "POST", "/databases", json={"project_id": project} | told)
    assert_problem(answer, 422, slug)


def test_a_database_is_changed_at_the_version_that_was_read(
    call: Call, made: dict[str, Any], people: dict[str, tuple[int, str]]
) -> None:
    where = f"/databases/{made['id']}"
    tag = {"If-Match": call("viewer", "GET", where).headers["ETag"]}
    body = {"labels": {"tier": None, "region": "eu"}, "owner_id": people["viewer"][0]}
    changed = call("operator", "PATCH", where, json=body, headers=tag)
    assert changed.get_json()["labels"] == {"region": "eu"}
    assert changed.get_json()["owner"] == "viewer"
    stale = call("operator", "PATCH", where, json=body, headers=tag)
    assert_problem(stale, 412, "record-changed")
    assert_problem(call("operator", "PATCH", where, json=body), 428)


def test_a_database_has_arguments_of_its_own(call: Call, project: int, data: Path) -> None:
    asked = {"project_id": project, "url": f"{data}/x.db", "x": {"tenant": "{name}", "a": ""}}
    made = call("operator", "POST", "/databases", json=asked).get_json()
    assert made["x"] == asked["x"]
    where, event = f"/databases/{made['id']}", {"x": {"tenant": None, "b": '{"c":1}'}}
    tag = {"If-Match": call("viewer", "GET", where).headers["ETag"]}
    assert_problem(
        call("operator", "PATCH", where, json=event, headers=tag), 403, "role-insufficient"
    )
    changed = call("admin", "PATCH", where, json=event, headers=tag)
    assert changed.get_json()["x"] == {"a": "", "b": '{"c":1}'}
    tag = {"If-Match": changed.headers["ETag"]}
    wrong = call("operator", "PATCH", where, json={"x": {"a": "{nobody}"}}, headers=tag)
    assert_problem(wrong, 422, "input-invalid")
    assert (
        "The placeholders are {name}, {schema}, {database} and {label.NAME}"
        in wrong.get_json()["detail"]
    )
    refused = call("viewer", "PATCH", where, json=event, headers=tag)
    assert_problem(refused, 403, "role-insufficient")
    (told,) = [
        one
        for one in call("admin", "GET", "/events").get_json()["items"]
        if one["action"] == "database.changed"
    ]
    assert told["detail"] == {"x": [asked["x"], {"a": "", "b": '{"c":1}'}]}


def test_many_come_in_pages_and_are_chosen(call: Call, project: int, data: Path) -> None:
    lines = "\n".join(
        f'{{"name": "d{n}", "url": "{data}/d{n}.db", "label.tier": "{"gold" if n % 2 else "free"}"}}'
        for n in range(7)
    )
    body = {"project_id": project, "json_lines": f"{lines}\nnothing\n"}
    done = call("operator", "POST", "/databases/import", json=body)
    assert done.get_json() == {
        "added": 7,
        "known": 0,
        "refused": [{"line": 8, "why": "It is no JSON."}],
    }
    first = call("viewer", "GET", "/databases?label=tier=gold&limit=2")
    assert [one["name"] for one in first.get_json()["items"]] == ["d1", "d3"]
    assert 'rel="next"' in first.headers["Link"]
    following = first.headers["Link"].partition(">")[0].removeprefix("</api/v1")
    assert [one["name"] for one in call("viewer", "GET", following).get_json()["items"]] == ["d5"]
    changed = call(
        "operator",
        "PATCH",
        "/databases",
        json={"selector": {"labels": {"tier": "free"}}, "labels": {"wave": "1"}},
    )
    assert changed.get_json() == {"databases": 4}
    seen = call("viewer", "GET", "/overview?by=label.wave").get_json()
    assert (seen["databases"], seen["positions"]) == (7, {"unknown": 7})
    assert seen["groups"] == [{"value": "1", "databases": 4}]
    for query, found in (
        ("position=unknown&search=d3", 1),
        ("position=behind", 0),
        ("pinned=true", 0),
        ("drifted=false", 0),
        ("retired=true", 0),
        (f"project_id={project}&strategy=wave", 7),
        ("label=tier=gold,wave=1", 0),
        ("label=tier=", 7),
    ):
        items = call("viewer", "GET", f"/databases?{query}").get_json()["items"]
        assert len(items) == found, query
    for query in ("position=nowhere", "label=tier", "limit=0", "colour=red"):
        assert_problem(call("viewer", "GET", f"/databases?{query}"), 422)


def test_files_and_csv_are_imported_too(
    call: Call, project: int, data: Path, scripts: Path
) -> None:
    Scripts.load(scripts).at(data / "a.db").create("r001")
    files = {"pattern": f"{data}/*.db", "labels": r"(?P<first>\w)\.db"}
    done = call(
        "operator", "POST", "/databases/import", json={"project_id": project, "files": files}
    )
    assert done.get_json()["added"] == 1
    text = f"name,url\nb,{data}/b.db\n"
    body = {"project_id": project, "csv": text}
    assert call("operator", "POST", "/databases/import", json=body).get_json()["added"] == 1
    for wrong in ({}, {"csv": text, "json_lines": "{}"}, {"files": {"pattern": "/etc/*"}}):
        refused = call(
            "operator", "POST", "/databases/import", json={"project_id": project} | wrong
        )
        assert_problem(refused, 422)
    assert_problem(
        call("operator", "POST", "/databases/import", json=body | {"project_id": 999}), 404
    )


def test_schemas_of_a_database_are_imported(call: Call, project: int, postgresql_url: URL) -> None:
    run(postgresql_url, *(f"CREATE SCHEMA {name}" for name in ("gold_a", "free_b", "other")))
    text = postgresql_url.render_as_string(hide_password=False)
    source = {"url": text, "names": "*_*", "labels": "(?P<tier>[a-z]+)_"}
    body = {"project_id": project, "schemas": source}
    done = call("operator", "POST", "/databases/import", json=body).get_json()
    assert done == {"added": 2, "known": 0, "refused": []}
    (gold,) = call("viewer", "GET", "/databases?label=tier=gold").get_json()["items"]
    assert (gold["name"], gold["address"].endswith("?schema=gold_a")) == ("gold_a", True)
    again = call("operator", "POST", "/databases/import", json=body).get_json()
    assert again == {"added": 0, "known": 2, "refused": []}
    for wrong in ("postgresql://h", "mysql://h/x", f"{text}?schema=gold_a"):
        body["schemas"] = {"url": wrong}
        assert_problem(call("operator", "POST", "/databases/import", json=body), 422)
    body |= {"schemas": source, "server": {"url": text}}
    assert_problem(call("operator", "POST", "/databases/import", json=body), 422)


def test_a_database_is_created_by_a_worker(
    call: Call, app: Flask, project: int, data: Path
) -> None:
    body = {"project_id": project, "url": f"{data}/new.db"}
    headers = {"Idempotency-Key": "k"}
    begun = call("operator", "POST", "/databases/create", json=body, headers=headers)
    assert begun.status_code == 202, begun.text
    assert "Preference-Applied" not in begun.headers
    told = begun.get_json()
    assert (told["database"]["position"], told["rollout"]["kind"]) == ("unknown", "create")
    progress = begun.headers["Location"].removeprefix("/api/v1")
    assert progress == f"/rollouts/{told['rollout']['id']}/progress"
    assert call("viewer", "GET", progress).get_json()["stage"] == "running"
    assert not (data / "new.db").exists()
    for asked, applied in (("wait=0", "wait=0"), ('respond-async, WAIT = "1"; x=y', "wait=1")):
        again = call(
            *("operator", "POST", "/databases/create"),
            json=body,
            headers=headers | {"Prefer": asked},
        )
        assert again.status_code == 202
        assert again.headers["Preference-Applied"] == applied
        assert again.get_json()["rollout"]["id"] == told["rollout"]["id"]
    with working(app):
        done = created(call, body, "k", wait=999)
    assert done.status_code == 201
    assert done.headers["Preference-Applied"] == "wait=60"
    assert done.headers["Idempotent-Replayed"] == "true"
    assert done.get_json()["id"] == told["database"]["id"]
    assert done.get_json()["position"] == "at_head"
    assert call("viewer", "GET", progress).get_json()["stage"] == "succeeded"


def created(call: Call, body: dict[str, Any], key: str, wait: int = 60) -> TestResponse:
    """The answer of whoever waits until it is done, however slow the machine is."""
    headers = {"Idempotency-Key": key, "Prefer": f"wait={wait}"}
    for _ in range(5):
        answer = call("operator", "POST", "/databases/create", json=body, headers=headers)
        if answer.status_code != 202:
            break
    return answer


def test_who_waits_is_told_why_it_was_not_created(
    call: Call, app: Flask, project: int, data: Path
) -> None:
    (data / "new.db").write_text("somebody's")
    body = {"project_id": project, "url": f"{data}/new.db"}
    with working(app):
        for key in ("a", "a", "b"):
            assert_problem(created(call, body, key), 409, "database-exists")
    assert (data / "new.db").read_text() == "somebody's"
    assert call("viewer", "GET", "/databases").get_json()["items"] == []


@pytest.mark.parametrize(
    "said", ["", "wait", "wait=soon", "wait=-1", "wait=\u0661", "later", "wait="]
)
def test_a_preference_that_is_not_understood_is_none(
    call: Call, project: int, data: Path, said: str
) -> None:
    body = {"project_id": project, "url": f"{data}/new.db"}
    headers = {"Prefer": said}
    begun = call("operator", "POST", "/databases/create", json=body, headers=headers)
    assert (begun.status_code, begun.headers.get("Preference-Applied")) == (202, None)


def test_a_database_is_made_pinned_dropped(
    call: Call, app: Flask, project: int, data: Path
) -> None:
    body = {"project_id": project, "url": f"{data}/new.db"}
    with working(app):
        new = created(call, body, "k")
    assert new.status_code == 201, new.text
    where = new.headers["Location"].removeprefix("/api/v1")
    assert new.get_json()["current"] == "r002"
    pin = {"reason": "audit", "until": "2099-01-31T00:00:00Z"}
    pinned = call("operator", "POST", f"{where}/pin", json=pin)
    assert pinned.get_json()["pin_until"].startswith("2099-01-31T00:00:00")
    past = pin | {"until": "2020-01-31T00:00:00Z"}
    assert_problem(call("operator", "POST", f"{where}/pin", json=past), 422)
    assert call("operator", "DELETE", f"{where}/pin").get_json()["pin_until"] is None
    assert_problem(call("admin", "POST", f"{where}/drop", json={"confirm": "x"}), 422)
    assert_problem(call("operator", "POST", f"{where}/drop", json={"confirm": "new"}), 403)
    dropped = call("admin", "POST", f"{where}/drop", json={"confirm": "new"}).get_json()
    assert Path(dropped["snapshot"]).is_file()
    assert not (data / "new.db").exists()
    assert dropped["database"]["retired_at"]


def test_a_database_is_retired_and_left_alone(call: Call, made: dict[str, Any]) -> None:
    where = f"/databases/{made['id']}"
    assert_problem(call("operator", "DELETE", where), 428)
    assert call("operator", "DELETE", where, headers={"If-Match": "*"}).status_code == 204
    assert call("viewer", "GET", "/databases").get_json()["items"] == []
    retired = call("viewer", "GET", "/databases?retired=true").get_json()["items"]
    assert [one["id"] for one in retired] == [made["id"]]
    assert_problem(call("operator", "DELETE", where, headers={"If-Match": "*"}), 404)


OPERATIONS = [
    ("POST", "/projects", "admin", {"name": "n", "location": "/x"}),
    ("PATCH", "/projects/1", "admin", {"notes": "n"}),
    ("DELETE", "/projects/1", "admin", None),
    ("POST", "/databases", "operator", {"project_id": 1, "url": "mysql://h/x"}),
    ("POST", "/databases/create", "operator", {"project_id": 9, "url": "mysql://h/x"}),
    ("POST", "/databases/import", "operator", {"project_id": 9, "csv": "name,url\n"}),
    ("PATCH", "/databases", "operator", {"selector": {}, "labels": {"a": "b"}}),
    ("PATCH", "/databases/9", "operator", {"notes": "n"}),
    ("DELETE", "/databases/9", "operator", None),
    ("POST", "/databases/9/pin", "operator", {"reason": "r", "until": "2099-01-31T00:00:00Z"}),
    ("DELETE", "/databases/9/pin", "operator", None),
    ("POST", "/databases/9/drop", "admin", {"confirm": "x"}),
]


@pytest.mark.parametrize(("method", "path", "lowest", "body"), OPERATIONS, ids=str)
def test_who_may_not_is_told_so(
    call: Call, method: str, path: str, lowest: str, body: dict[str, Any] | None
) -> None:
    more: dict[str, Any] = {"headers": {"If-Match": "*"}} | ({"json": body} if body else {})
    assert_problem(call(None, method, path, **dict(more)), 401)
    for who in ("viewer", "operator")[: 1 if lowest == "operator" else 2]:
        more["headers"] = {"If-Match": "*"}
        assert_problem(call(who, method, path, **dict(more)), 403, "role-insufficient")
