"""A fleet that the tests of a module share: each brings it back to where it was."""

from collections.abc import Callable, Iterator

import pytest

from headway.pytest_plugin import DatabaseTemplate
from tests.fleet.fleets import Fleet, fleet_on


@pytest.fixture(scope="module")
def fleet(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with template("sqlite").copy() as url, fleet_on(url, folder) as made:
        yield made
