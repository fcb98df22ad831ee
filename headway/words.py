"""How a program's messages name a database, and the commands and settings for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headway.errors import HeadwayError, command


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of a program for one database. By default it is named by its URL."""

    subject: str = ""
    """What it is called inside a sentence: "the catalog"."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """Commands that are called otherwise than here, as a person types them: "repair" may be
    "flask catalog repair". Known: adopt, merge, repair, stamp, status, upgrade, downgrade."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What a person sets for a parameter of `bring_to_head`: "wait" may be "BOOT_WAIT_SECONDS".
    Known: url, wait, migrate, on_newer; x, for where an -x argument is given, and schema, for what
    stands there for the schema that the URL names."""
    errors: Mapping[type[HeadwayError], type[HeadwayError]] = field(default_factory=dict)
    """The program's own classes of errors."""

    def name(self, address: object) -> str:
        """The database, at the beginning of a sentence."""
        return self.subject[:1].upper() + self.subject[1:] if self.subject else str(address)

    def command(self, name: str) -> str:
        """A command as a person types it."""
        return self.commands.get(name) or command(name)

    def setting(self, name: str, otherwise: str = "") -> str:
        """What a person sets for a parameter."""
        return self.settings.get(name, otherwise)

    def kind(self, error: type[HeadwayError]) -> type[HeadwayError]:
        """The class of an error: the program's own where it has one."""
        return self.errors.get(error, error)

    def error(self, kind: type[HeadwayError], message: str, **context: Any) -> HeadwayError:
        """An error, of the program's own class where it has one."""
        return self.kind(kind)(message, **context)


PLAIN = Words()
"""Those of Headway's own command line."""
