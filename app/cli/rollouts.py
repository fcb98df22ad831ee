"""`flask rollouts`."""

import json
from collections.abc import Callable
from typing import Any

import click

from app.cli import rollout_progress
from app.cli.actor import command_line
from app.cli.groups import Group
from app.cli.rollout_options import asked_for, asking
from app.fleet import projects
from app.fleet import rollouts as fleet
from app.fleet.core.permissions import Actor
from app.models import Rollout, Stage
from headway.cli.output import Number, as_json, counted, paged, print_json, print_table, text

COLUMNS = (
    *("id", "project_id", "title", "kind", "target", "selector", "waves", "sizes", "gate"),
    *("window", "concurrency", "per_server", "timeout_seconds", "snapshot", "retreat", "stage"),
    *("reason", "wave", "by_id", "by_name", "created_at", "started_at", "finished_at"),
)
SHORT = ("id", "title", "kind", "target", "stage", "wave", "databases", "by")

rollouts = Group("rollouts", help="One target for many databases, in waves.")

the_rollout = click.argument("rollout", type=Number(1))
and_watch = click.option("--watch", is_flag=True, help="Show how far it is until it ends.")


@rollouts.command()
@asking
@click.option("--dry-run", is_flag=True, help="Show what it would do; nothing is made.")
@click.option("--start", is_flag=True, help="Start it at once.")
@click.option("--watch", is_flag=True, help="Start it, and show how far it is until it ends.")
@as_json
def create(dry_run: bool, start: bool, watch: bool, as_json: bool, **options: Any) -> None:
    """Create a rollout. Nothing is started, unless --start or --watch."""
    actor = command_line()
    values = asked_for(actor, options)
    if dry_run:
        _show_preview(fleet.preview(actor, values), as_json, sql=False)
        return
    rollout, _ = fleet.create_rollout(actor, values)
    if not start and not watch:
        _show(rollout, as_json)
        if not as_json:
            click.echo(
                f"Not started. `flask rollouts preview {rollout.id}` shows what it would do, "
                f"`flask rollouts start {rollout.id}` starts it.",
                err=True,
            )
        return
    _go(actor, fleet.start_rollout(actor, rollout.id), watch, as_json)


@rollouts.command("list")
@click.option("--project", help="By name or id.")
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
        click.echo(f"More: --after {following}", err=True)


@rollouts.command()
@the_rollout
@as_json
def show(rollout: int, as_json: bool) -> None:
    """Show a rollout: what was asked for, and where it is."""
    _show(fleet.get_rollout(command_line(), rollout), as_json)


@rollouts.command()
@the_rollout
@click.option("--sql", is_flag=True, help="The SQL of each plan, too.")
@as_json
def preview(rollout: int, sql: bool, as_json: bool) -> None:
    """Show what a rollout would do: who, from where to where, in which waves."""
    _show_preview(fleet.preview(command_line(), rollout), as_json, sql=sql)


@rollouts.command()
@the_rollout
@click.option("--sample", type=click.IntRange(1), help="So many of each plan; else every database.")
@and_watch
@as_json
def rehearse(rollout: int, sample: int | None, watch: bool, as_json: bool) -> None:
    """Try a rollout on copies, before it starts. Exits with 1 if one would fail, with --watch."""
    actor = command_line()
    _go(actor, fleet.rehearse_rollout(actor, rollout, sample=sample), watch, as_json)


@rollouts.command()
@the_rollout
@click.option("--skip-failed", is_flag=True, help="Go on without those that failed.")
@and_watch
@as_json
def resume(rollout: int, skip_failed: bool, watch: bool, as_json: bool) -> None:
    """Go on with a rollout that halted or was paused; those that failed are tried again."""
    actor = command_line()
    _go(actor, fleet.resume_rollout(actor, rollout, skip_failed=skip_failed), watch, as_json)


def _step(verb: str, words: str, use_case: Callable[[Actor, int], Rollout]) -> None:
    """A command that takes nothing but the rollout."""

    @rollouts.command(verb, help=words)
    @the_rollout
    @and_watch
    @as_json
    def step(rollout: int, watch: bool, as_json: bool) -> None:
        actor = command_line()
        _go(actor, use_case(actor, rollout), watch, as_json)


