"""A project: an Alembic script directory, and all that can be done with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine

from headway.connections.address import Address
from headway.connections.session import Policy
from headway.database import Database
from headway.schema import autogenerate
from headway.scripts.connection_setup import ConnectionSetup
from headway.scripts.project import ScriptProject


class Project(ScriptProject):
    """An Alembic script directory with its env.py and options. `load` makes one.

    It holds no connection and travels between processes as its location.
    """

    def at(
        self,
        database: str | URL | Path | Engine | Connection,
        x: Mapping[str, str] | None = None,
        **policy: Any,
    ) -> Database:
        """One database of this project; opens nothing.

        `database` is a URL, a path to a SQLite file, or an engine or connection of yours. `x`
        are Alembic's -x arguments. `policy`: see Policy.
        """
        given = dict(x or {})
        address = Address.of(database)
        project = self.for_kind(address.url, given)
        address = address.set_up_by(ConnectionSetup(project, given))
        return Database(project, address, given, Policy(**policy))

    def revise(self, message: str, **options: Any) -> tuple[Path, ...]:
        """Write a revision that brings the schema to the models: see `autogenerate.revise`."""
        return autogenerate.revise(self, message, **options)

    def merge(self, message: str, revisions: str | Sequence[str] = "heads") -> Path:
        """Write a revision that joins heads; returns its file."""
        return autogenerate.merge(self, message, revisions)

    def validate(self) -> tuple[str, ...]:
        """Problems of the scripts, in sentences; () if there are none."""
        return autogenerate.validate(self)


class Extended(Project):
    """A project with additional revisions from another folder."""

    def __init__(self, location: str, ini: str | None, folder: str) -> None:
        super().__init__(location, ini)
        self.beside = folder
        self.version_folders += (Path(folder),)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.location, self.ini, self.beside))
