"""Generated projects: Headway leaves what plain Alembic leaves, or refuses in words.

`python -m tests.differential --seed N` shows what is found about one.
"""

import re
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.engine import URL

from tests.differential.compare import Result, compare
from tests.differential.generate import Generated, alone, generate
from tests.differential.worker import Server

ORDINARY = 24
ALL = 500
BATCH = 10
MOST_REFUSED = 0.35
"""No larger share of the projects may be refused: refusing everything is no way to be right."""


@pytest.fixture(scope="session")
def alembic() -> Iterator[Server]:
    with Server("alembic") as server:
        yield server


@pytest.fixture(scope="session")
def headway() -> Iterator[Server]:
    with Server("headway") as server:
        yield server


@pytest.fixture
def tried(
    request: pytest.FixtureRequest, alembic: Server, headway: Server
) -> Callable[[Generated], Result]:
    def compared(made: Generated) -> Result:
        servers: dict[str, URL] = {}
        if made.dialect != "sqlite":
            servers[made.dialect] = request.getfixturevalue(f"{made.dialect}_server")
        return compare(made, alembic, headway, servers)

    return compared


@pytest.mark.parametrize("seed", range(0, ORDINARY, 6))
def test_a_few_projects(seed: int, tried: Callable[[Generated], Result]) -> None:
    all_alike(seed, 6, tried)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(0, ALL, BATCH))
def test_many_projects(seed: int, tried: Callable[[Generated], Result]) -> None:
    all_alike(seed, BATCH, tried)


def all_alike(seed: int, count: int, tried: Callable[[Generated], Result]) -> None:
    results = [tried(generate(number)) for number in range(seed, seed + count)]
    wrong = [str(result) for result in results if result.findings]
    assert not wrong, "\n".join(wrong)
    # One more: a few projects are no sample.
    assert sum(bool(result.refused) for result in results) <= count * MOST_REFUSED + 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    "made", [pytest.param(one, id=re.sub(r"\W+", "_", one.name)) for one in alone()]
)
def test_each_piece_alone(made: Generated, tried: Callable[[Generated], Result]) -> None:
    result = tried(made)
    assert not result.findings, str(result)


def test_the_same_number_gives_the_same_project() -> None:
    assert generate(7).text == generate(7).text != generate(8).text
    assert generate(7).moves == generate(7).moves
