"""Groups of commands that are imported when they are used, and whose errors are one sentence."""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from headway.cli.output import Refusal
from headway.error_text import plain
from headway.errors import DatabaseRefused, HeadwayError, command, name_commands

PASSED_ON = (click.exceptions.Exit, click.Abort, KeyboardInterrupt, GeneratorExit)
"""How a command ends that did not fail."""

DEBUG = "headway.debug"
"""In `ctx.meta`: errors are shown with their traceback."""


class ErrorGroup(click.Group):
    """A group of commands that prints any error as one sentence and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.parent:  # part of another program's commands: `flask migrate`
            name_commands(ctx.command_path)
        try:
            return super().invoke(ctx)
        except (click.ClickException, *PASSED_ON):
            raise
        except BaseException as error:
            if ctx.meta.get(DEBUG):
                raise
            raise _refusal(error) from error


class LazyGroup(ErrorGroup):
    """An ErrorGroup whose commands are imported when they are called.

    `verbs` has for each command its module, and the line that help shows for it. The command is
    the module's attribute of that name. `other_names` are further names of commands, not shown.
    """

    def __init__(
        self,
        *args: Any,
        verbs: Mapping[str, tuple[str, str]],
        other_names: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.verbs = verbs
        self.other_names = other_names
        # For help, completion and "did you mean"; what is called is imported.
        self.commands = {
            name: click.Command(name, help=line, short_help=line)
            for name, (_, line) in verbs.items()
        }

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(
            ctx, [self.other_names.get(args[0], args[0]), *args[1:]]
        )
        if found is not None and name is not None:
            found = getattr(import_module(self.verbs[name][0]), name.replace("-", "_"))
        return name, found, rest


def enter_app(scripts: str) -> None:
    """Within `flask`, work inside its app if env.py asks for one, as Flask-Migrate's does."""
    ctx = click.get_current_context()
    load_app = getattr(ctx.obj, "load_app", None)  # of `flask`; `headway` has none
    env = Path(scripts) / "env.py"
    if load_app and env.is_file() and "current_app" in env.read_text(encoding="utf-8"):
        ctx.with_resource(load_app().app_context())


def _refusal(error: BaseException) -> click.ClickException:
    if isinstance(error, HeadwayError):
        return Refusal(error)
    from alembic.util import CommandError  # noqa: PLC0415  # only what failed needs it

    if isinstance(error, CommandError):  # Alembic's: "Can't locate revision …"
        return click.ClickException(plain(error))
    if _is_debugged():
        raise error
    return Refusal(_unexpected_error(error))


def _unexpected_error(error: BaseException) -> HeadwayError:
    """The message for an error that has none of its own: a driver's, env.py's, or a defect."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # the same

    if isinstance(error, SQLAlchemyError):
        return DatabaseRefused(
            f"The database, or its driver, refuses a statement: {plain(error)}. Nothing more was "
            f"done. `{command('status')}` shows where the database stands."
        )
    what = f"{type(error).__name__}: {plain(error)}"
    return HeadwayError(
        f"An unexpected error occurred ({what}). Nothing more was done. "
        f"`{command('status')}` shows where the database stands; with FLASK_DEBUG=1 the same "
        "command shows where it broke."
    )


def _is_debugged() -> bool:
    """True if tracebacks are wanted: `flask --debug` sets FLASK_DEBUG."""
    return os.environ.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no")
