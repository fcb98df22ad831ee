"""The commands for databases, over the API."""

from typing import Any

import click

from headway.cli.fleet import watching
from headway.cli.fleet.client import RequestRefused
from headway.cli.fleet.names import DATABASE, project_option
from headway.cli.fleet.options import (
    database_fields,
    database_values,
    located,
    selecting,
)
from headway.cli.fleet.remote import RemoteFleet, only, remote_fleet
from headway.cli.fleet.rollouts import go_one
from headway.cli.fleet.tables import DATABASES, databases_at, print_page, print_row
from headway.cli.output import as_json, echo, paged, print_json
from headway.errors import ErrorKind


@click.group()
def databases() -> None:
    """Show, register and check databases."""


the_database = click.argument("database", type=DATABASE)


@databases.command("list")
@selecting
@click.option("--retired", is_flag=True, help="List retired databases instead.")
@paged
@as_json
def list_(
    project: str | None,
    labels: dict[str, str],
    owner: str | None,
    positions: tuple[str, ...],
    as_json: bool,
    **query: Any,
) -> None:
    """List databases."""
    fleet = remote_fleet()
    found, following = fleet.client.page(
        "/databases",
        project_id=fleet.project_id(project) if project else None,
        label=",".join(f"{name}={value}" for name, value in labels.items()) or None,
        owner_id=fleet.account_id(owner) if owner else None,
        position=only("--position", positions),
        strategy=query.pop("strategy_is"),
        **query,
    )
    print_page(databases_at(positions), found, following, as_json=as_json)


@databases.command()
@the_database
@as_json
def show(database: str, as_json: bool) -> None:
    """Show a database, given by name, project/name or id."""
    print_row(DATABASES, remote_fleet().database(database), as_json=as_json)


def _new(command: Any) -> Any:
    """Decorator: the options of a new database."""
    for option in (
        database_fields,
        located,
        click.option("--name", help="Default: the name of the file, database or schema."),
        project_option(required=True),
    ):
        command = option(command)
    return command


@databases.command()
@_new
@as_json
def register(as_json: bool, **given: Any) -> None:
    """Register an existing database. It is not opened."""
    fleet = remote_fleet()
    print_row(DATABASES, fleet.client.post("/databases", _values(fleet, **given)), as_json=as_json)


@databases.command()
@_new
@click.option("--no-wait", is_flag=True, help="Print the rollout that creates it, and do not wait.")
@as_json
def create(no_wait: bool, as_json: bool, **given: Any) -> None:
    """Create a database, and register it. A worker creates it; this command waits for it."""
    fleet = remote_fleet()
    made = fleet.client.post("/databases/create", _values(fleet, **given))
    if no_wait:
        go_one(fleet, made["rollout"], False, as_json)
        return
    done = watching.wait(fleet, made["rollout"]["id"])
    if done["stage"] != "succeeded":
        error = (done["first_error"] or {}).get("error") or done["reason"]
        words = f"The database was not created: its rollout is {done['stage']}. {error or ''}"
        raise RequestRefused(words.strip(), ErrorKind.FAILED)
    print_row(DATABASES, fleet.client.get(f"/databases/{made['database']['id']}"), as_json=as_json)


@databases.command()
@the_database
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json
def retire(database: str, yes: bool, as_json: bool) -> None:
    """Remove a database from the fleet. The database itself and its history stay."""
    fleet = remote_fleet()
    found, headers = fleet.client.request("GET", "/databases/find", query={"name": database})
    if not yes:
        question = f"Retire database {found['id']} ({found['address']})?"
        click.confirm(question, abort=True, err=as_json)
    where = f"/databases/{found['id']}"
    fleet.client.request("DELETE", where, headers={"If-Match": headers["ETag"]})
    if as_json:
        print_json(fleet.client.get(where))
        return
    echo(f"Retired database {found['id']}. {found['address']} was not changed.")


@databases.command()
@the_database
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@as_json
def check(database: str, wait: bool, as_json: bool) -> None:
    """Compare the schema of a database with its revisions. A worker does it."""
    fleet = remote_fleet()
    found = fleet.database(database)
    go_one(fleet, fleet.start_run(found, "check", ""), wait, as_json)


@databases.command()
@project_option(required=True)
@as_json
def refresh(project: str, as_json: bool) -> None:
    """Read the status of all databases of a project. A worker does it."""
    fleet = remote_fleet()
    found = fleet.client.find("projects", project)
    answer = fleet.client.post(f"/projects/{found['id']}/refresh")
    if as_json:
        print_json(answer)
        return
    echo(f"A worker will check the databases of {found['name']}.")


def _values(
    fleet: RemoteFleet, project: str, where: dict[str, str], **fields: Any
) -> dict[str, Any]:
    values = database_values(fleet, **fields)
    return {"project_id": fleet.project_id(project), **values, **where}
