"""`flask accounts` and `flask tokens`."""

import json
from pathlib import Path

from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.engine import URL

from app import create_app
from tests.conftest import settings_for
from tests.migrator.scripts import write_project


def test_an_account_from_its_making_to_its_end(runner: FlaskCliRunner) -> None:
    create = (
        "accounts",
        "create",
        "Ada",
        "--email",
        "Ada@Example.org",
        "--birthdate",
        "1815-12-10",
    )
    made = json.loads(runner.invoke(args=[*create, "--role", "operator", "--json"]).stdout)
    assert (made["email"], made["role"], made["birthdate"]) == (
        *("ada@example.org", "operator"),
        "1815-12-10",
    )
    listed = runner.invoke(args=["accounts", "list", "--role", "operator"])
    assert listed.stdout.splitlines() == [
        "id\tname\temail\trole",
        f"{made['id']}\tAda\tada@example.org\toperator",
    ]
    changed = runner.invoke(args=["accounts", "change", "ada@example.org", "--location", "London"])
    assert "London" in changed.stdout
    cleared = runner.invoke(
        args=["accounts", "change", str(made["id"]), "--location", "", "--json"]
    )
    assert json.loads(cleared.stdout)["location"] is None
    assert "Ada" in runner.invoke(args=["accounts", "show", str(made["id"])]).stdout
    asked = runner.invoke(args=["accounts", "delete", "ada@example.org"], input="n\n")
    assert asked.exit_code == 1
    gone = runner.invoke(args=["accounts", "delete", "ada@example.org", "--yes"])
    assert gone.stdout == f"Deleted account {made['id']} (Ada).\n"
    missing = runner.invoke(args=["accounts", "show", "ada@example.org"])
    assert (missing.exit_code, missing.stderr) == (
        1,
        "Error: There is no account with the address ada@example.org.\n",
    )


def test_a_token_made_on_the_machine_opens_the_api(
    runner: FlaskCliRunner, client: FlaskClient
) -> None:
    made = runner.invoke(args=["tokens", "create", "--account", "1", "--name", "laptop"])
    assert made.stderr == "This token is shown only once:\n"
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert client.get("/api/v1/me", headers=headers).get_json()["role"] == "admin"
    listed = json.loads(runner.invoke(args=["tokens", "list", "--json"]).stdout)["items"]
    (token,) = [token for token in listed if token["name"] == "laptop"]
    assert "token" not in token
    assert made.stdout.strip().split("_", 2)[2] not in runner.invoke(args=["tokens", "list"]).stdout
    assert runner.invoke(args=["tokens", "revoke", str(token["id"])]).exit_code == 0
    assert client.get("/api/v1/me", headers=headers).status_code == 401


def test_what_is_done_at_the_command_line_is_in_the_audit_trail(runner: FlaskCliRunner) -> None:
    from flask import Flask

    from app.fleet.core import audit
    from tests.api.conftest import ROOT

    runner.invoke(args=["accounts", "create", "Ada"])
    app: Flask = runner.app
    with app.app_context():
        (event, *_), _ = audit.list_events(ROOT, limit=1)
    assert event.action == "account.created"
    assert event.actor_name.startswith("cli:")


def test_a_mistake_is_one_sentence_with_its_code(runner: FlaskCliRunner) -> None:
    runner.invoke(args=["accounts", "create", "a", "--email", "a@example.org"])
    again = runner.invoke(args=["accounts", "create", "b", "--email", "A@example.org"])
    assert (again.exit_code, again.stderr) == (
        1,
        "Error: Another account has this e-mail address\n",
    )
    assert runner.invoke(args=["accounts", "create", "x", "--role", "king"]).exit_code == 2
    assert runner.invoke(args=["accounts", "create", " "]).exit_code == 2


def test_a_role_in_a_project_is_given_shown_and_taken(template_copy: URL, tmp_path: Path) -> None:
    scripts = write_project(tmp_path / "scripts", 1)
    runner = create_app(settings_for(template_copy, project_roots=(tmp_path,))).test_cli_runner()
    done = runner.invoke(args=["projects", "create", "shop", str(scripts), "--requires-approval"])
    assert done.exit_code == 0, done.stderr
    made = runner.invoke(
        args=["accounts", "create", "Ada", "--email", "ada@example.org", "--role", "member"]
    )
    assert made.exit_code == 0, made.stderr
    given = runner.invoke(args=["accounts", "grant", "ada@example.org", "shop", "operator"])
    assert given.stdout == "Account 2 (Ada) has the role operator in shop.\n"
    again = runner.invoke(args=["accounts", "grant", "2", "shop", "admin", "--json"])
    told = json.loads(again.stdout)
    assert (told["account_id"], told["project"], told["role"]) == (2, "shop", "admin")
    for narrowed in ([], ["--project", "shop"], ["--account", "ada@example.org"]):
        listed = runner.invoke(args=["accounts", "grants", *narrowed])
        assert listed.stdout.splitlines() == ["project\taccount\tname\trole", "shop\t2\tAda\tadmin"]
    assert runner.invoke(args=["accounts", "grants", "--account", "1"]).stdout.count("\n") == 1
    wrong = runner.invoke(args=["accounts", "grant", "nobody@example.org", "shop", "viewer"])
    assert (wrong.exit_code, "no account nobody@example.org" in wrong.stderr) == (2, True)
    assert runner.invoke(args=["accounts", "grant", "2", "shop", "member"]).exit_code == 2
    taken = runner.invoke(args=["accounts", "revoke", "2", "shop"])
    assert taken.stdout == "Account 2 has no role of its own in shop any more.\n"
    missing = runner.invoke(args=["accounts", "revoke", "2", "shop"])
    assert (missing.exit_code, missing.stderr) == (
        1,
        "Error: Ada has no role of its own in shop.\n",
    )
    shown = json.loads(runner.invoke(args=["projects", "show", "shop", "--json"]).stdout)
    assert shown["requires_approval"] is True
    off = runner.invoke(args=["projects", "change", "shop", "--no-requires-approval", "--json"])
    assert json.loads(off.stdout)["requires_approval"] is False
    kept = runner.invoke(args=["projects", "change", "shop", "--notes", "x", "--json"])
    assert json.loads(kept.stdout)["requires_approval"] is False
