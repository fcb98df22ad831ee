"""A fleet that the tests of a module share: each brings it back to where it was."""

from collections.abc import Callable, Iterator

import pytest

from tests.fleet.fleets import Fleet, fleet_on
from tests.support.templates import Template


@pytest.fixture(scope="module")
def fleet(
    template: Callable[[str], Template], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with template("sqlite").copy() as url, fleet_on(url, folder) as made:
        yield made
