"""What the three have in common: the database, a model, two pages."""

import os

from flask import Flask, Response, jsonify
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Item(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int | None]


def make_app() -> Flask:
    app = Flask("app")
    url = os.environ.get("DATABASE_URL", "sqlite:///shop.db")  # in `instance`, beside this package
    app.config.from_mapping(SQLALCHEMY_DATABASE_URI=url)
    db.init_app(app)

    @app.get("/")
    def items() -> Response:
        return jsonify([item.name for item in db.session.scalars(select(Item))])

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(state="alive")

    return app
