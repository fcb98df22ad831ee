"""The shop with neither: a script directory and the engine of Flask-SQLAlchemy."""

from flask import Flask

from app.shop import db, make_app
from headway.flask import Headway

headway = Headway()


def create_app() -> Flask:
    app = make_app()
    headway.init_app(app, db, scripts="../migrations/versions", ready_path="/readyz")
    headway.bring_to_head(app)
    return app
