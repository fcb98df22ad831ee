"""Names of projects, databases and rollouts as arguments, which a shell completes."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from headway.cli.fleet.fleets import FLEET
from headway.cli.output import Number

MOST = 50
"""How many names a shell is given."""


def _items(ctx: click.Context, kind: str, incomplete: str) -> list[CompletionItem]:
    """The names that begin like this; none where the fleet does not answer."""
    try:
        found = ctx.meta[FLEET]().names(kind, incomplete, MOST)
    except Exception:  # noqa: BLE001  # a key pressed in a shell shows no error
        return []
    return [CompletionItem(name, help=note) for name, note in found if name.startswith(incomplete)]


class Name(click.types.StringParamType):
    """The name or id of a project or a database."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        return _items(ctx, self.kind, incomplete)


class RolloutNumber(Number):
    """The number of a rollout."""

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        return _items(ctx, "rollout", incomplete)


PROJECT, DATABASE, ROLLOUT = Name("project"), Name("database"), RolloutNumber(1)


def project_option(**more: Any) -> Callable[[Any], Any]:
    """The option `--project`."""
    return click.option("--project", type=PROJECT, **{"help": "A name or id.", **more})
