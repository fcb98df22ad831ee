"""The base of our command groups: errors are shown as one message with an exit code."""

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import Any

import click
from flask.cli import ScriptInfo

from headway.cli.fleet.fleets import FLEET
from headway.flask.groups import CommandGroup


class CatalogGroup(CommandGroup):
    """A group of commands that work on the catalog."""

    subject = "The catalog"


class DeferredGroup(CatalogGroup):
    """A group that is imported when one of its commands is looked up.

    `module` has it under this name, and `line` is its help. `separate` has the modules of commands
    that need little of what the others import.
    """

    def __init__(
        self, name: str, module: str, line: str, separate: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, help=line)
        self.module = module
        self.separate = dict(separate or {})

    @cached_property
    def group(self) -> click.Group:
        """The group itself."""
        found: click.Group = getattr(import_module(self.module), str(self.name))
        for command in self.separate:
            found.add_command(self._separate_command(command))
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        _bind_boot(ctx)
        return self.group.list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        ctx.meta.setdefault(FLEET, lambda: _fleet_to_complete(ctx))
        if name in self.separate:
            return self._separate_command(name)
        _bind_boot(ctx)
        self.callback, self.commands = self.group.callback, self.group.commands
        return self.group.get_command(ctx, name)

    def _separate_command(self, name: str) -> click.Command:
        found: click.Command = getattr(import_module(self.separate[name]), name)
        return found


class AlembicGroup(DeferredGroup):
    """Flask-Alembic's own commands, on the catalog."""

    @cached_property
    def group(self) -> click.Group:
        """The group itself."""
        found: click.Group = import_module(self.module).cli
        return found


def _fleet_to_complete(ctx: click.Context) -> Any:
    """The fleet of the catalog for a shell that completes a name, where no command is called."""
    info = ctx.find_object(ScriptInfo)
    if info is not None:
        ctx.with_resource(info.load_app().app_context())
    return import_module("app.cli.catalog_fleet").here()


def _bind_boot(ctx: click.Context) -> None:
    """Bind what migrates the catalog to the app of this command, if nothing has yet."""
    info = ctx.find_object(ScriptInfo)
    if info is not None:
        boot: Any = import_module("app.boot")
        boot.init_app(info.load_app())
