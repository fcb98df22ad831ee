"""Generated projects: Headway leaves what plain Alembic leaves, or refuses in words.

`python -m tests.differential --seed N` shows what is found about one.
"""

import pytest

from tests.differential.conftest import Tried, all_alike
from tests.differential.generate import generate

FIRST, *MORE = range(0, 24, 6)


@pytest.mark.parametrize(
    "seed", [FIRST, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in MORE)]
)
def test_a_few_projects(seed: int, tried: Tried) -> None:
    all_alike(seed, 6, tried)


def test_the_same_number_gives_the_same_project() -> None:
    assert generate(7).text == generate(7).text != generate(8).text
    assert generate(7).moves == generate(7).moves
