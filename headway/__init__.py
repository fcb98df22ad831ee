"""ONE database, from any Python program. SQLAlchemy and Alembic only.

from headway import Project

Project.load("migrations").at("sqlite:////home/me/notes.db").upgrade()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import URL, Connection, Engine, MetaData

    from headway import errors
    from headway.connections.session import Policy
    from headway.database import Database
    from headway.errors import HeadwayError
    from headway.plan.plans import Plan
    from headway.project import Project
    from headway.schema.sync import Sync
    from headway.types import Outcome, Position, Status

__all__ = [
    "Database",
    "HeadwayError",
    "Outcome",
    "Plan",
    "Policy",
    "Position",
    "Project",
    "Status",
    "errors",
    "run_migrations",
    "sync",
]

PLACES = {
    "Database": ("headway.database", "Database"),
    "HeadwayError": ("headway.errors", "HeadwayError"),
    "Outcome": ("headway.types", "Outcome"),
    "Plan": ("headway.plan.plans", "Plan"),
    "Policy": ("headway.connections.session", "Policy"),
    "Position": ("headway.types", "Position"),
    "Project": ("headway.project", "Project"),
    "Status": ("headway.types", "Status"),
}
"""Imported when first asked for: a boot that finds its database at head needs little of it."""


def run_migrations(
    script_location: str, database: "str | URL | Path | Engine | Connection", target: str = "heads"
) -> "Outcome":
    """Bring a database to head with the revisions of a folder or `package:folder`."""
    from headway.project import Project

    return Project.load(script_location).at(database).upgrade(target)


def sync(
    database: "str | URL | Path | Engine | Connection", metadata: "MetaData", **options: Any
) -> "Sync":
    """Bring a schema to its models with no revision files: see schema.sync.sync."""
    from headway.connections.address import Address
    from headway.connections.session import Policy
    from headway.schema.sync import sync

    return sync(Address.of(database), metadata, Policy(), **options)


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("headway.errors")
    if name not in PLACES:
        raise AttributeError(f"module 'headway' has no attribute {name!r}")
    module, there = PLACES[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
