"""The shop with Flask-Alembic: `alembic.upgrade()` goes through Headway, here and in the boot."""

from flask import Flask
from flask_alembic import Alembic

from app.shop import db, make_app
from headway.flask import Headway

alembic = Alembic(run_mkdir=False)
headway = Headway()


def create_app() -> Flask:
    app = make_app()
    app.config["ALEMBIC"] = {"script_location": "../migrations/versions"}
    alembic.init_app(app)
    headway.init_app(app, db, alembic, ready_path="/readyz")
    headway.bring_to_head(app)
    return app
