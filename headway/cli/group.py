"""A click group for commands that need no Flask app: errors become one message and an exit code."""

import os
from typing import Any

import click
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from headway.cli.output import Refusal
from headway.error_text import plain
from headway.errors import DatabaseRefused, HeadwayError, command, name_commands

PASSED_ON = (click.exceptions.Exit, click.Abort, KeyboardInterrupt, GeneratorExit)
"""How a command ends that did not fail."""


class ErrorGroup(click.Group):
    """A group of commands that prints any error as one sentence and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.parent:  # part of another program's commands: `flask migrate`
            name_commands(ctx.command_path)
        try:
            return super().invoke(ctx)
        except (click.ClickException, *PASSED_ON):
            raise
        except HeadwayError as error:
            raise Refusal(error) from error
        except CommandError as error:  # Alembic's: "Can't locate revision …"
            raise click.ClickException(plain(error)) from error
        except BaseException as error:
            if _is_debugged():
                raise
            raise Refusal(_unexpected_error(error)) from error


def _unexpected_error(error: BaseException) -> HeadwayError:
    """The message for an error that has none of its own: a driver's, env.py's, or a defect."""
    if isinstance(error, SQLAlchemyError):
        return DatabaseRefused(
            f"The database, or its driver, refuses what it was sent: {plain(error)}. Nothing more "
            f"was done. `{command('status')}` shows where the database stands."
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
