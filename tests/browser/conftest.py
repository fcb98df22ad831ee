"""Chromium, and a real server with its workers for it to look at."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser

from headway.pytest_plugin import DatabaseTemplate
from tests.browser.people import Person, open_chromium
from tests.fleet.fleets import Fleet, fleet_on
from tests.fleet.sites import Site


# Of a module: while Playwright runs no other test of the process can have an event loop.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The installed one."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A catalog with one project, and nothing that runs yet."""
    folder = tmp_path_factory.mktemp("site")
    with template("sqlite").copy() as url, fleet_on(url, folder) as fleet:
        made = Site(fleet, url, folder)
        fleet.folder = made.members
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
def fleet(site: Site) -> Fleet:
    return site.fleet


@pytest.fixture
def people(chromium: Browser) -> Iterator[Callable[..., Person]]:
    """Makes people, who at the end must have nothing to complain about."""
    with ExitStack() as stack:
        made: list[Person] = []

        def make(origin: str, **how: object) -> Person:
            made.append(Person(chromium, origin, **how))
            stack.callback(made[-1].context.close)
            return made[-1]

        yield make
        assert [complaint for person in made for complaint in person.complaints] == []
