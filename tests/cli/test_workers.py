"""`flask workers`; what it starts is tried in tests/fleet/test_embedded.py and test_distributed.py."""

import json

from flask import Flask
from flask.testing import FlaskCliRunner

from app.fleet import workers


def test_the_list_says_who_is_alive(app: Flask, runner: FlaskCliRunner) -> None:
    with app.app_context():
        workers.register("w1", workers.EMBEDDED)
        workers.register("w2", workers.EMBEDDED)
        workers.stop("w2")
    done = runner.invoke(args=["workers", "list", "--check"])
    assert (done.exit_code, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["name", "w1"]
    body = json.loads(runner.invoke(args=["workers", "list", "--gone", "--json"]).stdout)
    assert [(one["name"], one["state"]) for one in body["items"]] == [
        ("w1", "alive"),
        ("w2", "stopped"),
    ]
    assert body["next"] is None


def test_none_alive_is_said_and_found_by_check(runner: FlaskCliRunner) -> None:
    done = runner.invoke(args=["workers", "list"])
    assert done.exit_code == 0
    assert "No worker is running. `flask workers run` starts one." in done.stderr
    assert runner.invoke(args=["workers", "list", "--check"]).exit_code == 3
    assert json.loads(runner.invoke(args=["workers", "list", "--json"]).stdout)["items"] == []


def test_a_page_says_that_there_are_more(app: Flask, runner: FlaskCliRunner) -> None:
    with app.app_context():
        for number in range(2):
            workers.register(f"w{number}", workers.EMBEDDED)
    done = runner.invoke(args=["workers", "list", "--limit", "1"])
    assert "More: --after 1" in done.stderr
