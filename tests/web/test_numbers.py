"""Numbers in links and forms: one that is too large is answered in words, on every page."""

import re
from pathlib import Path

import pytest

import app
from app.models import Role
from tests.fleet.fleets import Fleet
from tests.web.browser import Browser
from tests.web.walking import endpoints

READ = re.compile(r"request\.(?:args|values)(?:\.get|\.getlist)?[(\[]\"(\w+)\"")
NUMBERS = ("9999999999999999999", "9" * 25, "9" * 500, "behind:" + "9" * 25, "1." + "9" * 25, "²")


def names() -> set[str]:
    """What pages read of their address."""
    folder = Path(app.__file__).parent / "web"
    found = {name for path in folder.glob("*.py") for name in READ.findall(path.read_text())}
    assert {"after", "project", "like", "place"} <= found
    return found | {"actor", "id", "position", "owner"}


def paths(fleet: Fleet) -> list[str]:
    """Every page whose address is one, and those of the first of everything."""
    known = endpoints(fleet.app, "GET")
    rules = [rule for rule in fleet.app.url_map.iter_rules() if rule.endpoint in known]
    found = [re.sub(r"<int:\w+>", "1", rule.rule) for rule in rules]
    return sorted({path for path in found if "<" not in path and "sign-" not in path})


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
def test_no_page_breaks_on_a_number(fleet: Fleet, number: str) -> None:
    if not fleet.file("one", None).exists():
        fleet.add("one")
        fleet.rollout()
    admin = Browser(fleet, Role.ADMIN, f"admin {NUMBERS.index(number)}")
    for path in paths(fleet):
        if path.endswith("/events"):
            continue
        for name in sorted(names()):
            for order in ("", "&order=name", "&order=position") if path == "/databases/" else ("",):
                answer = admin.get(f"{path}?{name}={number}{order}")
                assert answer.status_code < 500, (path, name, order)
    for path in ("/databases/", "/rollouts/", "/projects/", "/accounts/"):
        assert admin.get(path + number).status_code in (302, 404)
