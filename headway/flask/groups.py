"""Groups of `flask` commands that show an error as one message, and what is a command at all."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup, FlaskGroup, ScriptInfo
from sqlalchemy.exc import InterfaceError, OperationalError

from headway.cli.output import Refusal
from headway.errors import DatabaseUnreachable, HeadwayError
from headway.isolation.running import in_project


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

    subject = "The database"
    """What does not answer, where the driver says so."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            if not current_app:
                ctx.with_resource(ctx.ensure_object(ScriptInfo).load_app().app_context())
            return super().invoke(ctx)
        except HeadwayError as error:
            raise Refusal(error) from error
        except _alembic_errors() as error:  # "Can't locate revision …"
            raise click.ClickException(str(error)) from error
        except (OperationalError, InterfaceError) as error:
            message = " ".join(str(error.orig).split())
            raise Refusal(
                DatabaseUnreachable(
                    f"{self.subject} does not answer: {message}. Try again in a moment."
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


def is_management_command() -> bool:
    """True while `flask <command>` loads the app, for every command except `run`.

    And while an env.py does, whoever runs it: `alembic current` migrates nothing.
    """
    context = click.get_current_context(silent=True)
    if _under_flask() and context is not None and context.info_name != "run":
        return True
    return in_project() or getattr(sys.modules.get("alembic.context"), "_proxy", None) is not None


def is_command_lookup() -> bool:
    """True while `flask` loads the app to look up a command that is not Flask's own."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.parent is None


def _alembic_errors() -> tuple[type[Exception], ...]:
    """Alembic's error, where Alembic was imported: what did not has none."""
    util = sys.modules.get("alembic.util")
    return (util.CommandError,) if util else ()


def _under_flask() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.find_root().command, FlaskGroup)
