"""An app on each kind of database, and people to act as."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import accounts
from app.fleet.actors import Actor
from app.models import Account, Role
from tests.conftest import settings_for

ROOT = Actor(id=None, name="test", role=Role.ADMIN)


@pytest.fixture
def anywhere(migrated_url: URL) -> Iterator[Flask]:
    """The app on a catalog at head, of each kind."""
    app = create_app(settings_for(migrated_url))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def here(app: Flask) -> Iterator[Flask]:
    """The app on SQLite."""
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def person(role: Role, name: str = "") -> tuple[Account, Actor]:
    """A new account, and it as an actor."""
    made, _ = accounts.create_account(ROOT, {"name": name or role.value, "role": role})
    return made, Actor(id=made.id, name=made.name, role=role, request_id="r-12345678", ip="::1")


def at_once(app: Flask, *calls: Callable[[], Any]) -> list[Any]:
    """What each gives, or the error it raises, when all are let go at the same moment."""
    db.session.remove()  # what the test has read holds no lock
    barrier = Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        with app.app_context():
            barrier.wait()
            try:
                return call()
            except Exception as error:  # noqa: BLE001  # what it raised is what is asked
                return error
            finally:
                db.session.remove()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))
