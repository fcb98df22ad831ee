"""The `flask` commands: parse, one call, show."""

import click
from flask import Flask
from flask.cli import FlaskGroup

from app.cli.groups import CommandGroup, is_command_lookup, is_management_command, refusals
from app.cli.invitation import invite

__all__ = ["init_app", "invite", "is_command_lookup", "is_management_command", "refusals"]


def init_app(app: Flask) -> None:
    """Add our command groups to `flask`."""
    from app.cli.accounts import accounts
    from app.cli.catalog import catalog
    from app.cli.databases import databases
    from app.cli.drifts import drifts
    from app.cli.projects import projects
    from app.cli.revisions import revisions
    from app.cli.rollouts import rollouts
    from app.cli.runs import runs
    from app.cli.tokens import tokens
    from app.cli.webhooks import webhooks
    from app.cli.workers import workers

    for group in (
        *(accounts, catalog, databases, drifts),
        *(projects, revisions, rollouts, runs),
        *(tokens, webhooks, workers),
    ):
        app.cli.add_command(group)
        _let_flask_guess(group)
    app.cli.add_command(CommandGroup.around(app.cli.commands["db"]), "db")  # type: ignore[arg-type]


def _let_flask_guess(group: click.Group) -> None:
    """`flask` guesses what was meant among the commands that are its own: make this one of them."""
    context = click.get_current_context(silent=True)
    root = context.find_root().command if context else None
    if isinstance(root, FlaskGroup) and group.name:
        root.commands.setdefault(group.name, group)
