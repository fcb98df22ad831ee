"""How our commands fail: one message, one exit code, no traceback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from alembic.util import CommandError
from flask.cli import AppGroup, FlaskGroup
from flask.helpers import get_debug_flag
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from app.cli.output import Refusal
from app.errors import DatabaseRefused, DatabaseUnreachable, HeadwayError
from app.migrator.plain import plain

PASSED_ON = (click.exceptions.Exit, click.Abort, KeyboardInterrupt, GeneratorExit)
"""How a command ends that did not fail."""


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


class Group(AppGroup):
    """A group of commands that run in an app context and fail in one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadwayError as error:
            raise Refusal(error) from error
        except CommandError as error:  # Alembic's: "Can't locate revision …"
            raise click.ClickException(str(error)) from error
        except (OperationalError, InterfaceError) as error:
            said = " ".join(str(error.orig).split())
            raise Refusal(
                DatabaseUnreachable(f"The catalog does not answer: {said}. Try again in a moment.")
            ) from error

    @classmethod
    def around(cls, group: click.Group) -> "Group":
        """The same commands as another group's, failing our way."""
        return cls(
            group.name,
            commands=group.commands,
            callback=group.callback,
            params=group.params,
            help=group.help,
        )


class Standalone(Group):
    """A group whose commands need no app: no catalog, no settings."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return click.Group.invoke(self, ctx)
        except (click.ClickException, *PASSED_ON):
            raise
        except HeadwayError as error:
            raise Refusal(error) from error
        except CommandError as error:  # Alembic's: "Can't locate revision …"
            raise click.ClickException(plain(error)) from error
        except BaseException as error:
            if get_debug_flag():
                raise
            raise Refusal(_unforeseen(error)) from error

    def command(  # type: ignore[override]
        self, *args: Any, **kwargs: Any
    ) -> Callable[[Callable[..., Any]], click.Command]:
        return super().command(*args, **{"with_appcontext": False, **kwargs})


def _unforeseen(error: BaseException) -> HeadwayError:
    """The sentence for what nothing below has words for: a driver, an env.py, or we are wrong."""
    if isinstance(error, SQLAlchemyError):
        return DatabaseRefused(
            f"The database, or its driver, refuses what it was sent: {plain(error)}. Nothing more "
            "was done. `flask migrate status` shows where the database stands."
        )
    what = f"{type(error).__name__}: {plain(error)}"
    return HeadwayError(
        f"It ended in an error that nobody foresaw ({what}). Nothing more was done. `flask migrate "
        "status` shows where the database stands; `flask --debug migrate …` shows where it broke."
    )


def is_management_command() -> bool:
    """True while `flask <command>` loads the app, for every command but `run`."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.info_name != "run"


def is_looked_for() -> bool:
    """True while `flask` loads the app to find a command that is not Flask's own."""
    context = click.get_current_context(silent=True)
    return _under_flask() and context is not None and context.parent is None


def _under_flask() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.find_root().command, FlaskGroup)
