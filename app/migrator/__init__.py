"""ONE database. SQLAlchemy and Alembic only: no Flask, no models. Usable from any program.

from app.migrator import Project

Project.load("migrations").at("sqlite:////home/me/notes.db").upgrade()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL, Connection, Engine, MetaData

    from app.migrator.facade import Project
    from app.migrator.modelsync import Sync
    from app.migrator.values import Outcome

__all__ = ["Project", "run_migrations", "sync"]


def run_migrations(
    script_location: str, database: "str | URL | Path | Engine | Connection", target: str = "heads"
) -> "Outcome":
    """Bring a database to head with the revisions of a folder or `package:folder`."""
    from app.migrator.facade import Project

    return Project.load(script_location).at(database).upgrade(target)


def sync(
    database: "str | URL | Path | Engine | Connection", metadata: "MetaData", **options: Any
) -> "Sync":
    """Bring a schema to its models with no revision files: see modelsync.sync."""
    from app.migrator.address import Address
    from app.migrator.modelsync import sync
    from app.migrator.session import Policy

    return sync(Address.of(database), metadata, Policy(), **options)


def __getattr__(name: str) -> Any:
    # The boot imports parts of this package, and should not pay for the rest.
    if name == "Project":
        from app.migrator.facade import Project

        return Project
    raise AttributeError(name)
