"""The `flask` commands: parse, one call, show."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import Flask
from flask.cli import FlaskGroup

from app.cli.output import Refusal
from app.errors import HeadwayError


def init_app(app: Flask) -> None:
    """Add our command groups to `flask`."""


def is_management_command() -> bool:
    """True while `flask <command>` loads the app, for every command but `run`."""
    context = click.get_current_context(silent=True)
    if context is None or not isinstance(context.find_root().command, FlaskGroup):
        return False
    return context.info_name != "run"


@contextmanager
def refusals() -> Iterator[None]:
    """Under `flask`, show an error of ours as one message with its exit code, not a traceback."""
    try:
        yield
    except HeadwayError as error:
        context = click.get_current_context(silent=True)
        if context is None:
            raise
        raise Refusal(error) from error
