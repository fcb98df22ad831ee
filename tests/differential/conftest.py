"""What generated projects are tried with."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.engine import URL

from tests.differential.compare import Result, compare
from tests.differential.generate import Generated, generate
from tests.differential.worker import Server

Tried = Callable[[Generated], Result]
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
def tried(request: pytest.FixtureRequest, alembic: Server, headway: Server) -> Tried:
    """Compares a project."""

    def compared(made: Generated) -> Result:
        servers: dict[str, URL] = {}
        if made.dialect != "sqlite":
            servers[made.dialect] = request.getfixturevalue(f"{made.dialect}_server")
        return compare(made, alembic, headway, servers)

    return compared


def all_alike(seed: int, count: int, tried: Tried) -> None:
    """Compare the projects of these numbers."""
    results = [tried(generate(number)) for number in range(seed, seed + count)]
    wrong = [str(result) for result in results if result.findings]
    assert not wrong, "\n".join(wrong)
    # One more: a few projects are no sample.
    assert sum(bool(result.refused) for result in results) <= count * MOST_REFUSED + 1
