"""How a project's env.py sets up the connections to its databases."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine

from headway.connections.address import Address
from headway.dialects import driver
from headway.dialects.driver import Raw
from headway.isolation.connecting import Settings
from headway.isolation.isolated import isolated
from headway.scripts.environment import raise_failed
from headway.scripts.project import ScriptProject


@dataclass(frozen=True)
class ConnectionSetup:
    """Sets up connections as a project's env.py does."""

    project: ScriptProject
    x: Mapping[str, str]

    def settings_at(self, address: Address) -> Settings:
        """Connection settings beyond the URL."""
        return self.project.environment_of(address, self.x).settings

    def prepare(self, raw: Raw, address: Address) -> Mapping[Any, Any]:
        """Call the listeners of env.py's engine for a connection that we opened.

        Returns what they stored on the connection's record.
        """
        settings = self.settings_at(address)
        with isolated(self.project.modules):
            try:
                return settings.apply(raw, address.url)
            except driver.dialect_for(address.url.drivername).loaded_dbapi.Error:
                raise  # the database's own words, for who opens it
            except Exception as error:  # noqa: BLE001  # a listener is the project's code
                raise_failed(error, address.url)


def addressed(
    project: ScriptProject,
    database: str | URL | Path | Engine | Connection,
    x: Mapping[str, str],
) -> tuple[ScriptProject, Address]:
    """The project for this kind of database, and its address, set up as env.py does."""
    address = Address.of(database)
    project = project.for_kind(address.url, x)
    return project, address.set_up_by(ConnectionSetup(project, x))
