"""`flask webhooks`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import webhooks
from app.fleet.core.transactions import writing
from tests.conftest import settings_for
from tests.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


def ask(runner: FlaskCliRunner, *args: str, **more: Any) -> Any:
    return runner.invoke(args=["webhooks", *args], **more)


def test_the_secret_is_printed_once(runner: FlaskCliRunner) -> None:
    done = ask(runner, "create", "chat", "--url", "https://h/t0p", "--event", "drift.found")
    assert done.exit_code == 0, done.output
    assert done.stderr == "Webhook 1. Its secret is shown only once:\n"
    secret = done.stdout.strip()
    assert secret.startswith("whsec_")
    listed = ask(runner, "list")
    assert listed.stdout.splitlines()[1] == "1\tchat\thttps://h\tjson\tdrift.found"
    as_json = ask(runner, "list", "--json").stdout
    (known,) = json.loads(as_json)["items"]
    assert known["events"] == ["drift.found"]
    for said in (listed.stdout, as_json):
        assert secret not in said
        assert "t0p" not in said


def test_the_url_can_stay_out_of_the_shell_s_history(
    runner: FlaskCliRunner, tmp_path: Path, receiver: Receiver
) -> None:
    file = tmp_path / "url"
    file.write_text(f"{receiver.url}/t0p\n")
    made = json.loads(ask(runner, "create", "a", "--url-file", str(file), "--json").stdout)
    assert made["secret"].startswith("whsec_")
    ask(runner, "create", "b", "--url-file", "-", input=f"{receiver.url}/t0p\n")
    for number in ("1", "2"):
        assert ask(runner, "test", number).exit_code == 0
    assert [heard.path for heard in receiver.heard] == ["/t0p", "/t0p"]


def test_a_trial_is_sent_in_the_format(runner: FlaskCliRunner, receiver: Receiver) -> None:
    ask(runner, "create", "chat", "--url", receiver.url, "--format", "slack")
    (known,) = json.loads(ask(runner, "list", "--json").stdout)["items"]
    assert known["format"] == "slack"
    assert ask(runner, "test", "1").exit_code == 0
    assert "blocks" in json.loads(receiver.heard[0].body)


def test_a_trial_says_how_it_went_and_its_exit_code_too(
    runner: FlaskCliRunner, receiver: Receiver
) -> None:
    ask(runner, "create", "chat", "--url", receiver.url)
    done = ask(runner, "test", "1")
    assert (done.exit_code, done.stdout) == (0, "It answered 204.\n")
    receiver.status, receiver.headers = 302, {"Location": "/elsewhere"}
    done = ask(runner, "test", "1")
    assert done.exit_code == 1
    assert done.stderr.startswith("Not delivered. It answered 302. Redirects are not followed")
    told = json.loads(ask(runner, "test", "1", "--json").stdout)
    assert (told["state"], told["status"]) == ("failed", 302)


def test_what_it_was_told_is_listed(runner: FlaskCliRunner, receiver: Receiver) -> None:
    ask(runner, "create", "chat", "--url", receiver.url)
    app: Flask = runner.app
    with app.app_context():
        for number in range(3):
            with writing() as session:
                webhooks.announce(session, "rollout.started", lambda n=number: {"rollout": n})
        assert webhooks.deliver() == 3
        db.session.remove()
    done = ask(runner, "deliveries", "1", "--limit", "2")
    assert [line.split("\t")[1:5] for line in done.stdout.splitlines()[1:]] == [
        ["rollout.started", "delivered", "1", "204"]
    ] * 2
    assert done.stderr == "More: --after 2\n"
    rest = json.loads(ask(runner, "deliveries", "1", "--after", "2", "--json").stdout)
    assert [one["body"] for one in rest["items"]] == [{"rollout": 0}]
    waiting = ask(runner, "deliveries", "1", "--state", "pending", "--json").stdout
    assert json.loads(waiting)["items"] == []


def test_deleting_asks_first(runner: FlaskCliRunner) -> None:
    ask(runner, "create", "chat", "--url", "https://h/t0p")
    asked = ask(runner, "delete", "1", input="n\n")
    assert asked.exit_code == 1
    assert "Delete webhook 1 (chat, https://h)?" in asked.output
    assert ask(runner, "delete", "1", "--yes").stdout == "Deleted webhook 1 (chat).\n"
    assert ask(runner, "list", "--json").stdout.count('"id"') == 0


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["create", "x"], 2, "Give one of --url"),
        (["create", "x", "--url", "http://h", "--url-file", "-"], 2, "Give one of --url"),
        (["create", "x", "--url", ""], 2, "has to begin with http:// or https://"),
        (["create", "x", "--url", "file:///etc/t0p"], 2, "has to begin with http:// or https://"),
        (["create", " ", "--url", "http://h/t0p"], 2, "A name needs"),
        (["create", "x", "--url", "http://h/t0p", "--event", "x"], 2, "rollout.halted"),
        (["create", "x", "--url", "http://h/t0p", "--format", "x"], 2, "slack"),
        (["test", "99"], 1, "There is no webhook 99."),
        (["deliveries", "99"], 1, "There is no webhook 99."),
        (["delete", "99", "--yes"], 1, "There is no webhook 99."),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    runner: FlaskCliRunner, args: list[str], code: int, said: str
) -> None:
    done = ask(runner, *args)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert "t0p" not in done.output


def test_without_a_key_the_secret_is_kept_nowhere_and_shown_nowhere(
    migrated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url: URL = migrated("postgresql")
    app = create_app(settings_for(url, encryption_keys=()))
    done = ask(app.test_cli_runner(), "create", "x", "--url", "https://h/t0p")
    assert done.exit_code == 78
    assert "HEADWAY_ENCRYPTION_KEYS is not set" in done.stderr
    for said in (done.output, caplog.text):
        assert "t0p" not in said
        assert "whsec_" not in said
    with app.app_context():
        db.engine.dispose()
