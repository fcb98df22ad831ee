"""`/api/v1/workers`."""

from flask import Flask

from app.fleet import workers
from tests.api.conftest import Call, assert_problem


def test_a_viewer_sees_who_works(app: Flask, call: Call) -> None:
    with app.app_context():
        workers.register("w1", workers.EMBEDDED)
        workers.register("w2", workers.CELERY)
        workers.stop("w2", done=3)
    body = call("viewer", "GET", "/workers").get_json()
    (one,) = body["items"]
    assert (one["name"], one["engine"], one["state"], one["done"]) == ("w1", "embedded", "alive", 0)
    assert one["beat_at"].endswith(("Z", "+00:00"))
    assert body["next"] is None
    body = call("viewer", "GET", "/workers?gone=true").get_json()
    assert [(one["name"], one["state"]) for one in body["items"]] == [
        ("w1", "alive"),
        ("w2", "stopped"),
    ]


def test_pages_of_workers(app: Flask, call: Call) -> None:
    with app.app_context():
        for number in range(3):
            workers.register(f"w{number}", workers.EMBEDDED)
    first = call("viewer", "GET", "/workers?limit=2")
    assert [one["name"] for one in first.get_json()["items"]] == ["w0", "w1"]
    assert 'rel="next"' in first.headers["Link"]
    after = first.get_json()["next"]
    second = call("viewer", "GET", f"/workers?limit=2&after={after}").get_json()
    assert [one["name"] for one in second["items"]] == ["w2"]


def test_without_a_token_nobody_sees_them(call: Call) -> None:
    assert_problem(call(None, "GET", "/workers"), 401, "token-refused")
    assert_problem(call("viewer", "GET", "/workers?gone=perhaps"), 422)
