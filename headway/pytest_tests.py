"""Tests of a project's migrations that need no code of the project's: `headway_tests = true`."""

import pytest

from headway import checks
from headway.database import Database
from headway.project import Project


def _refuse(found: tuple[checks.Finding, ...]) -> None:
    if found:
        pytest.fail("\n".join(map(str, found)), pytrace=False)


def test_single_head(headway_project: Project) -> None:
    """The scripts have one head, and ids that fit into every version table."""
    _refuse(checks.check_scripts(headway_project))


def test_up_and_down(headway_database: Database) -> None:
    """Each revision upgrades, its downgrade leads back to what was there, and it upgrades again."""
    _refuse(checks.check_steps(headway_database))


def test_models_match(headway_database: Database) -> None:
    """The models of env.py are what the revisions make."""
    headway_database.upgrade()
    drift = headway_database.check()
    if drift.models is None:
        pytest.skip("env.py names no target_metadata")
    _refuse(checks.check_models(headway_database))


def test_rows_are_kept(headway_database: Database) -> None:
    """Each revision runs with rows in the tables before it, and loses none that it does not say."""
    _refuse(checks.check_steps(headway_database, with_rows=True, down=False))
