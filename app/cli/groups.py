"""The base of our command groups: errors are shown as one message with an exit code."""

from headway.flask.groups import CommandGroup as AnyCommandGroup
from headway.flask.groups import is_command_lookup, is_management_command, refusals

__all__ = ["CommandGroup", "is_command_lookup", "is_management_command", "refusals"]


class CommandGroup(AnyCommandGroup):
    """A group of commands that work on the catalog."""

    subject = "The catalog"
