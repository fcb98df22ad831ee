"""Fixtures for the tests of any project: databases at head, made by its migrations.

The schema has one source, the revisions: a template is built once a session, and each test gets
a copy. In a project that has Headway installed:

    # pyproject.toml
    [tool.pytest.ini_options]
    headway_scripts = "migrations"                     # a folder, or package:folder
    headway_url = "postgresql://postgres@127.0.0.1"    # by default SQLite files

    def test_an_order_is_kept(migrated_url): ...
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from headway.dialects import dialect_of
from headway.dialects.urls import DatabaseURL
from headway.project import Project

_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options to the project's pytest configuration."""
    parser.addini("headway_scripts", "The script directory: a folder, or package:folder.")
    parser.addini("headway_url", "A server for the test databases; by default SQLite files.")


class DatabaseTemplate:
    """A database that is copied for each test, dropped at the end."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = dialect_of(url)

    @classmethod
    def at_head(cls, project: Project, server: URL, folder: Path) -> "DatabaseTemplate":
        """A template at the project's head, created on a server; of SQLite a file in the folder."""
        template = cls(_fresh(server.set(database=str(folder / "template"))))
        project.at(template.url).create()
        return template

    @contextmanager
    def copy(self, url: URL | None = None) -> Iterator[URL]:
        """The URL of a copy, which is dropped at the end; by default one beside the template."""
        mine = url or _fresh(self.url)
        self.dialect.make(mine, self.url)
        try:
            yield mine
        finally:
            self.dialect.drop(mine)

    def drop(self) -> None:
        """Remove the template."""
        self.dialect.drop(self.url)


def _fresh(beside: URL) -> URL:
    """The URL of a database that is not there: on the same server, or a file in the same folder."""
    name = f"headway_pytest_{os.getpid()}_{next(_numbers)}"
    if beside.get_backend_name() == "sqlite":
        return beside.set(database=str(Path(str(beside.database)).with_name(f"{name}.sqlite")))
    return beside.set(database=name)


@pytest.fixture(scope="session")
def headway_project(pytestconfig: pytest.Config) -> Project:
    """The project under test: the `headway_scripts` of its configuration. Override it freely."""
    location = str(pytestconfig.getini("headway_scripts") or "migrations")
    folder = pytestconfig.rootpath / location
    return Project.load(str(folder) if folder.is_dir() else location)


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
