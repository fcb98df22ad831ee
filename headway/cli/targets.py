"""Targets on the command line, written as Alembic's users write them: `-1`, `+2`, `ae10:head`."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from headway.cli.output import echo, print_json

if TYPE_CHECKING:
    from headway.database import Database
    from headway.plan.plans import Direction
    from headway.plan.sql import Span

RELATIVE = re.compile(r"-\d+")


class TargetCommand(click.Command):
    """A command whose target may be `-1`, which click would take for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A space before it makes it a value; `target_argument` takes it away.
        return super().parse_args(ctx, [f" {a}" if RELATIVE.fullmatch(a) else a for a in args])


def target_argument(name: str = "target", **options: Any) -> Callable[[Any], Any]:
    """Add the argument of a target, or with `nargs=-1` of several."""

    def stripped(_: click.Context, __: click.Parameter, value: Any) -> Any:
        return tuple(one.strip() for one in value) if isinstance(value, tuple) else value.strip()

    return click.argument(name, callback=stripped, **options)


def span_of(database: "Database", way: "Direction", *targets: str) -> "Span":
    """The migration of `start:end`, or from base. Several targets are for a stamp."""
    from headway.plan.sql import Span  # noqa: PLC0415  # not for `--help`

    starts = {start for start, colon, _ in (one.rpartition(":") for one in targets) if colon}
    if len(starts) > 1:
        raise click.UsageError(f"Several revisions to begin at: {', '.join(sorted(starts))}.")
    ends = tuple(one.rpartition(":")[2] or "heads" for one in targets)
    return Span(
        project=database.project,
        address=database.address,
        x=database.x,
        direction=way,
        start=tuple(starts - {"", "base"}),
        target=ends if len(ends) > 1 else ends[0],
    )


def show_current(
    database: "Database", current: tuple[str, ...], *, as_json: bool, how: str = "is at"
) -> None:
    """Print where a database is now."""
    if as_json:
        print_json({"database": str(database.address), "current": current})
    else:
        echo(f"{database.address} {how} {', '.join(current) or 'base'}.")