_step("start", "Start a rollout: its first wave opens.", fleet.start_rollout)
_step("pause", "Begin nothing more; what runs goes on to its end.", fleet.pause_rollout)
_step("cancel", "End a rollout; what is done stays done.", fleet.cancel_rollout)
_step("retry", "Try those again that failed.", fleet.retry_rollout)
_step("undo", "Take every database back to where it came from.", fleet.undo_rollout)
_step("approve", "Refused here: an approval is an account's, by the API.", fleet.approve_rollout)


@rollouts.command()
@the_rollout
@as_json
def watch(rollout: int, as_json: bool) -> None:
    """Show how far a rollout is, until nothing more happens by itself.

    Exits with 0 if it succeeded or was taken back, with 4 if some failed and were allowed to,
    with 1 if it halted, was paused or cancelled. Ctrl-C leaves it running.
    """
    raise SystemExit(rollout_progress.watch(command_line(), rollout, as_json=as_json))


def row(rollout: Rollout) -> dict[str, Any]:
    """A rollout for programs, as the API shows it. Waves are counted from 1."""
    shown = {name: getattr(rollout, name) for name in COLUMNS}
    return shown | {"wave": rollout.wave + 1 if rollout.sizes else 0}


def say_begun(rollout: Rollout, *, as_json: bool) -> None:
    """Say which rollout does what was asked for."""
    if as_json:
        print_json(row(rollout))
    else:
        click.echo(
            f"Begun: rollout {rollout.id}. `flask rollouts watch {rollout.id}` waits for it."
        )


def _go(actor: Actor, rollout: Rollout, watch: bool, as_json: bool) -> None:
    """Say where it is now, or watch."""
    if watch:
        raise SystemExit(rollout_progress.watch(actor, rollout.id, as_json=as_json))
    if as_json:
        print_json(row(rollout))
        return
    reason = f" {rollout.reason}" if rollout.reason else ""
    click.echo(f"Rollout {rollout.id} is {rollout.stage}.{reason}")


def _short(rollout: Rollout) -> list[str]:
    size = f"{sum(rollout.sizes):,}" if rollout.sizes else ""
    wave = f"{rollout.wave + 1} of {len(rollout.sizes)}" if rollout.sizes else ""
    said = (rollout.id, rollout.title or "", rollout.kind, rollout.target, rollout.stage)
    return [*(str(one) for one in said), wave, size, rollout.by_name]


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


def _show_preview(told: fleet.Preview, as_json: bool, *, sql: bool) -> None:
    if as_json:
        print_json(rollout_progress.plain(told))
        return
    print_table(("databases", "dialect", "current", "ends", "steps"), map(_group, told.groups))
    for group in told.groups:
        if group.why:
            where = f"{group.dialect or 'unknown'} at {group.current or 'nothing'}"
            click.echo(f"{where}: {group.why}")
    for step in dict.fromkeys(step for group in told.groups for step in group.steps):
        for risk in step.risks:
            click.echo(f"! {step.revision} {risk}")
    for skipped in told.skipped:
        click.echo(f"Left out: {skipped.databases:,}, {skipped.why}")
    waves = ", ".join(f"{size:,}" for size in told.waves)
    how = "in one wave" if len(told.waves) == 1 else f"in waves of {waves}"
    click.echo(f"{counted(told.total, 'database')}, {how}" if waves else "No database.")
    if sql:
        for group in told.groups:
            click.echo(f"\n-- {group.dialect} at {group.current or 'nothing'}: {group.databases:,}")
            click.echo(group.sql or f"-- no SQL: {group.why or 'nothing is sent'}")


def _group(group: fleet.Group) -> tuple[str, ...]:
    steps = " ".join(step.revision for step in group.steps)
    return (
        *(f"{group.databases:,}", group.dialect or "?", group.current or "nothing"),
        *(group.ends or ("nothing" if group.ends == "" else ""), steps),
    )
