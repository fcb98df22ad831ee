"""A Flask app's database, brought to head before it serves."""

from headway.flask.extension import Headway
from headway.flask.flask_alembic import Alembic

__all__ = ["Alembic", "Headway"]
