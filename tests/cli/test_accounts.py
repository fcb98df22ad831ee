"""`flask accounts` and `flask tokens`."""

import json

from flask.testing import FlaskClient, FlaskCliRunner


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
