"""Numbers in links: one that is too large is answered in words, on every page."""

import inspect
import re

import pytest
from flask import Flask

from app.models import Role
from tests.fleet.fleets import Fleet
from tests.web.browser import Browser
from tests.web.walking import endpoints

READ = re.compile(r"request\.(?:args|values)(?:\.get|\.getlist)?[(\[]\"(\w+)\"")
SHARED = ("after", "project", "owner", "actor", "id")
"""What helpers of several pages read."""
NUMBERS = ("9999999999999999999", "²")


def pages(app: Flask) -> dict[str, set[str]]:
    """Every page, of the first of everything, and what it reads of its address."""
    found = {}
    known = endpoints(app, "GET")
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<int:\w+>", "1", rule.rule)
        if rule.endpoint in known and "<" not in path and not path.endswith("/events"):
            module = inspect.getmodule(inspect.unwrap(app.view_functions[rule.endpoint]))
            assert module
            found[path] = {*READ.findall(inspect.getsource(module)), *SHARED}
    return found


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:12])
def test_no_page_breaks_on_a_number(fleet: Fleet, number: str) -> None:
    if not fleet.file("one", None).exists():
        fleet.add("one")
        fleet.rollout()
    admin = Browser(fleet, Role.ADMIN, f"admin {NUMBERS.index(number)}")
    asked = pages(fleet.app)
    assert {"after", "like"} <= asked["/rollouts/new"]
    for path, names in asked.items():
        for name in sorted(names):
            answer = admin.get(f"{path}?{name}={number}")
            assert answer.status_code < 500, (path, name)
        assert admin.get(path.replace("/1", f"/{number}")).status_code < 500, path
    for order in (
        "name&after=",
        "position&after=behind:",
        "revision&after=x:",
        "registered&after=",
    ):
        assert admin.get(f"/databases/?order={order}{number}").status_code < 500, order
    for odd in ("9" * 500, f"1.{number}", f"{number}.1", "-1.-1", "--1.1"):
        for path in ("/databases/", "/rollouts/", "/rollouts/1", "/drifts/"):
            assert admin.get(f"{path}?after={odd}").status_code < 500, (path, odd)
