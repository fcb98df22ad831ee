"""Commands that move a database: upgrade, downgrade, stamp, create, adopt."""

import time
from dataclasses import asdict
from typing import Any

import click

from headway.cli.options import TargetCommand, on_database, run_options, span_of, target_argument
from headway.cli.output import as_json, echo, print_json, show_current
from headway.database import Database
from headway.errors import DatabaseUnreachable, command
from headway.execution.migration import ensure_version_table
from headway.plan.plans import Direction
from headway.plan.sql import render
from headway.types import Outcome, Position

as_sql = click.option("--sql", is_flag=True, help="Print the SQL; no database is connected to.")


@click.command(cls=TargetCommand)
@on_database
@target_argument(default="heads")
@as_sql
@run_options
@as_json
def upgrade(database: Database, target: str, sql: bool, as_json: bool) -> None:
    """Upgrade a database to a target: all steps or, if the database allows it, none.

    A target: head, heads, +2, a revision or the beginning of its id, branch@head, ae10+2.
    """
    if sql:
        _print_sql(database, Direction.UPGRADE, target)
        return
    _refuse_range(target)
    _show_outcome(database.upgrade(target, **_progress(as_json)), as_json=as_json)


@click.command(cls=TargetCommand)
@on_database
@target_argument()
@as_sql
@run_options
@as_json
def downgrade(database: Database, target: str, sql: bool, as_json: bool) -> None:
    """Downgrade a database to a target: -1, base, a revision or the beginning of its id."""
    if sql:
        if ":" not in target:
            raise click.UsageError(
                f"--sql does not ask the database, so say where it begins: FROM:{target}. "
                f"`{command('plan')} {target}` shows the SQL from where the database stands."
            )
        _print_sql(database, Direction.DOWNGRADE, target)
        return
    _refuse_range(target)
    _show_outcome(database.downgrade(target, **_progress(as_json)), as_json=as_json)


@click.command(cls=TargetCommand)
@on_database
@target_argument("targets", nargs=-1)
@as_sql
@click.option("--purge", is_flag=True, help="Empty the version table first.")
@as_json
def stamp(
    database: Database, targets: tuple[str, ...], sql: bool, purge: bool, as_json: bool
) -> None:
    """Record that a database is at a target, by default the heads, without running revisions."""
    targets = targets or ("heads",)
    if sql:
        if purge:
            raise click.UsageError("--purge needs the database, but --sql does not connect to it.")
        _print_sql(database, Direction.STAMP, *targets)
        return
    _refuse_range(*targets)
    target = targets if len(targets) > 1 else targets[0]
    _show_outcome(database.stamp(target, purge=purge), as_json=as_json)


def _print_sql(database: Database, way: Direction, *targets: str) -> None:
    click.echo(render(span_of(database, way, *targets)), nl=False)


def _refuse_range(*targets: str) -> None:
    if any(":" in one for one in targets):
        raise click.UsageError(
            f"A range is for --sql. A database begins where it stands: give the target alone, not "
            f"{' '.join(targets)}."
        )


@click.command("ensure-version")
@on_database
def ensure_version(database: Database) -> None:
    """Create the version table if it is not there. No revision is recorded."""
    ensure_version_table(database.project, database.address, database.x, database.policy)
    echo(f"{database.address} has its version table.")


@click.command()
@on_database
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait at most.")
def wait(database: Database, timeout: float) -> None:
    """Wait until a database is reachable and at head. Exit with 75 if that takes too long.

    For a program that starts beside the one that migrates.
    """
    deadline = time.monotonic() + timeout
    while (found := database.status()).position is not Position.AT_HEAD:
        if time.monotonic() > deadline:
            why = found.reason or f"It is {found.position.value.replace('_', ' ')}."
            raise DatabaseUnreachable(
                f"{database.address} is not at head: {why} Waited {timeout:g} s."
            )
        time.sleep(0.2)
    echo(f"{database.address} is at head.")


@click.command()
@on_database
@target_argument(default="heads")
@as_json
def create(database: Database, target: str, as_json: bool) -> None:
    """Create a database at a target."""
    show_current(database, database.create(target), as_json=as_json, how="is made, at")


@click.command()
@on_database
@as_json
def adopt(database: Database, as_json: bool) -> None:
    """Find the revision whose schema an unstamped database has, and stamp it."""
    match = database.adopt()
    show_current(database, match.revisions, as_json=as_json)
    if match.says:
        echo(match.says, err=True)


def _progress(as_json: bool) -> dict[str, Any]:
    if as_json:
        return {}

    def on_step(number: int, total: int, revision: str) -> None:
        echo(f"{number} of {total}  {revision}")

    def waiting(holder: object) -> None:
        echo(f"waiting: it is being migrated by {holder or 'another process'}", err=True)

    return {"on_step": on_step, "waiting": waiting}


def _show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(outcome))
        return
    where = ", ".join(outcome.after) or "base"
    if outcome.before == outcome.after:
        echo(f"It is at {where}: nothing to do.")
        return
    how = " by replay" if outcome.replayed else ""
    echo(f"At {where} after {outcome.seconds:.2f} s{how}.")
    if outcome.snapshot:
        echo(f"Snapshot from before: {outcome.snapshot}")
