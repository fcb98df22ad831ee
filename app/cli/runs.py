"""`flask runs`."""

from typing import IO

import click

from app.cli.actor import command_line
from app.cli.catalog_fleet import CatalogFleet, on_catalog, rollout_row
from app.cli.groups import CatalogGroup
from app.fleet import databases
from app.fleet.core.permissions import Actor
from app.fleet.runs import export as runs_export
from headway.cli.fleet.names import DATABASE
from headway.cli.fleet.rollouts import go_one
from headway.cli.fleet.runs import runs as of_any_fleet
from headway.cli.output import Number, as_json, echo, print_json

runs = CatalogGroup("runs", help="Show runs, and start one on a database.")
for _command in of_any_fleet.commands.values():
    runs.add_command(on_catalog(_command))

and_wait = click.option("--wait", is_flag=True, help="Wait until it has ended.")


@runs.command()
@click.option("--rollout", "rollout_id", type=Number(1))
@click.option("--database", help="A name or id.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(runs_export.FORMS)),
    default="jsonl",
    show_default=True,
    help="JSON lines with log and SQL, or CSV for a spreadsheet.",
)
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), default="-")
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
def export(
    rollout_id: int | None, database: str | None, form: str, output: IO[str], as_json: bool
) -> None:
    """Export all runs, oldest first, to standard output or a file."""
    actor = command_line()
    rows = runs_export.rows(actor, rollout_id=rollout_id, database_id=_id(actor, database))
    form = "jsonl" if as_json else form
    for line in runs_export.FORMS[form](rows):
        output.write(line)


@runs.command("open")
@click.argument("database", type=DATABASE)
@and_wait
@as_json
def open_(database: str, wait: bool, as_json: bool) -> None:
    """Open a database that is migrated on open: show whether it can be used now."""
    actor = command_line()
    opened = databases.open_database(actor, databases.find_database(actor, database).id)
    if opened.rollout is not None:
        go_one(CatalogFleet(actor), rollout_row(opened.rollout), wait, as_json)
        return
    position = opened.database.position or "unknown"
    if as_json:
        print_json({"ready": opened.ready, "position": position, "rollout": None})
    else:
        note = "" if opened.ready else ". Nothing was started: rollouts migrate this database"
        echo(f"{opened.database.name} is {position.replace('_', ' ')}{note}.")


def _id(actor: Actor, name: str | None) -> int | None:
    return databases.find_database(actor, name).id if name else None
