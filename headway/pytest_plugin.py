"""Fixtures and tests for the migrations of any project, in its own pytest.

The schema has one source, the revisions: a template is built once a session, and each test gets
a copy. In a project that has Headway installed:

    # pyproject.toml
    [tool.pytest.ini_options]
    headway_tests = true                               # the ready tests: headway.pytest_tests
    headway_scripts = "migrations"                     # a folder, or package:folder
    headway_url = "postgresql://postgres@127.0.0.1"    # by default SQLite files

    def test_an_order_is_kept(migrated_url): ...
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import URL

from headway.checks import fresh_url
from headway.database import Database
from headway.dialects import dialect_of
from headway.dialects.urls import DatabaseURL
from headway.project import Project


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options to the project's pytest configuration."""
    parser.addini("headway_scripts", "The script directory: a folder, or package:folder.")
    parser.addini("headway_url", "A server for the test databases; by default SQLite files.")
    parser.addini("headway_tests", "Run the ready tests of the migrations.", type="bool")


PREFIX = "headway_pytest_"
"""How the names of test databases begin."""


class ReadyTests(pytest.Module):
    """The tests of headway.pytest_tests, as if they lay in the folder that is tested."""

    def _getobj(self) -> ModuleType:
        return importlib.import_module("headway.pytest_tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the ready tests, unless single files or tests were asked for."""
    if not config.getini("headway_tests") or not any(
        Path(config.invocation_params.dir, arg).is_dir() for arg in config.args
    ):
        return
    # In the folder of all tests, so that its conftest.py may override the fixtures.
    parents = (
        [one for one in items[0].listchain() if isinstance(one, pytest.Directory)] if items else []
    )
    common = [one for one in parents if all(one in item.listchain() for item in items)]
    parent = common[-1] if common else session
    module = ReadyTests.from_parent(
        parent,
        path=Path(__file__).with_name("pytest_tests.py"),
        nodeid=f"{parent.nodeid}/headway".lstrip("/"),
        name="headway",
    )
    items += session.genitems(module)


class DatabaseTemplate:
    """A database that is copied for each test, dropped at the end."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = dialect_of(url)

    @classmethod
    def at_head(cls, project: Project, server: URL, folder: Path) -> "DatabaseTemplate":
        """A template at the project's head, created on a server; of SQLite a file in the folder."""
        template = cls(fresh_url(server, folder, PREFIX))
        project.at(template.url).create()
        return template

    @contextmanager
    def copy(self, url: URL | None = None) -> Iterator[URL]:
        """The URL of a copy, which is dropped at the end; by default one beside the template."""
        mine = url or fresh_url(self.url, Path(str(self.url.database)).parent, PREFIX)
        self.dialect.make(mine, self.url)
        try:
            yield mine
        finally:
            self.dialect.drop(mine)

    def drop(self) -> None:
        """Remove the template."""
        self.dialect.drop(self.url)


@pytest.fixture(scope="session")
def headway_app() -> Any:
    """The Flask app that env.py asks for, as Flask-Migrate's does: override it to return yours.

    By default there is none. The tests of the migrations then work inside its context.
    """
    return None


@pytest.fixture(scope="session")
def headway_project(pytestconfig: pytest.Config, headway_app: Any) -> Iterator[Project]:
    """The project under test: the `headway_scripts` of its configuration. Override it freely."""
    location = str(pytestconfig.getini("headway_scripts") or "migrations")
    folder = pytestconfig.rootpath / location
    with headway_app.app_context() if headway_app else nullcontext():
        yield Project.load(str(folder) if folder.is_dir() else location)


@pytest.fixture(scope="session")
def headway_server(pytestconfig: pytest.Config) -> URL:
    """Where test databases are made: `headway_url`, or SQLite. Override it freely."""
    return DatabaseURL.parse(str(pytestconfig.getini("headway_url") or "sqlite://"))


@pytest.fixture(scope="session")
def headway_template(
    headway_project: Project, headway_server: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DatabaseTemplate]:
    """The database at head that tests get copies of; built once a session."""
    template = DatabaseTemplate.at_head(
        headway_project, headway_server, tmp_path_factory.mktemp("headway")
    )
    yield template
    template.drop()


@pytest.fixture
def migrated_url(headway_template: DatabaseTemplate) -> Iterator[URL]:
    """The URL of a database at head, for one test."""
    with headway_template.copy() as url:
        yield url


@pytest.fixture
def headway_database(
    headway_project: Project, headway_server: URL, tmp_path: Path
) -> Iterator[Database]:
    """An empty database of the project, for one test."""
    url = fresh_url(headway_server, tmp_path, PREFIX)
    dialect_of(url).make(url)
    try:
        yield headway_project.at(url)
    finally:
        dialect_of(url).drop(url)
