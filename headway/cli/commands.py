"""`headway …` and `flask migrate …`: commands for any database of any Alembic project."""

import importlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy import MetaData

from headway.cli.group import ErrorGroup
from headway.cli.options import on_any_database, on_database, run_options
from headway.cli.output import as_json, echo, print_json, print_table
from headway.cli.repair import confirm, repair_options
from headway.cli.scripts import history, merge, revise, validate
from headway.database import Database
from headway.execution.repair import Verdict
from headway.exit_codes import Exit
from headway.isolation.isolated import isolated
from headway.isolation.modules import Modules
from headway.plan.plans import Plan, direction_of
from headway.plan.sql import Span, render
from headway.types import Outcome, Position, Status


@click.group("migrate", cls=ErrorGroup)
@click.version_option(package_name="headway", prog_name="headway")
def migrate() -> None:
    """Any database, any Alembic script directory; no catalog is needed.

    A URL on the command line can be seen by everyone on the machine: give one that holds a
    password by HEADWAY_MIGRATE_URL or --url-file.
    """
    # The commands say themselves what happens.
    logging.getLogger("alembic").setLevel(logging.WARNING)


for command in (history, validate, revise, merge):
    migrate.add_command(command)


# --- status ---------------------------------------------------------------------------------


@migrate.command()
@on_database
@as_json
@click.option("--check", is_flag=True, help="Exit with 3 unless it is at head.")
def status(database: Database, as_json: bool, check: bool) -> None:
    """Show where a database stands and what to do next."""
    found = database.status()
    if as_json:
        print_json(asdict(found) | {"direction": found.direction, "next": found.next_step})
    else:
        _show_status(found)
    if check and found.position is not Position.AT_HEAD:
        raise click.exceptions.Exit(Exit.FOUND)


def _show_status(found: Status) -> None:
    rows = [
        ("position", found.position.value.replace("_", " ")),
        ("current", ", ".join(found.current) or "none"),
        ("head", ", ".join(found.heads) or "none"),
        ("pending", str(len(found.pending))),
    ]
    if found.milliseconds is not None:
        rows.append(("answered in", f"{found.milliseconds:.1f} ms"))
    print_table(("", ""), rows)
    for line in (found.reason, found.next_step):
        if line:
            echo(line)


@migrate.command()
@on_database
@click.argument("target", default="heads")
@as_json
@click.option("--rehearse", is_flag=True, help="Run it on a copy, and show what it did.")
@click.option("--no-replay", is_flag=True, help="The plan of an upgrade with --no-replay.")
def plan(database: Database, target: str, as_json: bool, rehearse: bool) -> None:
    """Show the steps to a target and their SQL. `a:b` needs no database, only its kind."""
    if ":" in target:
        click.echo(render(_span(database, target)), nl=False)
        return
    found = database.plan(target)
    if rehearse:
        _show_rehearsal(database, found, as_json=as_json)
    elif as_json:
        risks = [asdict(risk) for risk in database.risks(found)]
        print_json(asdict(found) | {"sql": _sql(database, found), "risks": risks})
    else:
        _show_plan(database, found)
        click.echo(_sql(database, found) or "", nl=False)


def _span(database: Database, target: str) -> Span:
    start, _, end = target.partition(":")
    begins = () if start in ("", "base") else (start,)
    way = direction_of(database.project, end or "heads", begins)
    return Span(
        project=database.project,
        address=database.address,
        x=database.x,
        direction=way,
        start=begins,
        target=end or "heads",
    )


def _sql(database: Database, plan: Plan) -> str:
    return database.preview(plan) if plan.steps else ""


def _show_plan(database: Database, plan: Plan) -> None:
    """The plan as comments above its SQL: the output is a script that can be kept."""
    echo(f"-- {plan.direction} of {plan.database}")
    echo(f"-- from {', '.join(plan.current) or 'base'} to {plan.target}")
    for number, step in enumerate(plan.steps, 1):
        echo(f"--   {number}. {step.revision}  {step.message}".rstrip())
    if not plan.steps:
        echo("-- nothing to do")
        return
    ways = {True: "replays", False: "runs Python", None: "runs Python, and is recorded"}
    echo(f"-- {ways[plan.replays]}: {plan.why}")
    echo(f"-- env.py is {plan.environment}")
    for risk in database.risks(plan):
        kind = "WILL FAIL" if risk.fails else risk.kind
        echo(f"-- ! {kind}: {f'{risk.revision} ' if risk.revision else ''}{risk.says}")


def _show_rehearsal(database: Database, plan: Plan, *, as_json: bool) -> None:
    found = database.rehearse(plan)
    if as_json:
        print_json(asdict(found))
    else:
        _show_plan(database, plan)
        for line in found.lines():
            echo(f"-- {line}")
        for statement in found.statements:
            echo(f"{statement};\n")
    if found.failed:
        raise click.exceptions.Exit(Exit.FAILED)


