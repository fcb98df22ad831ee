"""`flask rollouts`."""

import json
from collections.abc import Callable
from typing import Any

import click

from app.cli import rollout_progress
from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.cli.rollout_options import rollout_values, with_rollout_options
from app.fleet import projects
from app.fleet import rollouts as fleet
from app.fleet.core.permissions import Actor
from app.models import Rollout, Stage
from headway.cli.output import Number, as_json, counted, echo, paged, print_json, print_table, text

COLUMNS = (
    *("id", "project_id", "title", "kind", "target", "selector", "waves", "sizes", "gate"),
    *("window", "concurrency", "per_server", "timeout_seconds", "snapshot", "retreat", "stage"),
    *("reason", "wave", "by_id", "by_name", "created_at", "started_at", "finished_at"),
)
SHORT = ("id", "title", "kind", "target", "stage", "wave", "databases", "by")

rollouts = CatalogGroup("rollouts", help="Migrate many databases to one target, in waves.")

the_rollout = click.argument("rollout", type=Number(1))
and_watch = click.option("--watch", is_flag=True, help="Show the progress until it ends.")


@rollouts.command()
@with_rollout_options
@click.option("--dry-run", is_flag=True, help="Only show what it would do.")
@click.option("--start", is_flag=True, help="Start it now.")
@click.option("--watch", is_flag=True, help="Start it, and show the progress until it ends.")
@as_json
def create(dry_run: bool, start: bool, watch: bool, as_json: bool, **options: Any) -> None:
    """Create a rollout. It is not started without --start or --watch."""
    actor = command_line()
    values = rollout_values(actor, options)
    if dry_run:
        _show_preview(fleet.preview(actor, values), as_json, sql=False)
        return
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
    if as_json:
        print_json({"items": [row(rollout) for rollout in found], "next": following})
        return
    print_table(SHORT, [_short(rollout) for rollout in found])
    if following:
        echo(f"More: --after {following}", err=True)


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


_step("start", "Start a rollout: its first wave begins.", fleet.start_rollout)
_step("pause", "Pause a rollout. Active runs are finished.", fleet.pause_rollout)
_step("cancel", "Cancel a rollout. Finished runs stay as they are.", fleet.cancel_rollout)
_step("retry", "Try the failed databases of a rollout again.", fleet.retry_rollout)
_step("undo", "Return every database to its earlier revision.", fleet.undo_rollout)
_step(
    "approve",
    "Approve a rollout. Not available on the command line: approvals need an account.",
    fleet.approve_rollout,
)


@rollouts.command()
@the_rollout
@as_json
def watch(rollout: int, as_json: bool) -> None:
    """Show the progress of a rollout until nothing more happens.

    Exits with 0 if it succeeded or was undone, with 4 if it succeeded with allowed failures,
    with 1 if it halted, was paused or was cancelled. Ctrl-C ends only the watching.
    """
    raise SystemExit(rollout_progress.watch(command_line(), rollout, as_json=as_json))


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
        raise SystemExit(rollout_progress.watch(actor, rollout.id, as_json=as_json))
    if as_json:
        print_json(row(rollout))
        return
    reason = f" {rollout.reason}" if rollout.reason else ""
    echo(f"Rollout {rollout.id} is {rollout.stage}.{reason}")


def _short(rollout: Rollout) -> list[str]:
    size = f"{sum(rollout.sizes):,}" if rollout.sizes else ""
    wave = f"{rollout.wave + 1} of {len(rollout.sizes)}" if rollout.sizes else ""
    values = (rollout.id, rollout.title or "", rollout.kind, rollout.target, rollout.stage)
    return [*(str(one) for one in values), wave, size, rollout.by_name]


def _show(rollout: Rollout, as_json: bool) -> None:
    if as_json:
        print_json(row(rollout))
        return
    print_table(("", ""), [(name, _text(value)) for name, value in row(rollout).items()])


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    return json.dumps(value) if isinstance(value, dict | bool) else text(value)


# --- preview -------------------------------------------------------------------------------------


def _show_preview(found: fleet.Preview, as_json: bool, *, sql: bool) -> None:
    if as_json:
        print_json(rollout_progress.json_of(found))
        return
    print_table(("databases", "dialect", "current", "ends", "steps"), map(_group, found.groups))
    for group in found.groups:
        if group.why:
            where = f"{group.dialect or 'unknown'} at {group.current or 'nothing'}"
            echo(f"{where}: {group.why}")
    for step in dict.fromkeys(step for group in found.groups for step in group.steps):
        for risk in step.risks:
            echo(f"! {step.revision} {risk}")
    for skipped in found.skipped:
        echo(f"Left out: {skipped.databases:,}, {skipped.why}")
    waves = ", ".join(f"{size:,}" for size in found.waves)
    how = "in one wave" if len(found.waves) == 1 else f"in waves of {waves}"
    echo(f"{counted(found.total, 'database')}, {how}" if waves else "No database.")
    if sql:
        for group in found.groups:
            echo(f"\n-- {group.dialect} at {group.current or 'nothing'}: {group.databases:,}")
            echo(group.sql or f"-- no SQL: {group.why or 'nothing is sent'}")


def _group(group: fleet.PreviewGroup) -> tuple[str, ...]:
    steps = " ".join(step.revision for step in group.steps)
    return (
        *(f"{group.databases:,}", group.dialect or "?", group.current or "nothing"),
        *(group.ends or ("nothing" if group.ends == "" else ""), steps),
    )
