"""Commands that show what would run, and how a schema differs. They change nothing."""

from dataclasses import asdict

import click

from headway.cli.options import TargetCommand, on_database, span_of, target_argument
from headway.cli.output import as_json, echo, print_json
from headway.database import Database
from headway.exit_codes import Exit
from headway.plan.plans import Plan, direction_of
from headway.plan.sql import render


@click.command(cls=TargetCommand)
@on_database
@target_argument(default="heads")
@as_json
@click.option("--rehearse", is_flag=True, help="Run it on a copy, and show what it did.")
@click.option("--no-replay", is_flag=True, help="The plan of an upgrade with --no-replay.")
def plan(database: Database, target: str, as_json: bool, rehearse: bool) -> None:
    """Show the steps to a target and their SQL. `a:b` needs no database, only its kind."""
    if ":" in target:
        start, _, end = target.partition(":")
        begins = () if start in ("", "base") else (start,)
        way = direction_of(database.project, end or "heads", begins)
        click.echo(render(span_of(database, way, target)), nl=False)
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


@click.command(cls=TargetCommand)
@on_database
@target_argument(default="heads")
@as_json
def rehearse(database: Database, target: str, as_json: bool) -> None:
    """Run the steps to a target on a copy, and show what they did. Exit with 1 if they fail."""
    _show_rehearsal(database, database.plan(target), as_json=as_json)


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


@click.command()
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
