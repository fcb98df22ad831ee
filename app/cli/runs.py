"""`flask runs`."""

from typing import IO, Any

import click

from app.cli import rollout_values
from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.cli.rollouts import print_started
from app.fleet import databases
from app.fleet import runs as fleet
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import OPERATIONS
from app.fleet.runs import export as runs_export
from app.models import Kind, Rollout, Run, State
from headway.cli.fleet import previews, watching
from headway.cli.fleet.tables import RUNS, print_page, print_row
from headway.cli.output import Number, as_json, asks, echo, paged, print_json

COLUMNS = (
    *("id", "rollout_id", "database_id", "kind", "attempt", "server", "state", "worker"),
    *("retry_at", "started_at", "finished_at", "seconds", "before", "aim", "after", "applied"),
    *("replayed", "error", "problem", "snapshot", "replaced_by", "undoes", "created_at"),
)

runs = CatalogGroup("runs", help="Show runs, and start one on a database.")

wait = click.option("--wait", is_flag=True, help="Wait until it has ended.")


@runs.command("list")
@click.option("--rollout", "rollout_id", type=Number(1))
@click.option("--database", help="A name or id.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([state.value for state in State])
)
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]))
@click.option("--replaced", is_flag=True, help="Include runs that a later attempt replaced.")
@paged
@as_json
def list_(database: str | None, as_json: bool, **query: Any) -> None:
    """List runs in the order of creation."""
    actor = command_line()
    found, following = fleet.list_runs(actor, database_id=_id(actor, database), **query)
    names = fleet.names_of(found)
    print_page(RUNS, [_row(run, names) for run in found], following, as_json=as_json)


@runs.command()
@click.argument("run", type=Number(1))
@click.option("--sql", is_flag=True, help="Show only the SQL that it sent.")
@as_json
def show(run: int, sql: bool, as_json: bool) -> None:
    """Show a run with its log and its SQL."""
    found = fleet.get_run(command_line(), run)
    sent = fleet.sql_of(found)
    if sql:
        click.echo(sent or "-- It sent no SQL.", nl=not sent)
        return
    row = _row(found, fleet.names_of([found]))
    if as_json:
        print_json(row | {"log": found.log, "sql": sent})
        return
    print_row(row, as_json=False)
    for part in (found.log, sent):
        if part:
            echo(f"\n{part.rstrip()}")


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


@runs.command(context_settings={"ignore_unknown_options": True})  # -1 is a target
@click.argument("database")
@click.argument("kind", type=click.Choice([kind.value for kind in OPERATIONS]))
@click.argument("target", default="")
@click.option("--snapshot", is_flag=True, help="Copy a SQLite file before the run.")
@click.option(
    "--timeout", "timeout_seconds", type=float, default=600.0, show_default=True, metavar="SECONDS"
)
@click.option("--dry-run", is_flag=True, help="Only show what it would do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@wait
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
    actor = command_line()
    found = databases.find_database(actor, database)
    plan = databases.plan_of(actor, found, Kind(kind), target)
    if plan.is_done and not as_json:
        echo(f"{found.name}: nothing to do. {plan.why_not}")
        return
    is_asked = kind == Kind.DOWNGRADE and bool(plan.steps) and asks(yes=yes)
    if dry_run or is_asked:
        previews.show_plan(rollout_values.plan_of(plan))
    if dry_run:
        return
    if is_asked:
        click.confirm(f"Downgrade {found.name} to {plan.target}?", abort=True, err=as_json)
    _go(actor, databases.run_one(actor, found.id, kind, target, **options), wait, as_json)


@runs.command("open")
@click.argument("database")
@wait
@as_json
def open_(database: str, wait: bool, as_json: bool) -> None:
    """Open a database that is migrated on open: show whether it can be used now."""
    actor = command_line()
    opened = databases.open_database(actor, databases.find_database(actor, database).id)
    if opened.rollout is not None:
        _go(actor, opened.rollout, wait, as_json)
        return
    position = opened.database.position or "unknown"
    if as_json:
        print_json({"ready": opened.ready, "position": position, "rollout": None})
    else:
        note = "" if opened.ready else ". Nothing was started: rollouts migrate this database"
        echo(f"{opened.database.name} is {position.replace('_', ' ')}{note}.")


def _go(actor: Actor, rollout: Rollout, wait: bool, as_json: bool) -> None:
    if wait:
        source = rollout_values.source(actor)
        raise SystemExit(watching.watch(source, rollout.id, as_json=as_json))
    print_started(rollout, as_json=as_json)


def _id(actor: Actor, name: str | None) -> int | None:
    return databases.find_database(actor, name).id if name else None


def _row(run: Run, names: dict[int, str]) -> dict[str, Any]:
    shown = {name: getattr(run, name) for name in COLUMNS}
    more = {"database": names.get(run.database_id, ""), "wave": runs_export.wave_of(run.wave)}
    return shown | more
