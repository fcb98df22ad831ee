"""Script directories and what is asked of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway.project import Project
from tests.migrator.scripts import write_env, write_project
from tests.migrator.team import Team


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """A team's folder, empty yet."""
    return Team(tmp_path / "team")


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A script directory with Alembic's own env.py and no revision yet."""
    return write_env(tmp_path / "scripts")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Five revisions: tables, indexes, columns."""
    return Project.load(write_project(tmp_path / "five", 5))


@pytest.fixture
def new_url(backend: str, fresh_url: Callable[[str], URL]) -> URL:
    """The address of a database that is not there yet, of each kind; gone after the test."""
    from headway.dialects import dialect_of

    url = fresh_url(backend)
    if backend != "sqlite":
        dialect_of(url).drop(url)
    return url
