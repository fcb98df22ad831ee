"""The base of our command groups: errors are shown as one message with an exit code."""

from functools import cached_property
from importlib import import_module

import click

from headway.flask.groups import CommandGroup


class CatalogGroup(CommandGroup):
    """A group of commands that work on the catalog."""

    subject = "The catalog"


class DeferredGroup(CatalogGroup):
    """A group that is imported when one of its commands is looked up.

    `module` has it under this name, and `line` is its help.
    """

    def __init__(self, name: str, module: str, line: str) -> None:
        super().__init__(name, help=line)
        self.module = module

    @cached_property
    def group(self) -> click.Group:
        """The group itself."""
        found: click.Group = getattr(import_module(self.module), str(self.name))
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self.group.list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        self.commands = self.group.commands  # which click guesses among
        return self.group.get_command(ctx, name)
