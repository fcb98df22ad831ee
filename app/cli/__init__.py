"""The `flask` commands: parse, one call, show."""

import click
from flask import Flask
from flask.cli import FlaskGroup

from app.cli.groups import AlembicGroup, DeferredGroup

GROUPS = {
    "accounts": "Manage accounts: people and programs that sign in.",
    "catalog": "Show and repair the catalog, Headway's own database.",
    "databases": "Manage the databases of the fleet.",
    "drifts": "Show how databases differ from their revisions.",
    "projects": "Manage projects: Alembic script directories.",
    "revisions": "Show the revisions of all releases of a project.",
    "rollouts": "Migrate many databases to one target, in waves.",
    "runs": "Show runs, and start one on a database.",
    "tokens": "Manage the tokens of accounts.",
    "webhooks": "Manage webhooks: addresses that receive events.",
    "workers": "Run and list workers: the processes that migrate databases.",
}
"""Our command groups, each in a module of its name, and what help says of them."""
SEPARATE = {"databases": {"status": "app.cli.databases_status"}}
"""Commands of them that are modules of their own."""


def init_app(app: Flask) -> None:
    """Add our command groups to `flask`. Each is imported when it is used."""
    for name, line in GROUPS.items():
        group = DeferredGroup(name, f"app.cli.{name}", line, SEPARATE.get(name))
        app.cli.add_command(group)
        _let_flask_guess(group)
    app.cli.add_command(AlembicGroup("db", "flask_alembic.cli", "Perform database migrations."))


def invite(app: Flask) -> None:
    """Print a one-time token to standard error if no admin can sign in."""
    from app.cli.invitation import invite

    invite(app)


def _let_flask_guess(group: click.Group) -> None:
    """`flask` guesses what was meant among the commands that are its own: make this one of them."""
    context = click.get_current_context(silent=True)
    root = context.find_root().command if context else None
    if isinstance(root, FlaskGroup) and group.name:
        root.commands.setdefault(group.name, group)
