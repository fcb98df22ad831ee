"""`flask tokens`, and what all our commands have in common."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.engine import URL

from app import boot, create_app
from app.extensions import db
from app.fleet.core import audit
from tests.api.conftest import ROOT
from tests.conftest import environment_for, settings_for


def text_of(runner: FlaskCliRunner, *more: str) -> str:
    args = ["tokens", "create", "--account", "1", "--name", "t", *more]
    return str(runner.invoke(args=args).stdout.strip())


def test_a_token_can_be_asked_for_by_address_and_as_json(runner: FlaskCliRunner) -> None:
    runner.invoke(args=["accounts", "create", "Ada", "--email", "ada@example.org"])
    args = ["tokens", "create", "--account", "Ada@Example.org", "--name", "t", "--json"]
    made = json.loads(runner.invoke(args=args).stdout)
    assert made["token"].startswith(f"hw_{made['prefix']}_")
    assert (made["name"], made["one_time"], made["revoked_at"]) == ("t", False, None)
    listed = runner.invoke(args=["tokens", "list", "--account", "ada@example.org", "--json"])
    (known,) = json.loads(listed.stdout)["items"]
    assert known == {name: value for name, value in made.items() if name != "token"}


@pytest.mark.parametrize(("days", "ends"), [("30", True), ("0", False)])
def test_a_token_ends_when_one_says(runner: FlaskCliRunner, days: str, ends: bool) -> None:
    args = ["tokens", "create", "--account", "1", "--name", "t", "--expires-days", days, "--json"]
    made = json.loads(runner.invoke(args=args).stdout)
    assert (made["expires_at"] is not None) == ends


def test_lists_come_in_pages(runner: FlaskCliRunner) -> None:
    for _ in range(3):
        text_of(runner)
    first = runner.invoke(args=["tokens", "list", "--limit", "2", "--json"])
    following = json.loads(first.stdout)["next"]
    rest = runner.invoke(args=["tokens", "list", "--after", str(following), "--json"])
    seen = [t["id"] for page in (first, rest) for t in json.loads(page.stdout)["items"]]
    assert len(seen) == len(set(seen)) == 4  # and the invitation
    told = runner.invoke(args=["tokens", "list", "--limit", "2"])
    assert told.stderr == f"More: --after {following}\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["tokens", "revoke", "999"], 1, "There is no token 999."),
        (["tokens", "revoke", "x"], 2, "not a valid number"),
        (["tokens", "create", "--account", "999", "--name", "t"], 1, "There is no account 999."),
        (["tokens", "create", "--account", "1", "--name", " "], 2, "A name needs"),
        (["tokens", "create", "--account", "1", "--name", "x" * 129], 2, "at most 128"),
        (["tokens", "create", "--account", "1", "--name", "t", "--expires-days", "-1"], 2, "range"),
        (["tokens", "list", "--limit", "0"], 2, "range"),
        (["accounts", "list", "--after", "-1"], 2, "range"),
        (["accounts", "create", "x", "--email", "no address"], 2, "is not an e-mail address"),
        (["accounts", "create", "x", "--birthdate", "1990-02-30"], 2, "is not a date"),
        (["accounts", "create", "x" * 129], 2, "at most 128"),
        (["accounts", "delete", "1", "--yes"], 1, "is the last admin"),
        (["accounts", "change", "1", "--role", "viewer"], 1, "is the last admin"),
    ],
    ids=lambda value: " ".join(value[:4])[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_a_sentence_without_a_traceback(
    runner: FlaskCliRunner, args: list[str], code: int, said: str
) -> None:
    done = runner.invoke(args=args)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_an_empty_value_clears_a_field(runner: FlaskCliRunner) -> None:
    fields = ["--email", "a@example.org", "--birthdate", "1990-02-28", "--description", "d"]
    runner.invoke(args=["accounts", "create", "Ada", *fields])
    empty = ["--email", "", "--birthdate", "", "--description", ""]
    done = runner.invoke(args=["accounts", "change", "a@example.org", *empty, "--json"])
    changed = json.loads(done.stdout)
    assert [changed[name] for name in ("email", "birthdate", "description")] == [None] * 3


def test_accounts_can_be_found_by_address(runner: FlaskCliRunner) -> None:
    runner.invoke(args=["accounts", "create", "Ada", "--email", "ada@example.org"])
    found = runner.invoke(args=["accounts", "list", "--email", "ADA@example.org", "--json"])
    assert [account["name"] for account in json.loads(found.stdout)["items"]] == ["Ada"]


def test_revoking_is_in_the_audit_trail(runner: FlaskCliRunner, client: FlaskClient) -> None:
    text_of(runner)
    assert runner.invoke(args=["tokens", "revoke", "2"]).stdout == "Revoked token 2.\n"
    app: Flask = runner.app
    with app.app_context():
        (event, *_), _ = audit.list_events(ROOT, limit=1)
        db.session.remove()
    assert (event.action, event.subject_id) == ("token.revoked", 2)
    assert event.actor_name.startswith("cli:")


@pytest.mark.parametrize("command", ["accounts list", "tokens list", "accounts create x"])
def test_a_command_asks_for_a_catalog_at_head_and_does_not_migrate(
    sqlite_url: URL, command: str
) -> None:
    runner = create_app(settings_for(sqlite_url), migrate=False).test_cli_runner()
    done = runner.invoke(args=command.split())
    assert done.exit_code == 1
    assert "empty" in done.stderr
    assert "flask db upgrade" in done.stderr
    assert "c00" in done.stderr
    assert "c00" not in runner.invoke(args=["db", "current"]).stdout


def test_a_command_without_its_database_says_try_again(postgresql_url: URL) -> None:
    away = postgresql_url.set(port=1)
    app = create_app(settings_for(away, boot_wait_seconds=0), migrate=False)
    done = app.test_cli_runner().invoke(args=["accounts", "list"])
    assert done.exit_code == 75
    assert "Traceback" not in done.output


def test_an_invitation_says_where_it_is_good(
    runner: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.invoke(args=["accounts", "create", "Ada", "--email", "ada@example.org"])
    for host, shown in (("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")):
        with monkeypatch.context() as server:
            server.setenv("HOST", host)
            server.setenv("PORT", "8002")
            with runner.app.app_context():
                boot.bring_to_head(runner.app)
        invited = runner.invoke(args=["accounts", "invite", "ada@example.org"])
        assert f"http://{shown}:8002/sign-in" in invited.stderr, "where it was served last"
    monkeypatch.setenv("PORT", "8001")
    invited = runner.invoke(args=["accounts", "invite", "ada@example.org"])
    assert "http://127.0.0.1:8001/sign-in" in invited.stderr
    assert len(invited.stdout.split()) == 1
    told = json.loads(runner.invoke(args=["accounts", "invite", "1", "--json"]).stdout)
    assert (told["account_id"], told["one_time"]) == (1, True)
    assert told["token"].startswith("hw_")


def test_a_token_that_is_revoked_is_told_as_json(runner: FlaskCliRunner) -> None:
    text_of(runner)
    done = runner.invoke(args=["tokens", "revoke", "1", "--json"])
    assert json.loads(done.stdout) == {"id": 1, "revoked": True}


@pytest.mark.parametrize(
    "words", [("rollouts", "show"), ("runs", "show"), ("webhooks", "test"), ("tokens", "revoke")]
)
def test_a_number_is_asked_for_in_these_words(
    runner: FlaskCliRunner, words: tuple[str, str]
) -> None:
    done = runner.invoke(args=[*words, "abc"])
    assert done.exit_code == 2
    assert "'abc' is not a valid number." in done.stderr


@pytest.mark.skipif(not hasattr(click, "NoSuchCommand"), reason="this Click does not guess")
def test_a_command_that_is_misspelt_is_guessed(template_copy: URL, tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("flask"), "--app", "app", "rolouts", "list"],
        cwd=tmp_path,
        env=environment_for(template_copy),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Did you mean one of: 'rollouts'" in done.stderr