@migrate.command()
@on_database
@as_json
def check(database: Database, as_json: bool) -> None:
    """Compare a schema with its revisions and with the models. Exit with 3 on drift."""
    drift = database.check()
    if as_json:
        print_json(asdict(drift))
    else:
        for line in drift.differences:
            echo(f"differs from its revisions: {line}")
        for line in drift.models or ():
            echo(f"differs from the models: {line}")
        if drift.is_clean:
            echo("No drift.")
    if not drift.is_clean:
        raise click.exceptions.Exit(Exit.FOUND)


# --- move -----------------------------------------------------------------------------------


@migrate.command()
@on_database
@click.argument("target", default="heads")
@run_options
@as_json
def upgrade(database: Database, target: str, as_json: bool) -> None:
    """Upgrade a database to a target: all steps or, if the database allows it, none."""
    _show_outcome(database.upgrade(target, **_progress(as_json)), as_json=as_json)


@migrate.command()
@on_database
@click.argument("target")
@run_options
@as_json
def downgrade(database: Database, target: str, as_json: bool) -> None:
    """Downgrade a database to a target: -1 (after --), base, a revision."""
    _show_outcome(database.downgrade(target, **_progress(as_json)), as_json=as_json)


@migrate.command()
@on_database
@click.argument("target", default="heads")
@as_json
def stamp(database: Database, target: str, as_json: bool) -> None:
    """Record that a database is at a target, without running revisions."""
    _show_outcome(database.stamp(target), as_json=as_json)


@migrate.command()
@on_database
@click.argument("target", default="heads")
@as_json
def create(database: Database, target: str, as_json: bool) -> None:
    """Create a database at a target."""
    _show_current(database, database.create(target), as_json=as_json, how="is made, at")


@migrate.command()
@on_database
@as_json
def adopt(database: Database, as_json: bool) -> None:
    """Find the revision whose schema an unstamped database has, and stamp it."""
    match = database.adopt()
    _show_current(database, match.revisions, as_json=as_json)
    if match.says:
        echo(match.says, err=True)


def _show_current(
    database: Database, current: tuple[str, ...], *, as_json: bool, how: str = "is at"
) -> None:
    if as_json:
        print_json({"database": str(database.address), "current": current})
    else:
        echo(f"{database.address} {how} {', '.join(current) or 'base'}.")


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
        echo(f"As it was: {outcome.snapshot}")


# --- copies, models, repair -----------------------------------------------------------------


@migrate.command()
@on_any_database
@as_json
def snapshot(database: Database, as_json: bool) -> None:
    """Take a snapshot of a SQLite file: complete and checked."""
    where = database.snapshot()
    if as_json:
        kept = str(where) if where else None
        print_json({"database": str(database.address), "snapshot": kept})
        return
    echo(str(where) if where else f"{database.address} has no snapshots: use its server's.")


@migrate.command()
@on_any_database
@click.argument("copy", type=click.Path(dir_okay=False, path_type=Path))
@as_json
def restore(database: Database, copy: Path, as_json: bool) -> None:
    """Replace a SQLite file by a snapshot; the replaced file is kept beside it."""
    database.restore(copy)
    _show_current(database, database.status().current, as_json=as_json)


@migrate.command()
@on_database
@repair_options
def repair(database: Database, verdict: Verdict | None, yes: bool, dry_run: bool) -> None:
    """Undo the changes of a revision that began and never ended."""
    confirm(database.plan_repair(verdict), database.repair, yes=yes, dry_run=dry_run)


@migrate.command()
@on_any_database
@click.option("--models", required=True, metavar="MODULE:NAME", help="A MetaData, or a Base.")
@click.option("--drop", is_flag=True, help="Drop what the models do not have.")
@click.option("--dry-run", is_flag=True, help="Show the changes without making them.")
@as_json
def sync(database: Database, models: str, drop: bool, dry_run: bool, as_json: bool) -> None:
    """Bring a schema to its models without revision files."""
    done = database.sync(_metadata(models), drop=drop, dry_run=dry_run)
    if as_json:
        print_json(asdict(done))
        return
    for change in done.changes:
        echo(change.says)
    for change in done.left:
        echo(f"left, without --drop: {change.says}")
    if not done.changes and not done.left:
        echo("The schema matches the models.")


def _metadata(place: str) -> MetaData:
    module, _, name = place.partition(":")
    try:
        # From the folder where we are, as `python -m` would; their `app` is not ours.
        with isolated(Modules((str(Path.cwd()),))):
            found = getattr(importlib.import_module(module), name or "metadata")
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"--models {place}: {error}.") from error
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise click.UsageError(f"--models {place} is no MetaData and no declarative base.")
    return metadata
