"""`/api/v1/webhooks`: for admins, with the secret shown once and the URL never."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.fleet import webhooks
from app.fleet.core.transactions import writing
from tests.api.conftest import Call, assert_problem
from tests.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


def make(call: Call, url: str, **more: Any) -> dict[str, Any]:
    response = call("admin", "POST", "/webhooks", json={"name": "chat", "url": url} | more)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def test_it_is_made_once_and_its_secret_is_shown_once(call: Call) -> None:
    body = {"name": "chat", "url": "https://ann:hunter2@h:8443/T0P?k=t0p", "events": []}
    key = {"headers": {"Idempotency-Key": "k"}}
    first, again = (call("admin", "POST", "/webhooks", json=body, **key) for _ in range(2))
    made = first.get_json()
    assert made["secret"].startswith("whsec_")
    assert made["address"] == "https://h:8443"
    assert made["events"] == list(webhooks.EVENTS)
    assert made["format"] == "json"
    assert (made["by_name"], again.headers["Idempotent-Replayed"]) == ("admin", "true")
    assert again.get_json() == made | {"secret": None}
    where = first.headers["Location"].removeprefix("/api/v1")
    read = call("admin", "GET", where)
    assert read.get_json() == {name: value for name, value in made.items() if name != "secret"}
    listed = call("admin", "GET", "/webhooks")
    trail = call("operator", "GET", "/events")
    for answer in (read, listed, trail):
        for secret in ("hunter2", "T0P", "t0p", made["secret"]):
            assert secret not in answer.text
    assert [one["id"] for one in listed.get_json()["items"]] == [made["id"]]


@pytest.mark.parametrize("who", ["viewer", "operator"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("GET", ""),
        ("GET", "/1"),
        ("DELETE", "/1"),
        ("GET", "/1/deliveries"),
        ("POST", "/1/test"),
    ],
)
def test_it_is_for_admins(call: Call, who: str, method: str, path: str) -> None:
    make(call, "http://127.0.0.1:9/t0p")
    body = {"name": "x", "url": "http://h"} if path == "" else {}
    more: dict[str, Any] = {"json": body} if method == "POST" else {}
    assert_problem(call(who, method, f"/webhooks{path}", **more), 403, "role-insufficient")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/99"),
        ("DELETE", "/99"),
        ("GET", "/99/deliveries"),
        ("POST", "/99/test"),
        ("GET", "/99999999999"),
    ],
)
def test_one_that_is_not_there_is_a_problem(call: Call, method: str, path: str) -> None:
    more: dict[str, Any] = {"json": {}} if method == "POST" else {}
    response = call("admin", method, f"/webhooks{path}", **more)
    assert_problem(response, 404, "webhook-not-found")


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://h/t0p"},
        {"name": "x"},
        {"name": "x", "url": "ftp://h/t0p"},
        {"name": "x", "url": "http://h:99999/t0p"},
        {"name": "x", "url": "http://h/t0p", "events": ["rollout.exploded"]},
        {"name": "x", "url": "http://h/t0p", "secret": "mine"},
        {"name": "x", "url": "http://h/t0p", "format": "irc"},
        {"name": "x", "url": "http://h/t0p" + "x" * 2000},
    ],
)
def test_what_cannot_be_used_is_refused_without_the_url(call: Call, body: dict[str, Any]) -> None:
    response = call("admin", "POST", "/webhooks", json=body)
    assert_problem(response, 422, "input-invalid")
    assert "t0p" not in response.text


@pytest.mark.parametrize("body", [None, [], False, 0, "", {"event": "x"}])
def test_a_trial_takes_an_empty_object_and_nothing_else(
    call: Call, receiver: Receiver, body: object
) -> None:
    made = make(call, receiver.url)
    sent = {"data": json.dumps(body), "content_type": "application/json"}
    response = call("admin", "POST", f"/webhooks/{made['id']}/test", **sent)
    assert_problem(response, 422, "input-invalid")
    assert receiver.heard == []


def test_what_it_was_told_can_be_read(app: Flask, call: Call, receiver: Receiver) -> None:
    made = make(call, receiver.url, events=["rollout.halted"])
    with app.app_context():
        for number in range(3):
            with writing() as session:
                webhooks.announce(session, "rollout.halted", lambda n=number: {"rollout": n})
        webhooks.deliver()
        receiver.status = 500
        with writing() as session:
            webhooks.announce(session, "rollout.halted", lambda: {"rollout": 3})
        webhooks.deliver()
    path = f"/webhooks/{made['id']}/deliveries"
    page = call("admin", "GET", f"{path}?limit=2")
    newest, before = page.get_json()["items"]
    assert (newest["state"], newest["status"], newest["attempts"]) == ("pending", 500, 1)
    assert newest["error"] == "It answered 500."
    assert (before["state"], before["body"]) == ("delivered", {"rollout": 2})
    rest = call("admin", "GET", page.headers["Link"].partition(">")[0][1:].removeprefix("/api/v1"))
    assert [one["body"]["rollout"] for one in rest.get_json()["items"]] == [1, 0]
    waiting = call("admin", "GET", f"{path}?state=pending").get_json()["items"]
    assert [one["id"] for one in waiting] == [newest["id"]]


def test_a_trial_is_answered_with_how_it_went(call: Call, receiver: Receiver) -> None:
    made = make(call, receiver.url)
    receiver.status = 418
    told = call("admin", "POST", f"/webhooks/{made['id']}/test", json={})
    assert told.status_code == 200, told.text
    assert (told.get_json()["state"], told.get_json()["status"]) == ("failed", 418)
    assert "private" not in told.text
    assert len(receiver.heard) == 1


def test_a_trial_is_sent_in_the_format(call: Call, receiver: Receiver) -> None:
    made = make(call, receiver.url, format="teams")
    assert made["format"] == "teams"
    told = call("admin", "POST", f"/webhooks/{made['id']}/test", json={})
    assert told.get_json()["state"] == "delivered"
    (heard,) = receiver.heard
    assert json.loads(heard.body)["attachments"][0]["content"]["type"] == "AdaptiveCard"


def test_one_that_is_deleted_is_gone(call: Call) -> None:
    made = make(call, "http://h/t0p")
    assert call("admin", "DELETE", f"/webhooks/{made['id']}").status_code == 204
    assert_problem(call("admin", "GET", f"/webhooks/{made['id']}"), 404, "webhook-not-found")
    (event, *_) = call("operator", "GET", "/events").get_json()["items"]
    assert (event["action"], event["subject_type"]) == ("webhook.deleted", "webhook")
