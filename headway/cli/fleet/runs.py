"""The commands for runs, of any fleet."""

from typing import Any

import click

from headway.cli.fleet import previews
from headway.cli.fleet.fleets import fleet_here
from headway.cli.fleet.names import DATABASE
from headway.cli.fleet.options import KINDS, RUN_KINDS, RUN_STATES
from headway.cli.fleet.rollouts import go_one
from headway.cli.fleet.tables import RUNS, print_page, print_row
from headway.cli.output import Number, as_json, asks, echo, paged


@click.group()
def runs() -> None:
    """Show runs, and start one on a database."""


@runs.command("list")
@click.option("--rollout", "rollout_id", type=Number(1))
@click.option("--database", help="A name or id.")
@click.option("--state", "states", multiple=True, type=click.Choice(RUN_STATES))
@click.option("--kind", type=click.Choice(RUN_KINDS))
@click.option("--replaced", is_flag=True, help="Include runs that a later attempt replaced.")
@paged
@as_json
def list_(database: str | None, as_json: bool, **query: Any) -> None:
    """List runs in the order of creation."""
    fleet = fleet_here()
    database_id = fleet.database(database)["id"] if database else None
    print_page(RUNS, *fleet.runs(database_id=database_id, **query), as_json=as_json)


@runs.command()
@click.argument("run", type=Number(1))
@click.option("--sql", is_flag=True, help="Show only the SQL that it sent.")
@as_json
def show(run: int, sql: bool, as_json: bool) -> None:
    """Show a run with its log and its SQL."""
    found = fleet_here().run(run)
    if sql:
        click.echo(found["sql"] or "-- It sent no SQL.", nl=not found["sql"])
        return
    print_row(RUNS, found, as_json=as_json)
    for part in () if as_json else (found["log"], found["sql"]):
        if part:
            echo(f"\n{part.rstrip()}")


@runs.command(context_settings={"ignore_unknown_options": True})  # -1 is a target
@click.argument("database", type=DATABASE)
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("target", default="")
@click.option("--snapshot", is_flag=True, help="Copy a SQLite file before the run.")
@click.option(
    "--timeout", "timeout_seconds", type=float, default=600.0, show_default=True, metavar="SECONDS"
)
@click.option("--dry-run", is_flag=True, help="Only show what it would do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@as_json
def start(
    database: str,
    kind: str,
    target: str,
    *,
    dry_run: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Start an operation on one database, even if it is pinned. A worker does it.

    The database is given by name or id. On a terminal, a downgrade asks first, and shows what it
    drops.
    """
    fleet = fleet_here()
    found = fleet.database(database)
    plan = fleet.plan(found, kind, target)
    if plan["is_done"] and not as_json:
        echo(f"{found['name']}: nothing to do. {plan['why_not']}")
        return
    is_asked = kind == "downgrade" and bool(plan["steps"]) and asks(yes=yes)
    if dry_run or is_asked:
        previews.show_plan(plan)
    if dry_run:
        return
    if is_asked:
        question = f"Downgrade {found['name']} to {plan['target']}?"
        click.confirm(question, abort=True, err=as_json)
    go_one(fleet, fleet.start_run(found, kind, target, **options), wait, as_json)
