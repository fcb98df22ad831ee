"""Who runs a command: whoever may, on this machine, read the catalog's URL."""

import getpass

from app import boot
from app.fleet.core.permissions import Actor
from app.models import Role


def command_line() -> Actor:
    """The person at the keyboard. Raises CatalogBehind where the catalog is not at head."""
    boot.require_head()
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's number without a name
        user = "unknown"
    return Actor(id=None, name=f"cli:{user}", role=Role.ADMIN)
