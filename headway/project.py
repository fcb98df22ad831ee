"""A project: an Alembic script directory, and all that can be done with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine

from headway.connections.session import Policy
from headway.database import Database
from headway.scripts.connection_setup import addressed
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
        project, address = addressed(self, database, given)
        return Database(project, address, given, Policy(**policy))

    def revise(self, message: str | None, **options: Any) -> tuple[Path, ...]:
        """Write a revision that brings the schema to the models: see `autogenerate.revise`."""
        from headway.schema import autogenerate

        return autogenerate.revise(self, message, **options)

    def merge(
        self, message: str | None, revisions: str | Sequence[str] = "heads", **options: Any
    ) -> Path:
        """Write a revision that joins heads; its file. `options`: see `autogenerate.merge`."""
        from headway.schema import autogenerate

        return autogenerate.merge(self, message, revisions, **options)

    def validate(self) -> tuple[str, ...]:
        """Problems of the scripts, in sentences; () if there are none."""
        from headway.schema import autogenerate

        return autogenerate.validate(self)


class Extended(Project):
    """A project with additional revisions from another folder."""

    def __init__(self, location: str, ini: str | None, folder: str) -> None:
        super().__init__(location, ini)
        self.beside = folder
        self.version_folders += (Path(folder),)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.location, self.ini, self.beside))
