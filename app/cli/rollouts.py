"""`flask rollouts`."""

from collections.abc import Callable
from typing import Any

import click

from app.cli import rollout_values
from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet import projects
from app.fleet import rollouts as fleet
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import progress
from app.models import Rollout, Stage
from headway.cli.fleet import options, previews, watching
from headway.cli.fleet.tables import ROLLOUTS, print_page, print_row
from headway.cli.output import Number, as_json, asks, counted, echo, paged, print_json

COLUMNS = (
    *("id", "project_id", "title", "kind", "target", "selector", "waves", "sizes", "gate"),
    *("window", "concurrency", "per_server", "timeout_seconds", "snapshot", "retreat", "stage"),
    *("reason", "wave", "by_id", "by_name", "created_at", "started_at", "finished_at"),
)

rollouts = CatalogGroup("rollouts", help="Migrate many databases to one target, in waves.")

the_rollout = click.argument("rollout", type=Number(1))
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
    actor = command_line()
    values = options.rollout_values(rollout_values.finder(actor), given)
    if dry_run:
        _show_preview(fleet.preview(actor, values), as_json)
        return
    if start or watch:
        foreseen = fleet.preview(actor, values)
        if foreseen.is_done:
            previews.show_done(rollout_values.preview_of(foreseen), as_json)
            return
        foreseen.require_database()  # before anything is made
    rollout, _ = fleet.create_rollout(actor, values)
    if not start and not watch:
        _show(rollout, as_json)
        if not as_json:
            echo(
                f"Not started. `flask rollouts preview {rollout.id}` shows what it would do, "
                f"`flask rollouts start {rollout.id}` starts it.",
                err=True,
            )
        return
    _go(actor, fleet.start_rollout(actor, rollout.id), watch, as_json)


@rollouts.command("list")
@click.option("--project", help="A name or id.")
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice([stage.value for stage in Stage])
)
@paged
@as_json
def list_(project: str | None, as_json: bool, **query: Any) -> None:
    """List rollouts, newest first."""
    actor = command_line()
    project_id = projects.find_project(actor, project).id if project else None
    found, following = fleet.list_rollouts(actor, project_id=project_id, **query)
    print_page(ROLLOUTS, [row(rollout) for rollout in found], following, as_json=as_json)


@rollouts.command()
@the_rollout
@as_json
def show(rollout: int, as_json: bool) -> None:
    """Show a rollout: its options and its stage."""
    _show(fleet.get_rollout(command_line(), rollout), as_json)


@rollouts.command()
@the_rollout
@click.option("--sql", is_flag=True, help="Also show the SQL of each plan.")
@as_json
def preview(rollout: int, sql: bool, as_json: bool) -> None:
    """Show what a rollout would do: which databases, which revisions, which waves."""
    _show_preview(fleet.preview(command_line(), rollout), as_json, sql=sql)


@rollouts.command()
@the_rollout
@click.option(
    "--sample",
    type=click.IntRange(1),
    help="Rehearse on this many databases of each plan.  [default: all]",
)
@and_watch
@as_json
def rehearse(rollout: int, sample: int | None, watch: bool, as_json: bool) -> None:
    """Rehearse a rollout on copies before it starts.

    With --watch, exits with 1 if a database would fail.
    """
    actor = command_line()
    _go(actor, fleet.rehearse_rollout(actor, rollout, sample=sample), watch, as_json)


@rollouts.command()
@the_rollout
@click.option("--skip-failed", is_flag=True, help="Continue without the failed databases.")
@and_watch
@as_json
def resume(rollout: int, skip_failed: bool, watch: bool, as_json: bool) -> None:
    """Resume a halted or paused rollout. Failed databases are tried again."""
    actor = command_line()
    _go(actor, fleet.resume_rollout(actor, rollout, skip_failed=skip_failed), watch, as_json)


def _step(verb: str, words: str, use_case: Callable[[Actor, int], Rollout]) -> None:
    """Register a command whose only argument is the rollout."""

    @rollouts.command(verb, help=words)
    @the_rollout
    @and_watch
    @as_json
    def step(rollout: int, watch: bool, as_json: bool) -> None:
        actor = command_line()
        _go(actor, use_case(actor, rollout), watch, as_json)


