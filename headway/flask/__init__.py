"""A Flask app's databases, brought to head before it serves."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.flask.extension import Headway
    from headway.flask.flask_alembic import Alembic

__all__ = ["Alembic", "Headway"]

PLACES = {"Alembic": "headway.flask.flask_alembic", "Headway": "headway.flask.extension"}
"""Imported when first asked for: Flask-Alembic need not be there."""


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module 'headway.flask' has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)
