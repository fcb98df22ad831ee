"""The fuzz of test_fuzz.py with 500 projects."""

import pytest

from tests.differential.conftest import Tried, all_alike

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("seed", range(0, 500, 10))
def test_many_projects(seed: int, tried: Tried) -> None:
    all_alike(seed, 10, tried)
