"""Commands that repair: the plan is printed first, then confirmed and carried out."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from headway.cli.output import echo
from headway.types import Verdict

if TYPE_CHECKING:
    from headway.execution.repair import RepairPlan


def repair_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a repair command: `--as`, `--yes`, `--dry-run`."""

    @click.option(
        "--as",
        "verdict",
        type=click.Choice([verdict.value for verdict in Verdict]),
        help="The state of a torn or inserted revision that you have fixed by hand.",
    )
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @click.option("--dry-run", is_flag=True, help="Show the repair without doing it.")
    @wraps(command)
    def with_verdict(*args: Any, verdict: str | None, **kwargs: Any) -> Any:
        return command(*args, verdict=Verdict(verdict) if verdict else None, **kwargs)

    return with_verdict


def confirm(
    plan: "RepairPlan", repair: "Callable[[RepairPlan], object]", *, yes: bool, dry_run: bool
) -> None:
    """Print a repair plan, ask for confirmation, and carry it out with `do`."""
    if plan.is_empty:
        echo("There is nothing to repair.")
        return
    for line in plan.lines():
        echo(line)
    if dry_run:
        return
    if not yes:
        click.confirm("Do this?", abort=True)
    repair(plan)
    echo("Repaired.")
