"""`flask databases`."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from app.cli.actor import command_line
from app.cli.catalog_fleet import CatalogFleet, here
from app.cli.databases_import import import_
from app.cli.groups import CatalogGroup
from app.cli.selector_options import chosen, row_of
from app.errors import InputInvalid, RolloutRefused
from app.fleet import databases as fleet
from app.fleet import projects
from app.fleet.core.selectors import Selector
from app.fleet.counts import positions as core_positions
from app.fleet.refresh import refresh as fleet_refresh
from app.models import Database, Strategy
from headway.cli.fleet import watching
from headway.cli.fleet.names import DATABASE, project_option
from headway.cli.fleet.options import database_fields, database_values, labels_of, located
from headway.cli.fleet.rollouts import go_one
from headway.cli.fleet.tables import DATABASES, databases_at, print_page, print_row
from headway.cli.output import as_json, counted, echo, paged, print_json

databases = CatalogGroup("databases", help="Manage the databases of the fleet.")
databases.add_command(import_)


@databases.command()
@project_option(required=True)
@click.option("--name", help="Default: the name of the file, database or schema.")
@located
@database_fields
@as_json
def register(project: str, where: dict[str, str], as_json: bool, **fields: Any) -> None:
    """Register an existing database. It is not opened."""
    actor = command_line()
    values = _values(project, where, **fields)
    _show(fleet.register_database(actor, values)[0], as_json)


@databases.command()
@project_option(required=True)
@click.option("--name", help="Default: the name of the file, database or schema.")
@located
@database_fields
@click.option("--no-wait", is_flag=True, help="Print the rollout that creates it, and do not wait.")
@as_json
def create(
    project: str, where: dict[str, str], no_wait: bool, as_json: bool, **fields: Any
) -> None:
    """Create a database, and register it. A worker creates it; this command waits for it."""
    actor = command_line()
    creation = fleet.create_database(actor, _values(project, where, **fields))
    catalog = CatalogFleet(actor)
    if no_wait:
        go_one(catalog, catalog.rollout(creation.rollout_id), wait=False, as_json=as_json)
        return
    watching.wait(catalog, creation.rollout_id)
    database = fleet.created(actor, creation)
    if database is None:
        raise RolloutRefused(
            f"Rollout {creation.rollout_id}, which creates it, is paused. "
            f"`flask rollouts resume {creation.rollout_id}` continues it."
        )
    _show(database, as_json)


@databases.command("list")
@chosen
@click.option("--retired", is_flag=True, help="List retired databases instead.")
@paged
@as_json
def list_(selector: Selector, as_json: bool, **page: Any) -> None:
    """List databases."""
    found, following = fleet.list_databases(command_line(), selector, **page)
    rows = [row_of(database) for database in found]
    print_page(databases_at(selector.positions), rows, following, as_json=as_json)


@databases.command()
@click.argument("database", type=DATABASE)
@as_json
def show(database: str, as_json: bool) -> None:
    """Show a database, given by name, project/name or id."""
    _show(fleet.find_database(command_line(), database), as_json)


@databases.command()
@click.argument("database", type=DATABASE)
@click.option("--name")
@located
@database_fields
@click.option("--unlabel", multiple=True, metavar="NAME", help="Remove a label.")
@click.option("--unset-x", multiple=True, metavar="NAME", help="Remove an argument of its own.")
@as_json
def change(
    database: str,
    where: dict[str, str],
    unlabel: tuple[str, ...],
    unset_x: tuple[str, ...],
    as_json: bool,
    **fields: Any,
) -> None:
    """Change a database. An empty value clears a field."""
    actor = command_line()
    found = fleet.find_database(actor, database)
    values = _given(**fields) | where
    if unlabel:
        values["labels"] = values.get("labels", {}) | dict.fromkeys(unlabel)
    if unset_x:
        values["x"] = values.get("x", {}) | dict.fromkeys(unset_x)
    _show(fleet.change_database(actor, found.id, values, version=found.version), as_json)


@databases.command()
@chosen
@click.option(
    *("--set", "put"),
    multiple=True,
    callback=labels_of,
    metavar="NAME=VALUE",
    help="Set this label.",
)
@click.option("--unset", multiple=True, metavar="NAME", help="Remove this label.")
@click.option(
    "--strategy",
    type=click.Choice([one.value for one in Strategy]),
    help="Migrate them in waves, or each when it is next opened.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json
def label(
    selector: Selector,
    *,
    put: dict[str, str],
    unset: tuple[str, ...],
    strategy: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Set labels or the strategy of all selected databases."""
    if not selector.as_json() and not yes:
        asked = "No filter was given, so this changes all databases. Continue?"
        click.confirm(asked, abort=True, err=as_json)
    labels: dict[str, str | None] = {**put, **dict.fromkeys(unset)}
    number = fleet.change_many(command_line(), selector, labels=labels, strategy=strategy)
    if as_json:
        print_json({"changed": number})
        return
    echo(f"Changed {counted(number, 'database')}.")


