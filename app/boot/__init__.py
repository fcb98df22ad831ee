"""The service's own database: bound to the app, and brought to head before it serves."""

from flask import Flask

from app import models  # noqa: F401  # registers the tables that `flask db check` compares
from app.extensions import alembic, db
from app.settings import ROOT, Settings


def init_app(app: Flask) -> None:
    """Bind the catalog and its migrations to an app. Opens nothing."""
    app.config["ALEMBIC"] = {"script_location": str(ROOT / "migrations")}
    app.config["ALEMBIC_CONTEXT"] = {"compare_type": True, "compare_server_default": True}
    db.init_app(app)
    alembic.init_app(app)


def bring_to_head(app: Flask) -> None:
    with app.app_context():
        alembic.upgrade()
