"""The actor of commands: they have all rights, because their user can read the catalog's URL."""

import getpass

from app import catalog
from app.fleet.core.permissions import Actor
from app.models import Role


def command_line() -> Actor:
    """The user of the command line, as an admin. Raises CatalogBehind if the catalog is behind."""
    catalog.require_head()
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, in a container
        user = "unknown"
    return Actor(id=None, name=f"cli:{user}", role=Role.ADMIN)
