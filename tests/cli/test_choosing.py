"""Which databases a rollout is for, and what a script that waits for it is told."""

import json

import pytest

from app.fleet import databases, projects
from tests.cli.shell import Shell, Working, flask, fleet
from tests.fleet.fleets import ROOT, Fleet

__all__ = ["flask", "fleet"]


@pytest.fixture
def other(fleet: Fleet) -> int:
    """Another project that has a database `d000` too, and one of its own."""
    made, _ = projects.create_project(ROOT, {"name": "quick", "location": str(fleet.scripts)})
    for name in ("d000", "mine"):
        asked = {"project_id": made.id, "name": name, "url": f"sqlite:///{fleet.folder}/q{name}.db"}
        databases.register_database(ROOT, asked)
    return made.id


def test_a_database_is_looked_up_in_the_project_that_is_given(
    flask: Shell, fleet: Fleet, other: int
) -> None:
    (ours, second) = fleet.add_many(2)
    for name in ("d000", "shop/d000", str(ours.id)):
        words = ("rollouts", "create", "--project", "shop", "--database", name)
        assert flask.json(*words)["selector"]["ids"] == [ours.id]
    both = ("--database", "d001", "--database", "d000")
    made = flask.json("rollouts", "create", "--project", str(fleet.project_id), *both)
    assert sorted(made["selector"]["ids"]) == [ours.id, second.id]


@pytest.mark.parametrize("name", ["quick/d000", "mine"])
def test_a_database_of_another_project_is_refused(
    flask: Shell, fleet: Fleet, other: int, name: str
) -> None:
    fleet.add_many(1)
    words = ("rollouts", "create", "--project", "shop", "--database", "d000", "--database", name)
    said = flask(*words, code=2).stderr
    assert f"quick/{name.removeprefix('quick/')} is not a database of shop" in said


def test_each_line_for_programs_names_its_rollout(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(1)
    with Working(fleet, pause=0.3):
        done = flask("rollouts", "create", "--project", "shop", "--watch", "--json")
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == {1}
    again = flask("rollouts", "watch", "1", "--json").stdout
    assert json.loads(again.splitlines()[-1])["id"] == 1
