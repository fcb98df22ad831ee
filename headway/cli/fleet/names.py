"""Names of projects, databases and rollouts as arguments, which a shell completes."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from headway.cli.fleet.fleets import FLEET, Fleet
from headway.cli.fleet.sections import stage_word
from headway.cli.output import Number

MOST = 50
"""How many names a shell is given."""


def _found(fleet: Fleet, kind: str, start: str) -> list[tuple[str, str]]:
    """Names with a note each; of rollouts their numbers."""
    if kind != "rollout":
        return fleet.names(kind, start, MOST)
    rows, _ = fleet.rollouts(project_id=None, stages=(), limit=MOST, after=None)
    return [
        (str(one["id"]), f"{one['title'] or one['kind']}, {stage_word(one['stage'])}")
        for one in rows
    ]


class Completed:
    """What a shell completes with the names of a fleet; mixed into the type of the value."""

    kind: str

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The names that begin like this; none where the fleet does not answer."""
        try:
            found = _found(ctx.meta[FLEET](), self.kind, incomplete)
        except Exception:  # noqa: BLE001  # a key pressed in a shell shows no error
            return []
        return [
            CompletionItem(name, help=note) for name, note in found if name.startswith(incomplete)
        ]


class Name(Completed, click.types.StringParamType):
    """The name or id of a project or a database."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class RolloutNumber(Completed, Number):
    """The number of a rollout."""

    kind = "rollout"


PROJECT, DATABASE, ROLLOUT = Name("project"), Name("database"), RolloutNumber(1)


def project_option(**more: Any) -> Callable[[Any], Any]:
    """The option `--project`."""
    return click.option("--project", type=PROJECT, **{"help": "A name or id.", **more})
