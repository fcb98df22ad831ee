"""A small slice of benchmarks/chaos.py: each kind of victim once or twice."""

from pathlib import Path

import pytest

from tests.fleet.chaos import chaos, examine, wreck


@pytest.mark.parametrize(
    ("catalog", "files", "members", "kills"),
    [
        ("postgresql", 40, 6, 6),
        pytest.param("sqlite", 30, 0, 4, marks=pytest.mark.thorough),
    ],
)
def test_no_database_is_lost_or_done_twice(
    catalog: str, files: int, members: int, kills: int, tmp_path: Path
) -> None:
    values = {"files": files, "members": members, "seconds": 0.15, "seed": 3}
    with chaos(tmp_path, catalog=catalog, **values) as (made, rollout):  # type: ignore[arg-type]
        done = wreck(made, rollout, kills, patience=240)
        seen = examine(made, rollout)
    assert done == kills
    assert seen["databases"] == files + members
