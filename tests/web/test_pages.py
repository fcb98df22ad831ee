"""The pages as a browser without a script gets them: forms, links, cookies."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet.accounts import invitations, limits, tokens
from app.models import Role, Token
from tests.fleet.conftest import person
from tests.fleet.fleets import ROOT, Fleet, fleet_on
from tests.web.browser import FORGERY, Browser

PAGES = ("/", "/databases/", "/databases/1", "/rollouts/", "/rollouts/new", "/rollouts/1")


@pytest.fixture
def fleet(template_copy: URL, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(template_copy, tmp_path) as made:
        yield made


def test_nobody_sees_anything(fleet: Fleet) -> None:
    fleet.add("one")
    fleet.rollout()
    stranger = Browser(fleet, None)
    for path in PAGES:
        answer = stranger.get(path)
        assert (answer.status_code, answer.location) == (302, f"/sign-in?next={path}")
    for path in ("/rollouts/1/start", "/databases/1/upgrade", "/rollouts/new", "/sign-out"):
        assert stranger.post(path, at="/sign-in").location.startswith("/sign-in")
    assert fleet.stage(fleet.rollout()) == "pending"


def test_a_viewer_may_look_and_press_nothing(fleet: Fleet) -> None:
    member = fleet.add("one")
    rollout = fleet.rollout()
    viewer = Browser(fleet, Role.VIEWER)
    for path in PAGES:
        assert viewer.get(path).status_code == 200, path
    assert viewer.post(f"/rollouts/{rollout.id}/start").status_code in (302, 403)
    assert viewer.post("/rollouts/new", project=fleet.project_id).status_code in (302, 403)
    assert viewer.post("/databases/1/upgrade", at="/databases/1").status_code == 403
    fleet.drain()
    assert fleet.at(member) == "r001"
    assert fleet.stage(rollout) == "pending"


def test_a_form_of_another_site_is_refused(fleet: Fleet) -> None:
    fleet.add("one")
    rollout = fleet.rollout()
    browser = Browser(fleet)
    for form in ({}, {"csrf_token": "made up"}):
        answer = browser.client.post(f"/rollouts/{rollout.id}/start", data=form)
        assert answer.status_code == 400
        assert "Nothing was done" in answer.text
    assert fleet.stage(rollout) == "pending"


def test_a_session_is_the_browsers_alone(fleet: Fleet) -> None:
    browser = Browser(fleet, None)
    _, actor = person(Role.OPERATOR, "ada")
    issued, _ = tokens.issue_token(ROOT, account_id=actor.id or 0, name="mine", expires_days=1)
    page = browser.get("/sign-in", base_url="https://localhost")
    form = {"token": issued.text, "csrf_token": FORGERY.search(page.text)[1]}  # type: ignore[index]
    answer = browser.client.post("/sign-in", data=form, base_url="https://localhost")
    cookie = next(c for c in answer.headers.getlist("Set-Cookie") if "headway_session" in c)
    for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert word in cookie
    assert (issued.text or "") not in cookie
    assert "Secure" in page.headers["Set-Cookie"]


@pytest.mark.parametrize(("keep", "status"), [({"keep_tokens": "1"}, 200), ({}, 401)])
def test_signing_out_everywhere_ends_all_browsers_and_tokens_unless_kept(
    fleet: Fleet, keep: dict[str, str], status: int
) -> None:
    here = Browser(fleet)
    there = Browser(fleet, None)
    assert there.post("/sign-in", token=here.token).status_code == 302
    assert there.get("/").status_code == 200
    here.post("/sign-out", at="/", everywhere="1", **keep)
    assert "You are signed out, here and in 1 other browser." in here.get("/sign-in").text
    assert here.get("/").status_code == 302
    assert there.get("/").status_code == 302
    me = here.client.get("/api/v1/me", headers={"Authorization": f"Bearer {here.token}"})
    assert me.status_code == status


def test_who_comes_in_by_a_one_time_token_is_told_that_it_is_spent(fleet: Fleet) -> None:
    account, _ = person(Role.VIEWER, "grace")
    text = invitations.invite(ROOT, account.id).text
    stranger = Browser(fleet, None)
    assert stranger.post("/sign-in", token=text).status_code == 302
    assert "You signed in with a one-time token." in stranger.get("/").text
    assert "You signed in with a one-time token." not in stranger.get("/").text
    assert stranger.post("/sign-in", token="").status_code == 401


@pytest.mark.parametrize("following", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_link_to_the_sign_in_leads_nowhere_else(fleet: Fleet, following: str) -> None:
    browser = Browser(fleet)
    stranger = Browser(fleet, None)
    answer = stranger.post(f"/sign-in?next={following}", token=browser.token)
    assert answer.location == "/"


def test_a_wrong_token_is_told_and_slowed_down(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(5, timedelta(minutes=1)))
    browser = Browser(fleet, None)
    for _ in range(limits.NETWORK.free):
        answer = browser.post("/sign-in", token="hw_abcdef_" + "x" * 43)
        assert answer.status_code == 401
        assert "unknown, expired" in answer.text
    assert browser.post("/sign-in", token="no").status_code == 429
    right = Browser(fleet).token
    assert browser.post("/sign-in", token=right).status_code == 302, "one that is right is let in"


def test_a_one_time_token_signs_in_once(fleet: Fleet) -> None:
    with db.engine.begin() as connection:  # the one that the boot printed
        long_ago = datetime.now(UTC) - timedelta(days=2)
        connection.execute(sa.update(Token).values(expires_at=long_ago))
    text = invitations.invite_first_admin()
    assert text
    browser = Browser(fleet, None)
    assert browser.post("/sign-in", token=text).status_code == 302
    assert "admin" in browser.get("/").text
    assert Browser(fleet, None).post("/sign-in", token=text).status_code == 401


def test_what_a_database_says_is_text(fleet: Fleet) -> None:
    fleet.add("<b>bold<b>", notes="<script>alert(1)</script>")
    browser = Browser(fleet)
    for path in ("/databases/", "/databases/1"):
        page = browser.get(path).text
        assert "<b>bold" not in page
        assert "<script>" not in page


def test_no_page_needs_another_server_or_holds_a_script(fleet: Fleet) -> None:
    fleet.add("one")
    fleet.rollout()
    browser = Browser(fleet)
    for path in (*PAGES, "/rollouts/1/start"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text), path
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
        assert set(scripts) <= {(' src="/assets/headway.js" defer', "")}, path
        assert " style=" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert len(answer.data) < 100_000


def test_the_help_is_inside_the_navigation(fleet: Fleet) -> None:
    reader = Browser(fleet, Role.VIEWER)
    on_duty = reader.get("/help/").text
    assert "<h1>On duty</h1>" in on_duty
    assert 'href="/help/problems/database-torn"' in on_duty
    assert "(`docs/rollouts.md`)" not in on_duty, "a name of a file is code"
    assert "<code>docs/rollouts.md</code>" in on_duty
    problems = reader.get("/help/problems").text
    assert 'href="/help/problems/migration-failed"' in problems
    page = reader.get("/help/problems/migration-failed").text
    assert 'aria-label="Pages"' in page
    assert 'href="/help/problems' in page
    assert "<table>" in reader.get("/help/glossary").text
    for missing in ("/help/problems/index", "/help/problems/no-such", "/help/settings"):
        assert reader.get(missing).status_code == 404


def test_an_address_that_no_page_has_keeps_the_navigation(fleet: Fleet) -> None:
    reader = Browser(fleet, Role.VIEWER, "lost")
    answer = reader.get("/no-such-page")
    assert answer.status_code == 404
    assert 'aria-label="Pages"' in answer.text
    assert "Page not found" in answer.text
    stranger = Browser(fleet, None)
    answer = stranger.get("/no-such-page")
    assert answer.status_code == 404
    assert 'aria-label="Pages"' not in answer.text
