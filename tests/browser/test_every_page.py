"""Every page in light and dark, on a laptop and a phone: nobody is kept out, nothing from elsewhere."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Response

from app import create_app
from app.extensions import db
from app.fleet.accounts import tokens
from app.models import Role
from headway.pytest_plugin import DatabaseTemplate
from tests.browser.people import Person
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT, person
from tests.fleet.sites import Site, answers
from tests.web import walking
from tests.web.furnished import Furnished, furnish
from tests.web.walking import Visitor

OF_COLOUR = ("color-contrast", "link-in-text-block")
"""The rules for which it matters that a page is dark; all the others see the same page again."""
LARGEST = 100_000
"""Bytes of a page with all that it needs, compressed, when nothing is kept from before."""
BAD = """<!doctype html><html lang="en"><title>Bad</title><link rel="stylesheet" href="/a.css">
<main><h1>Bad</h1><h3>Skips one</h3><p style="color: red" onclick="alert(1)">Hm</p><div>.</div>
<img src="https://elsewhere.example/x.png"><input name="nobody-knows"></main>
<script>alert(1)</script>"""
BAD_STYLE = """body { margin: 0; color: #000; background: #fff } div { width: 800px }
@media (prefers-color-scheme: dark) { p { color: #eee } }"""
ALIKE = 2
"""Of the pages of one kind so many are looked at; of those with a word or a query in it, one."""


@pytest.fixture(scope="module")
def furnished(site: Site) -> Furnished:
    return furnish(site.fleet)


def start(site: Site) -> str:
    """A server without workers; its address."""
    _, port = site.serve(0)
    site.until(lambda: answers(port))
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def origin(site: Site, furnished: Furnished) -> str:
    return start(site)


@pytest.fixture(scope="module")
def paths(furnished: Furnished) -> list[str]:
    """All pages, those that are alike a few times."""
    found = walking.walk(Visitor(furnished.app, furnished.tokens["admin"]), of_a_kind=2 * ALIKE)
    kinds = Counter[object]()
    chosen = []
    for path in found:
        kind = walking.kind_of(furnished.app, path)
        kinds[kind, "?" in path] += 1
        if kinds[kind, "?" in path] <= (1 if "?" in path or kind[1] else ALIKE):
            chosen.append(path)
    return chosen


def problems(somebody: Person, path: str) -> Iterator[str]:
    somebody.in_the_dark(False)
    somebody.go(path)
    yield from problems_of_page(somebody, path)


def problems_of_page(somebody: Person, path: str) -> Iterator[str]:
    """Of the page where somebody is, in light; they are in the dark afterwards."""
    yield from (f"{path} light: {one}" for one in somebody.barriers())
    somebody.in_the_dark()
    yield from (f"{path} dark: {one}" for one in somebody.barriers(*OF_COLOUR))
    if wider := somebody.sideways():
        yield f"{path}: {wider} pixels too wide for a phone"


def test_what_should_not_be_is_noticed(chromium: Browser) -> None:
    """The checks below can fail: this page fails all of them."""
    reader = Person(chromium, "http://127.0.0.1:9")
    headers = {"content-security-policy": "default-src 'none'; style-src 'self'"}
    reader.context.route(
        "**/*", lambda route: route.fulfill(body=BAD, content_type="text/html", headers=headers)
    )
    reader.context.route(
        "**/a.css", lambda route: route.fulfill(body=BAD_STYLE, content_type="text/css")
    )
    found = list(problems(reader, "/bad"))
    reader.context.close()
    for rule in ("label", "image-alt", "heading-order"):
        assert any(f"/bad light: {rule} " in one for one in found), rule
    contrast = [one for one in found if "color-contrast" in one]
    assert len(contrast) == 1
    assert contrast[0].startswith("/bad dark")
    assert found[-1] == "/bad: 440 pixels too wide for a phone"
    told = "\n".join(reader.complaints)
    assert "asks elsewhere: https://elsewhere.example/x.png" in told
    assert "Executing inline script violates" in told
    assert "Applying inline style violates" in told


def test_nobody_is_kept_out_of_any_page_all_are_small_and_let_nothing_else_in(
    people: Callable[..., Person], origin: str, furnished: Furnished, paths: list[str]
) -> None:
    admin = people(origin)
    found = list(problems(admin, "/sign-in"))
    admin.sign_in(furnished.tokens["admin"])
    sizes: dict[str, int] = {}
    came: list[Response] = []

    def keep(answer: Response) -> None:
        if answer.request.resource_type not in ("fetch", "xhr", "eventsource"):
            came.append(answer)  # what it asks for later is no part of its first load

    admin.page.on("response", keep)
    assert len(paths) > 15
    for path in paths:
        admin.page.goto("about:blank")  # nothing of the page before comes in between
        admin.in_the_dark(False)
        came.clear()
        policy = admin.go(path).header_value("content-security-policy") or ""
        assert policy.startswith("default-src 'none';"), path
        assert "unsafe" not in policy, path
        sizes[path] = sum(len(gzip.compress(answer.body())) for answer in came if answer.ok)
        found += problems_of_page(admin, path)
    assert not found, "\n".join(found)
    assert {path: size for path, size in sizes.items() if size >= LARGEST} == {}


REFUSALS = {
    "/nowhere": 404,
    "/databases/4711": 404,
    "/rollouts/4711": 404,
    "/databases/?position=nowhere": 422,
    "/projects/new": 403,
    "/audit/": 403,
    "/webhooks/": 403,
}


def test_nor_out_of_one_that_refuses(
    people: Callable[..., Person], origin: str, furnished: Furnished
) -> None:
    viewer = people(origin)
    viewer.sign_in(furnished.tokens["viewer"])
    assert {path: viewer.go(path).status for path in REFUSALS} == REFUSALS
    found = [one for path in REFUSALS for one in problems(viewer, path)]
    assert not found, "\n".join(found)


def test_nor_out_of_one_that_is_empty(
    template: Callable[[str], DatabaseTemplate], tmp_path: Path, people: Callable[..., Person]
) -> None:
    """Headway as it is on the first day."""
    with template("sqlite").copy() as url:
        app = create_app(settings_for(url))
        with app.app_context():
            _, someone = person(Role.ADMIN)
            issued, _ = tokens.issue_token(
                ROOT, account_id=someone.id or 0, name="mine", expires_days=1
            )
            paths = list(walking.walk(Visitor(app, issued.text or "")))
            site = Site(None, url, tmp_path)  # type: ignore[arg-type]
            try:
                admin = people(start(site))
                admin.sign_in(issued.text or "")
                found = [one for path in paths for one in problems(admin, path)]
                admin.go("/databases/")
                admin.page.get_by_role("main").get_by_text("There is no project yet").wait_for()
            finally:
                site.end()
                db.session.remove()
                db.engine.dispose()
    assert len(paths) > 8
    assert not found, "\n".join(found)


def test_a_keyboard_is_enough(
    people: Callable[..., Person], origin: str, furnished: Furnished
) -> None:
    """Past what is on every page, with an outline around what has the focus."""
    viewer = people(origin)
    viewer.sign_in(furnished.tokens["viewer"])
    viewer.go("/databases/")
    viewer.page.keyboard.press("Tab")
    first = viewer.page.locator(":focus")
    assert first.inner_text() == "Skip to content"
    assert first.bounding_box()["x"] >= 0  # type: ignore[index]
    viewer.page.keyboard.press("Enter")
    viewer.page.keyboard.press("Tab")
    focused = viewer.page.locator("main :focus")
    outline = focused.evaluate("one => getComputedStyle(one).outlineStyle")
    assert outline != "none"
