"""How our commands fail: one message, one exit code, no traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from alembic.util import CommandError
from flask.cli import AppGroup, FlaskGroup
from sqlalchemy.exc import InterfaceError, OperationalError

from headway.cli.output import Refusal
from headway.errors import DatabaseUnreachable, HeadwayError


@contextmanager
def refusals() -> Iterator[None]:
    """Under `flask`, show an error of ours as its sentence, with the exit code of its kind.

    Elsewhere (gunicorn, a test) it goes on as it is.
    """
    try:
        yield
    except HeadwayError as error:
        if not _under_flask():
            raise
        raise Refusal(error) from error


class CommandGroup(AppGroup):
    """A group of commands that run in an app context and fail in one sentence."""

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
        """The same commands as another group's, failing our way."""
        return cls(
            group.name,
            commands=group.commands,
            callback=group.callback,
            params=group.params,
            help=group.help,
        )


def is_management_command() -> bool:
    """True while `flask <command>` loads the app, for every command but `run`."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.info_name != "run"


def is_command_lookup() -> bool:
    """True while `flask` loads the app to find a command that is not Flask's own."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.parent is None


def _under_flask() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.find_root().command, FlaskGroup)
