"""An app on each kind of database, and people to act as."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import accounts, projects
from app.fleet.core.permissions import Actor
from app.fleet.projects import scripts
from app.models import Account, Loading, Role
from tests.conftest import settings_for
from tests.fleet.fleets import Fleet, fleet_on, require_right_counts

KEY = Fernet.generate_key().decode()
ROOT = Actor(id=None, name="test", role=Role.ADMIN)


@pytest.fixture
def fleet(template_copy: URL, tmp_path: Path) -> Iterator[Fleet]:
    """A project of a few revisions, on SQLite."""
    with fleet_on(template_copy, tmp_path) as made:
        yield made
        require_right_counts()


@pytest.fixture
def anyfleet(migrated_url: URL, tmp_path: Path) -> Iterator[Fleet]:
    """The same on each kind of catalog."""
    with fleet_on(migrated_url, tmp_path) as made:
        yield made
        require_right_counts()


@pytest.fixture
def anywhere(migrated_url: URL) -> Iterator[Flask]:
    """The app on a catalog at head, of each kind."""
    app = create_app(settings_for(migrated_url))
    with app.app_context():
        yield app
        require_right_counts()
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def here(app: Flask) -> Iterator[Flask]:
    """The app on SQLite."""
    with app.app_context():
        yield app
        require_right_counts()
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def fleet_anywhere(migrated_url: URL, tmp_path: Path) -> Iterator[Flask]:
    """The same as `anywhere`, with scripts and files in the test's own folder."""
    yield from _running(migrated_url, tmp_path)


@pytest.fixture
def fleet_here(template_copy: URL, tmp_path: Path) -> Iterator[Flask]:
    """The same on SQLite."""
    yield from _running(template_copy, tmp_path)


def _running(url: URL, folder: Path) -> Iterator[Flask]:
    roots = {"project_roots": (folder,), "data_roots": (folder,)}
    app = create_app(settings_for(url, encryption_keys=(KEY,), **roots))
    with app.app_context():
        yield app
        require_right_counts()
        db.session.remove()
        db.engine.dispose()


def project_at(folder: Path, name: str = "shop") -> int:
    """A project whose scripts nobody has read yet."""
    made, _ = projects.create_project(ROOT, {"name": name, "location": str(folder)})
    return made.id


def ready_project(folder: Path, name: str = "shop") -> int:
    """A project whose scripts are in the register."""
    project = scripts.load(project_at(folder, name))
    assert (project.state, project.problem) == (Loading.READY, None)
    return project.id


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
