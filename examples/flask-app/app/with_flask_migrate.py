"""The shop with Flask-Migrate: `flask db upgrade` is as careful as the boot."""

from pathlib import Path

from flask import Flask
from flask_migrate import Migrate

from app.shop import db, make_app
from headway.flask import Headway

migrate = Migrate(directory=Path(__file__).parents[1] / "migrations")
headway = Headway()


def create_app() -> Flask:
    app = make_app()
    migrate.init_app(app, db)
    headway.init_app(app, db, migrate, ready_path="/readyz")
    headway.bring_to_head(app)
    return app
