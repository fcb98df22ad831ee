"""What programs import of Headway: these names, and none that needs more than the core."""

import subprocess
import sys

import pytest

import headway
from headway.isolation.modules import OURS

FACE = (
    "Database",
    "HeadwayError",
    "Outcome",
    "Plan",
    "Policy",
    "Position",
    "Project",
    "Status",
    "errors",
    "run_migrations",
    "sync",
)
NEEDS_NOTHING_OF = ("flask", "click", "rich", "app", "migrations", "wsgi")


def test_the_public_face_is_this() -> None:
    assert tuple(headway.__all__) == FACE
    assert set(FACE) <= set(dir(headway))


@pytest.mark.parametrize("name", FACE)
def test_each_name_is_what_it_is_called(name: str) -> None:
    found = getattr(headway, name)
    assert getattr(found, "__name__", "").rpartition(".")[2] == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = headway.nothing  # type: ignore[attr-defined]


def test_the_core_imports_no_more_than_sqlalchemy_and_alembic() -> None:
    code = f"""
import sys, headway
assert "sqlalchemy" not in sys.modules, "importing it costs nothing"
for name in headway.__all__:
    getattr(headway, name)
print(*(name for name in {NEEDS_NOTHING_OF} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_from_its_source_tree_the_services_names_are_taken_too() -> None:
    """So a project's own `app` wins over ours, which can be imported there."""
    assert {"headway", "app", "migrations", "wsgi"} <= OURS


def test_its_old_name_still_works_in_a_clone() -> None:
    from app import migrator

    assert migrator.Project is headway.Project
