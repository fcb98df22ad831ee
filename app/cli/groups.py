"""The base of our command groups: errors are shown as one message with an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

import click
from alembic.util import CommandError
from flask.cli import AppGroup, FlaskGroup
from sqlalchemy.exc import InterfaceError, OperationalError

from headway.cli.output import Refusal
from headway.errors import DatabaseUnreachable, HeadwayError


@contextmanager
def refusals() -> Iterator[None]:
    """Under `flask`, show a HeadwayError as its message, with the exit code of its kind.

    Elsewhere (gunicorn, a test) the error is raised unchanged.
    """
    try:
        yield
    except HeadwayError as error:
        if not _under_flask():
            raise
        raise Refusal(error) from error


class CommandGroup(AppGroup):
    """A group of commands that run in an app context and show an error as one message."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadwayError as error:
            raise Refusal(error) from error
        except CommandError as error:  # Alembic's: "Can't locate revision …"
            raise click.ClickException(str(error)) from error
        except (OperationalError, InterfaceError) as error:
            message = " ".join(str(error.orig).split())
            raise Refusal(
                DatabaseUnreachable(
                    f"The catalog does not answer: {message}. Try again in a moment."
                )
            ) from error

    @classmethod
    def around(cls, group: click.Group) -> "CommandGroup":
        """A group with the commands of another, and our way to show errors."""
        return cls(
            group.name,
            commands=group.commands,
            callback=group.callback,
            params=group.params,
            help=group.help,
        )


class DeferredGroup(CommandGroup):
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


def is_management_command() -> bool:
    """True while `flask <command>` loads the app, for every command except `run`."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.info_name != "run"


def is_command_lookup() -> bool:
    """True while `flask` loads the app to look up a command that is not Flask's own."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.parent is None


def _under_flask() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.find_root().command, FlaskGroup)
