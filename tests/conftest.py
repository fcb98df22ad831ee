"""The vocabulary of all tests: real databases, made by the real migrations."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.engine import URL

from app import create_app
from app.settings import Settings
from tests import servers

BACKENDS = ("sqlite", "postgresql", "mariadb")
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """No test is polluted by the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("HEADWAY_") or name in ("DATABASE_URL", "FLASK_APP", "FLASK_DEBUG"):
            del os.environ[name]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[URL]:
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[URL]:
    with servers.mariadb() as url:
        yield url


@pytest.fixture
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], URL]]:
    """Makes empty databases of any kind; they are gone after the test."""
    with ExitStack() as stack:

        def make(backend: str) -> URL:
            if backend == "sqlite":
                return URL.create("sqlite", database=str(tmp_path / f"c{next(_numbers)}.sqlite"))
            return stack.enter_context(database_on(request.getfixturevalue(f"{backend}_server")))

        yield make


class database_on:  # noqa: N801  # reads as a verb where it is used
    """An empty database on a server, dropped at the end."""

    def __init__(self, server: URL) -> None:
        self.server = server
        self.name = f"headway_test_{os.getpid()}_{next(_numbers)}"

    def __enter__(self) -> URL:
        self._run(f"CREATE DATABASE {self.name}")
        return self.server.set(database=self.name)

    def __exit__(self, *_: object) -> None:
        if self.server.get_backend_name() == "postgresql":
            self._run(f"DROP DATABASE {self.name} WITH (FORCE)")
        else:
            self._run(f"DROP DATABASE {self.name}")

    def _run(self, statement: str) -> None:
        engine = sa.create_engine(self.server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Runs the test once on each kind of database."""
    return str(request.param)


@pytest.fixture
def catalog_url(backend: str, fresh_url: Callable[[str], URL]) -> URL:
    """An empty database of each kind."""
    return fresh_url(backend)


@pytest.fixture
def sqlite_url(fresh_url: Callable[[str], URL]) -> URL:
    return fresh_url("sqlite")


@pytest.fixture
def postgresql_url(fresh_url: Callable[[str], URL]) -> URL:
    return fresh_url("postgresql")


@pytest.fixture
def mariadb_url(fresh_url: Callable[[str], URL]) -> URL:
    return fresh_url("mariadb")


def settings_for(url: URL, **more: object) -> Settings:
    """Settings for a catalog; nothing comes from the environment."""
    return Settings(database_url=url, secret_key="not a secret", **more)  # type: ignore[arg-type]


def environment_for(url: URL, **more: str) -> dict[str, str]:
    """The same for a process of its own."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return mine | {
        "HEADWAY_DATABASE_URL": url.render_as_string(hide_password=False),
        "HEADWAY_SECRET_KEY": "not a secret",
        "HEADWAY_BOOT_WAIT_SECONDS": "20",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SQLite catalog a session, brought to head by a real boot; each test gets a copy."""
    path = tmp_path_factory.mktemp("template") / "catalog.sqlite"
    create_app(settings_for(URL.create("sqlite", database=str(path))))
    return path


@pytest.fixture
def template_copy(template: Path, tmp_path: Path) -> URL:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(template.read_bytes())
    return URL.create("sqlite", database=str(path))


@pytest.fixture
def app(template_copy: URL) -> Flask:
    return create_app(settings_for(template_copy))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()
