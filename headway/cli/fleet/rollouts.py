"""The commands for rollouts, of any fleet."""

from typing import Any

import click

from headway.cli.fleet import options, previews, watching
from headway.cli.fleet.fleets import Fleet, Row, fleet_here
from headway.cli.fleet.names import ROLLOUT, project_option
from headway.cli.fleet.tables import ROLLOUTS, print_page, print_row
from headway.cli.output import Number, as_json, asks, counted, echo, paged, print_json


@click.group()
def rollouts() -> None:
    """Migrate many databases to one target, in waves."""


the_rollout = click.argument("rollout", type=ROLLOUT)
and_yes = click.option("--yes", is_flag=True, help="Do not ask.")
and_watch = click.option("--watch", is_flag=True, help="Show the progress until it ends.")


@rollouts.command()
@options.with_rollout_options
@click.option("--dry-run", is_flag=True, help="Only show what it would do.")
@click.option("--start", is_flag=True, help="Start it now.")
@click.option("--watch", is_flag=True, help="Start it, and show the progress until it ends.")
@as_json
def create(dry_run: bool, start: bool, watch: bool, as_json: bool, **given: Any) -> None:
    """Create a rollout. It is not started without --start or --watch."""
    fleet = fleet_here()
    values = options.rollout_values(fleet, given)
    if dry_run or start or watch:
        foreseen = fleet.preview(values)
        if dry_run:
            previews.show_preview(foreseen, as_json, sql=False)
            return
        if foreseen["is_done"]:
            previews.show_done(foreseen, as_json)
            return
        previews.require_database(foreseen)  # before anything is made
    rollout = fleet.create_rollout(values)
    if start or watch:
        _go(fleet, fleet.step(rollout["id"], "start"), watch, as_json)
        return
    print_row(ROLLOUTS, rollout, as_json=as_json)
    if not as_json:
        echo(
            f"Not started. `{fleet.program} rollouts preview {rollout['id']}` shows what it would "
            f"do, `{fleet.program} rollouts start {rollout['id']}` starts it.",
            err=True,
        )


@rollouts.command("list")
@project_option()
@click.option("--stage", "stages", multiple=True, type=options.StageName(options.STAGES))
@paged
@as_json
def list_(project: str | None, as_json: bool, **query: Any) -> None:
    """List rollouts, newest first."""
    fleet = fleet_here()
    project_id = fleet.project_id(project) if project else None
    print_page(ROLLOUTS, *fleet.rollouts(project_id=project_id, **query), as_json=as_json)


@rollouts.command()
@the_rollout
@as_json
def show(rollout: int, as_json: bool) -> None:
    """Show a rollout: its options and its stage."""
    fleet = fleet_here()
    row = fleet.rollout(rollout)
    print_row(ROLLOUTS, row, as_json=as_json)
    if row["stage"] == "pending" and not as_json:
        previews.warn_of_rehearsal(fleet.progress(rollout))


@rollouts.command()
@the_rollout
@click.option("--sql", is_flag=True, help="Also show the SQL of each plan.")
@as_json
def preview(rollout: int, sql: bool, as_json: bool) -> None:
    """Show what a rollout would do: which databases, which revisions, which waves."""
    fleet = fleet_here()
    previews.show_preview(fleet.preview(rollout), as_json, sql=sql)
    if not as_json:
        previews.warn_of_rehearsal(fleet.progress(rollout))


def _step(verb: str, words: str, *more: Any) -> None:
    """Register a command that only sends a step of a rollout, with these options in its body."""

    @the_rollout
    @and_watch
    @as_json
    def step(rollout: int, watch: bool, as_json: bool, **body: Any) -> None:
        fleet = fleet_here()
        _go(fleet, fleet.step(rollout, verb, **body), watch, as_json)

    for option in more:
        step = option(step)
    rollouts.command(verb, help=words)(step)


_step("pause", "Pause a rollout. Active runs are finished.")
_step("retry", "Try the failed databases of a rollout again.")
_step(
    "resume",
    "Resume a halted or paused rollout. Failed databases are tried again.",
    click.option("--skip-failed", is_flag=True, help="Continue without the failed databases."),
)
_step(
    "approve",
    "Approve what a rollout waits for. Another account must have asked for it.",
    click.option(
        "--wave",
        type=Number(0),
        help="The wave that is done, as it was shown to you. Refused if another wave is waiting "
        "now.",
    ),
)
_step(
    "rehearse",
    "Rehearse a rollout on copies before it starts.\n\n"
    "With --watch, exits with 1 if a database would fail.",
    click.option(
        "--sample",
        type=Number(1),
        help="Rehearse on this many databases of each plan.  [default: all]",
    ),
)