@databases.command()
@click.argument("database", type=DATABASE)
@click.option("--reason", required=True)
@click.option("--until", help="A date or time: 2030-01-31, 2030-01-31T22:00:00+01:00.")
@click.option("--days", type=click.IntRange(1, 3650), help="Instead: a number of days from now.")
@as_json
def pin(database: str, reason: str, until: str | None, days: int | None, as_json: bool) -> None:
    """Exclude a database from rollouts for a time."""
    actor = command_line()
    found = fleet.find_database(actor, database)
    _show(fleet.pin_database(actor, found.id, reason=reason, until=_moment(until, days)), as_json)


@databases.command()
@click.argument("database", type=DATABASE)
@as_json
def unpin(database: str, as_json: bool) -> None:
    """Include a database in rollouts again."""
    actor = command_line()
    _show(fleet.unpin_database(actor, fleet.find_database(actor, database).id), as_json)


@databases.command()
@click.argument("database", type=DATABASE)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json
def retire(database: str, yes: bool, as_json: bool) -> None:
    """Remove a database from the fleet. The database itself and its history stay."""
    actor = command_line()
    found = fleet.find_database(actor, database)
    if not yes:
        asked = f"Retire database {found.id} ({found.address})?"
        click.confirm(asked, abort=True, err=as_json)
    retired = fleet.retire_database(actor, found.id, version=found.version)
    if as_json:
        _show(retired, as_json)
        return
    echo(f"Retired database {found.id}. {found.address} was not changed.")


@databases.command()
@click.argument("database", type=DATABASE)
@click.option("--yes", is_flag=True, help="Skip the first question.")
@click.option("--confirm", help="The name of the database, in place of the second question.")
@as_json
def drop(database: str, yes: bool, confirm: str | None, as_json: bool) -> None:
    """Delete a database and all its data permanently. A SQLite file is copied first.

    Of a member whose URL names a schema (?schema=acme) that schema alone is deleted.
    """
    actor = command_line()
    found = fleet.find_database(actor, database)
    kept = "A snapshot is kept." if found.dialect == "sqlite" else "There is no snapshot."
    if not yes:
        asked = f"Drop {found.address} and all its data? {kept}"
        if schema := fleet.schema_of(found):
            asked = f"Drop the schema {schema} of {found.address} and all that is in it? {kept}"
        click.confirm(asked, abort=True, err=as_json)
    if confirm is None:
        asked = f"Type the name of the database to drop it ({found.name})"
        confirm = click.prompt(asked, default="", err=as_json)
    done = fleet.drop_database(actor, found.id, confirm=confirm)
    if as_json:
        copy = str(done.snapshot) if done.snapshot else None
        print_json(row_of(done.database) | {"snapshot": copy, "note": done.note})
        return
    echo(f"Dropped database {found.id}. {done.note}")


@databases.command()
@project_option(required=True)
@click.option("--later", is_flag=True, help="Let a worker do it later.")
@as_json
def refresh(project: str, later: bool, as_json: bool) -> None:
    """Read the status of all databases of a project. Nothing in them is changed."""
    actor = command_line()
    found = projects.find_project(actor, project)
    total = sum(one.databases for one in core_positions.counts(found.id))
    noted = 0
    if later:
        projects.ask_refresh(actor, found.id)
    elif sys.stderr.isatty():
        with click.progressbar(length=total, label="Checked", file=sys.stderr) as bar:
            noted = fleet_refresh.refresh(found.id, progress=bar.update)
    else:
        noted = fleet_refresh.refresh(found.id)
    if as_json:
        print_json({"project": found.name, "databases": total, "asked": noted, "later": later})
    elif later:
        echo(f"A worker will check the databases of {found.name}.")
    else:
        many = counted(total, "database")
        echo(f"Checked {noted:,} of {many}. `flask databases status` shows the counts.")


def _values(project: str, where: dict[str, str], **fields: Any) -> dict[str, Any]:
    project_id = projects.find_project(command_line(), project).id
    return {"project_id": project_id} | _given(**fields) | where


def _given(**fields: Any) -> dict[str, Any]:
    """The values of the given options; an empty one clears its field."""
    return database_values(here(), **fields)


def _moment(until: str | None, days: int | None) -> datetime:
    if (until is None) == (days is None):
        raise InputInvalid("Until when? Give --until or --days.")
    if days:
        return datetime.now(UTC) + timedelta(days=days)
    try:
        moment = datetime.fromisoformat(str(until))
    except ValueError as error:
        raise InputInvalid(f"{until!r} is not a date. Write it as 2030-01-31.") from error
    return moment if moment.tzinfo else moment.astimezone()


def _show(database: Database, as_json: bool) -> None:
    print_row(DATABASES, row_of(database), as_json=as_json)