_step("pause", "Pause a rollout. Active runs are finished.", fleet.pause_rollout)
_step("retry", "Try the failed databases of a rollout again.", fleet.retry_rollout)
_step(
    "approve",
    "Approve a rollout. Not available on the command line: approvals need an account.",
    fleet.approve_rollout,
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
    actor = command_line()
    foreseen = fleet.preview(actor, rollout)
    if foreseen.is_done:
        previews.show_done(rollout_values.preview_of(foreseen), as_json)
        return
    if rehearsal := previews.failed_rehearsal(rollout_values.source(actor).progress(rollout)):
        echo(f"! {rehearsal}", err=True)
        if asks(yes=yes):
            click.confirm(f"Start rollout {rollout} all the same?", abort=True, err=as_json)
    _go(actor, fleet.start_rollout(actor, rollout), watch, as_json)


@rollouts.command()
@the_rollout
@and_yes
@and_watch
@as_json
def cancel(rollout: int, yes: bool, watch: bool, as_json: bool) -> None:
    """Cancel a rollout. Finished runs stay as they are.

    On a terminal, asks first.
    """
    actor = command_line()
    if asks(yes=yes):
        seen = progress.progress(actor, rollout)
        left = counted(sum(wave.pending for wave in seen.waves), "waiting database")
        asked = f"{left} will not be migrated; {seen.done:,} done stay as they are."
        click.confirm(f"Cancel rollout {rollout}? {asked}", abort=True, err=as_json)
    _go(actor, fleet.cancel_rollout(actor, rollout), watch, as_json)


@rollouts.command()
@the_rollout
@click.option("--dry-run", is_flag=True, help="Only show where databases would go, and what goes.")
@and_yes
@and_watch
@as_json
def undo(rollout: int, dry_run: bool, yes: bool, watch: bool, as_json: bool) -> None:
    """Return every database to its earlier revision.

    What the newer revisions added is dropped, with its data. On a terminal, shows it and asks.
    """
    actor = command_line()
    foreseen = fleet.preview_undo(actor, rollout)
    if dry_run:
        _show_preview(foreseen, as_json)
        return
    if foreseen.total and asks(yes=yes):
        _show_preview(foreseen)
        back = counted(foreseen.total, "database")
        click.confirm(f"Undo rollout {rollout}? {back} will go back.", abort=True, err=as_json)
    _go(actor, fleet.undo_rollout(actor, rollout), watch, as_json)


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
    source = rollout_values.source(command_line())
    raise SystemExit(watching.watch(source, rollout, until, as_json=as_json))


def row(rollout: Rollout) -> dict[str, Any]:
    """A rollout as JSON values, as the API shows it. Waves are counted from 1."""
    shown = {name: getattr(rollout, name) for name in COLUMNS}
    return shown | {"wave": rollout.wave + 1 if rollout.sizes else 0}


def print_started(rollout: Rollout, *, as_json: bool) -> None:
    """Print the rollout that was started."""
    if as_json:
        print_json(row(rollout))
    else:
        done = f"Started rollout {rollout.id}."
        if rollout.stage == Stage.WAITING:
            done = f"Rollout {rollout.id} waits. {rollout.reason}"
        echo(f"{done} `flask rollouts watch {rollout.id}` waits for it.")


def _go(actor: Actor, rollout: Rollout, watch: bool, as_json: bool) -> None:
    """Show the stage of a rollout, or watch it."""
    if watch:
        source = rollout_values.source(actor)
        raise SystemExit(watching.watch(source, rollout.id, as_json=as_json))
    if as_json:
        print_json(row(rollout))
        return
    reason = f" {rollout.reason}" if rollout.reason else ""
    echo(f"Rollout {rollout.id} is {rollout.stage}.{reason}")


def _show_preview(found: fleet.Preview, as_json: bool = False, *, sql: bool = False) -> None:
    previews.show_preview(rollout_values.preview_of(found), as_json, sql=sql)


def _show(rollout: Rollout, as_json: bool) -> None:
    print_row(row(rollout), as_json=as_json)
