"""How a project's env.py sets up the connections to its databases."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headway.connections.address import Address
from headway.dialects import driver
from headway.dialects.driver import Raw
from headway.isolation.connecting import Settings
from headway.isolation.isolated import alone
from headway.scripts.environment import raise_failed
from headway.scripts.project import ScriptProject


@dataclass(frozen=True)
class ConnectionSetup:
    """What a project says of the connections to its databases."""

    project: ScriptProject
    x: Mapping[str, str]

    def settings_at(self, address: Address) -> Settings:
        """What they have beside the URL."""
        return self.project.environment_of(address, self.x).settings

    def prepare(self, raw: Raw, address: Address) -> Mapping[Any, Any]:
        """Let the listeners of its engine set up a connection that we opened; what they noted."""
        settings = self.settings_at(address)
        with alone(self.project.modules):
            try:
                return settings.apply(raw, address.url)
            except driver.dialect_for(address.url.drivername).loaded_dbapi.Error:
                raise  # the database's own words, for who opens it
            except Exception as error:  # noqa: BLE001  # a listener is the project's code
                raise_failed(error, address.url)
