"""The `flask` commands: parse, one call, show."""

from flask import Flask

from app.cli.groups import Group, is_management_command, refusals
from app.cli.invitation import invite

__all__ = ["init_app", "invite", "is_management_command", "refusals"]


def init_app(app: Flask) -> None:
    """Add our command groups to `flask`."""
    from app.cli.accounts import accounts
    from app.cli.catalog import catalog
    from app.cli.tokens import tokens

    for group in (accounts, catalog, tokens):
        app.cli.add_command(group)
    app.cli.add_command(Group.around(app.cli.commands["db"]), "db")  # type: ignore[arg-type]
