"""Any graph of revisions, any target: the order, the end and the refusals are Alembic's own."""

import random
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import revision as alembic_errors
from alembic.util import CommandError

from headway import Project, errors
from tests.migrator.graphs import a_target, alembic_does, alembics, versions, write_graph

GRAPHS = 500
BATCH = 50
SAME = {
    errors.SeveralHeads: alembic_errors.MultipleHeads,
    errors.RevisionNotFound: alembic_errors.ResolutionError,
    errors.MigrationFailed: KeyError,
    errors.TargetInvalid: (alembic_errors.RevisionError, AssertionError),
}


@pytest.mark.filterwarnings("ignore:downgrade -1 from multiple heads:UserWarning")
@pytest.mark.parametrize("seed", range(0, GRAPHS, BATCH))
def test_the_order_the_end_and_the_refusals_are_alembics(seed: int, tmp_path: Path) -> None:
    for number in range(seed, seed + BATCH):
        one_graph(tmp_path / str(number), random.Random(number))


def one_graph(folder: Path, dice: random.Random) -> None:
    ids = write_graph(folder, dice)
    theirs, ours = folder / "theirs.db", folder / "ours.db"
    try:
        project = Project.load(folder)
    except errors.ScriptsUnreadable:
        ran: list[str] = []
        with pytest.raises(CommandError):
            command.upgrade(alembics(folder, f"sqlite:///{theirs}", ran), "heads")
        return
    for _ in range(3):
        direction, target = a_target(ids, dice)
        told = f"{folder.name}: {direction} {target} from {versions(theirs)}"
        expected: Any = alembic_does(folder, theirs, direction, target)
        assert headway_does(project, ours, direction, target, expected) == expected, told
        if expected is KeyError:  # Alembic's bookkeeping broke half-way: the graph is unusable
            return
        assert versions(ours) == versions(theirs), told


def headway_does(project: Project, path: Path, direction: str, target: str, expected: Any) -> Any:
    database = project.at(path)
    try:
        plan = database.plan(target, direction=direction)
        outcome = database.apply(plan)
    except errors.HeadwayError as error:
        same = isinstance(expected, type) and issubclass(expected, SAME[type(error)])
        return expected if same else error
    assert tuple(step.revision for step in plan.steps) == outcome.applied
    return outcome.applied