@rollouts.command()
@the_rollout
@and_yes
@and_watch
@as_json
def start(rollout: int, yes: bool, watch: bool, as_json: bool) -> None:
    """Start a rollout: its first wave begins.

    On a terminal, asks first if databases failed in its rehearsal.
    """
    fleet = fleet_here()
    foreseen = fleet.preview(rollout)
    if foreseen["is_done"]:
        previews.show_done(foreseen, as_json)
        return
    if previews.warn_of_rehearsal(fleet.progress(rollout)) and asks(yes=yes):
        click.confirm(f"Start rollout {rollout} anyway?", abort=True, err=as_json)
    _go(fleet, fleet.step(rollout, "start"), watch, as_json)


@rollouts.command()
@the_rollout
@and_yes
@and_watch
@as_json
def cancel(rollout: int, yes: bool, watch: bool, as_json: bool) -> None:
    """Cancel a rollout. Finished runs stay as they are.

    On a terminal, asks first.
    """
    fleet = fleet_here()
    if asks(yes=yes):
        progress = fleet.progress(rollout)
        left = counted(sum(wave["pending"] for wave in progress["waves"]), "waiting database")
        words = f"{left} will not be migrated; {progress['done']:,} done stay as they are."
        click.confirm(f"Cancel rollout {rollout}? {words}", abort=True, err=as_json)
    _go(fleet, fleet.step(rollout, "cancel"), watch, as_json)


@rollouts.command()
@the_rollout
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only show the revision that each database returns to, and the data that is dropped.",
)
@and_yes
@and_watch
@as_json
def undo(rollout: int, dry_run: bool, yes: bool, watch: bool, as_json: bool) -> None:
    """Return every database to its earlier revision.

    What the newer revisions added is dropped, with its data. On a terminal, shows it and asks.
    """
    fleet = fleet_here()
    foreseen = fleet.preview_undo(rollout)
    if dry_run:
        previews.show_preview(foreseen, as_json, sql=False)
        return
    if foreseen["total"] and asks(yes=yes):
        previews.show_preview(foreseen, False, sql=False)
        back = counted(foreseen["total"], "database")
        click.confirm(f"Undo rollout {rollout}? {back} will go back.", abort=True, err=as_json)
    _go(fleet, fleet.step(rollout, "undo"), watch, as_json)


@rollouts.command()
@the_rollout
@click.option("--wait-approval", is_flag=True, help="Go on watching while it waits for approval.")
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Stop watching after this time."
)
@as_json
def watch(rollout: int, wait_approval: bool, timeout: float | None, as_json: bool) -> None:
    """Show the progress of a rollout until nothing more happens.

    Exits with 0 if it succeeded or was undone, with 4 if it succeeded with allowed failures,
    with 1 if it failed, halted, was paused or was cancelled, with 5 if it waits for an approval,
    with 75 after the timeout. Ctrl-C ends only the watching.
    """
    until = watching.Until(wait_approval=wait_approval, seconds=timeout)
    raise click.exceptions.Exit(watching.watch(fleet_here(), rollout, until, as_json=as_json))


def go_one(fleet: Fleet, rollout: Row, wait: bool, as_json: bool) -> None:
    """Say that an operation on one database was started, or wait for it."""
    if wait or as_json:
        _go(fleet, rollout, wait, as_json)
        return
    done = f"Started rollout {rollout['id']}."
    if rollout["stage"] == "waiting":
        done = f"Rollout {rollout['id']} waits. {rollout['reason']}"
    echo(f"{done} `{fleet.program} rollouts watch {rollout['id']}` waits for it.")


def _go(fleet: Fleet, rollout: Row, watch: bool, as_json: bool) -> None:
    """Show the stage of a rollout, or watch it."""
    if watch:
        raise click.exceptions.Exit(watching.watch(fleet, rollout["id"], as_json=as_json))
    if as_json:
        print_json(rollout)
        return
    reason = f" {rollout['reason']}" if rollout["reason"] else ""
    is_draft = rollout["stage"] == "pending"
    echo(f"Rollout {rollout['id']} is {'a draft' if is_draft else rollout['stage']}.{reason}")
