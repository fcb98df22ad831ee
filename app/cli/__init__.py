"""The `flask` commands: parse, one call, show."""

from flask import Flask

from app.cli.groups import Group, is_management_command, refusals

__all__ = ["init_app", "is_management_command", "refusals"]


def init_app(app: Flask) -> None:
    """Add our command groups to `flask`."""
    from app.cli.catalog import catalog

    app.cli.add_command(catalog)
    app.cli.add_command(Group.around(app.cli.commands["db"]), "db")  # type: ignore[arg-type]
