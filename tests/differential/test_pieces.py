"""Each thing that a generated project can do, alone, on each kind of database."""

import re

import pytest

from tests.differential.conftest import Tried
from tests.differential.generate import Generated, alone

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize(
    "made", [pytest.param(one, id=re.sub(r"\W+", "_", one.name)) for one in alone()]
)
def test_each_piece_alone(made: Generated, tried: Tried) -> None:
    result = tried(made)
    assert not result.findings, str(result)
