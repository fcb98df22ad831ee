"""Who may not, against every page and every form: nobody is let in, and nothing is changed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.fleet import accounts
from app.fleet.accounts import invitations
from headway.pytest_plugin import DatabaseTemplate
from tests.fleet.fleets import ROOT, fleet_on
from tests.web import walking
from tests.web.furnished import SECRET, Furnished, furnish, rows
from tests.web.walking import Form, Visitor

OPEN = {"web.access.sign_in", "web.oidc.begin", "web.oidc.back"}
"""Pages for those who have no session yet: no link leads there from within."""
OWN = ("/sign-in", "/sign-out", "/tokens")
"""What everybody may do: come, go, and see to their own tokens and password."""
DRAWN = {"web.rollout_new.waves"}
"""What a form asks while it is filled in: sent by the script of a page, and by no form."""
STREAMS = {"web.live.events"}
"""What never ends is no page."""
VOLATILE = frozenset({"tokens.last_used_at"})
"""What looking at a page changes."""


@pytest.fixture(scope="module")
def furnished(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Furnished]:
    folder = tmp_path_factory.mktemp("fleet")
    with template("sqlite").copy() as url, fleet_on(url, folder) as fleet:
        yield furnish(fleet)


@pytest.fixture
def visitor(furnished: Furnished) -> Callable[[str], Visitor]:
    """Somebody with this role, at a browser."""
    return lambda role: Visitor(furnished.app, furnished.tokens[role])


@pytest.fixture(scope="module")
def pages(furnished: Furnished) -> dict[str, str]:
    """All that an admin finds."""
    return walking.walk(Visitor(furnished.app, furnished.tokens["admin"]))


@pytest.fixture(scope="module")
def changes(furnished: Furnished, pages: dict[str, str]) -> list[Form]:
    """The forms on them, each kind and button once."""
    return distinct(furnished, pages)


def distinct(furnished: Furnished, pages: dict[str, str]) -> list[Form]:
    found: dict[object, Form] = {}
    for path, text in pages.items():
        for form in walking.forms(path, text):
            names = tuple(name for name, _ in form.fields)
            kind = walking.kind_of(furnished.app, form.action, "POST")
            found.setdefault((kind, names, form.fields[-1]), form)
    return list(found.values())


@contextmanager
def nothing_changes() -> Iterator[None]:
    before = dict(rows(VOLATILE))
    yield
    after = dict(rows(VOLATILE))
    assert [name for name in before if before[name] != after[name]] == []


def test_links_lead_to_every_page(furnished: Furnished, pages: dict[str, str]) -> None:
    met = {walking.endpoint_of(furnished.app, path) for path in pages}
    assert walking.endpoints(furnished.app, "GET") - met - OPEN - STREAMS == set()


def test_every_address_that_changes_something_has_a_form(
    furnished: Furnished, changes: list[Form]
) -> None:
    met = {walking.endpoint_of(furnished.app, form.action, "POST") for form in changes}
    assert walking.endpoints(furnished.app, "POST") - met - OPEN - DRAWN == set()


def test_without_a_session_every_page_leads_to_the_sign_in(
    furnished: Furnished, pages: dict[str, str]
) -> None:
    stranger = Visitor(furnished.app)
    for path in [*pages, "/rollouts/1/events"]:
        answer = stranger.get(path)
        assert answer.status_code == 302, path
        assert answer.location.startswith("/sign-in?next=/"), path
        assert "<main" not in answer.text, path


def test_without_a_session_no_form_does_anything(furnished: Furnished, changes: list[Form]) -> None:
    stranger = Visitor(furnished.app)
    token = stranger.forgery("/sign-in")
    with nothing_changes():
        for form in changes:
            answer = stranger.send(form.action, form.data(token))
            assert answer.status_code == 302, form
            assert answer.location.startswith("/sign-in"), form


def test_a_viewer_sends_every_form_in_vain(
    visitor: Callable[[str], Visitor], changes: list[Form]
) -> None:
    viewer = visitor("viewer")
    token = viewer.forgery()
    theirs = [form for form in changes if not form.action.startswith(OWN)]
    assert len(theirs) > 10
    with nothing_changes():
        for form in theirs:
            answer = viewer.send(form.action, form.data(token, but=("back",)))
            assert answer.status_code == 403, (form, answer.text)


def test_an_operator_sends_the_forms_of_admins_in_vain(
    furnished: Furnished, visitor: Callable[[str], Visitor], changes: list[Form]
) -> None:
    def kind(form: Form) -> object:
        return walking.kind_of(furnished.app, form.action, "POST")

    operator = visitor("operator")
    theirs = {kind(form) for form in distinct(furnished, walking.walk(operator))}
    others = [form for form in changes if kind(form) not in theirs]
    assert len(others) > 5
    token = operator.forgery()
    with nothing_changes():
        for form in others:
            answer = operator.send(form.action, form.data(token, but=("back",)))
            assert answer.status_code == 403, (form, answer.text)


def test_nobody_is_shown_a_button_that_is_refused(
    furnished: Furnished, visitor: Callable[[str], Visitor]
) -> None:
    shown = distinct(furnished, walking.walk(visitor("viewer")))
    assert [form for form in shown if not form.action.startswith(OWN)] == []


def test_nobody_revokes_the_token_of_another(visitor: Callable[[str], Visitor]) -> None:
    admin = visitor("admin")
    theirs = [form.action for form in walking.forms("/tokens/", admin.get("/tokens/").text)]
    revoking = [action for action in theirs if action.endswith("/revoke")]
    assert revoking
    for role in ("viewer", "operator"):
        other = visitor(role)
        token = other.forgery()
        with nothing_changes():
            for action in revoking:
                assert other.send(action, {walking.FORGERY: token}).status_code == 404, action


def test_no_form_is_taken_without_its_token_or_with_that_of_another(
    visitor: Callable[[str], Visitor], changes: list[Form]
) -> None:
    admin, other = visitor("admin"), visitor("operator").forgery()
    with nothing_changes():
        for form in changes:
            for token in ("", "made up", other):
                answer = admin.send(form.action, form.data(token))
                assert answer.status_code == 400, (form, token)
                assert "Nothing was done" in answer.text


def test_a_session_that_was_ended_opens_nothing(
    visitor: Callable[[str], Visitor], pages: dict[str, str]
) -> None:
    admin = visitor("admin")
    kept = admin.session
    assert admin.send("/sign-out", {walking.FORGERY: admin.forgery()}).status_code == 302
    admin.client.set_cookie(walking.COOKIE, kept)
    for path in pages:
        assert admin.get(path).status_code == 302, path
    answer = admin.send("/sign-out", {walking.FORGERY: admin.forgery("/sign-in")})
    assert answer.location.startswith("/sign-in?")


def test_no_other_credential_opens_a_page(furnished: Furnished, pages: dict[str, str]) -> None:
    """A token of a program, an invitation, and what was never a session, as the cookie."""
    one, _ = accounts.create_account(ROOT, {"name": "invited", "role": "admin"})
    texts = [furnished.tokens["admin"], invitations.invite(ROOT, one.id).text or "", "x"]
    for text in texts:
        stranger = Visitor(furnished.app)
        stranger.client.set_cookie(walking.COOKIE, text)
        for path in pages:
            assert stranger.get(path).status_code == 302, (path, text[:8])
    for path in pages:
        stranger = Visitor(furnished.app)
        headers = {"Authorization": f"Bearer {texts[0]}"}
        walking.forget()
        assert stranger.client.get(path, headers=headers).status_code == 302, path


def test_no_secret_is_on_a_page_in_an_address_or_in_the_log(
    furnished: Furnished,
    visitor: Callable[[str], Visitor],
    pages: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    admin = visitor("admin")
    secrets = [SECRET, admin.session, *furnished.tokens.values()]
    for path in pages:
        answer = admin.get(path)
        assert not [secret for secret in secrets if secret in answer.text], path
        assert admin.forgery() not in str(walking.links(path, answer.text)), path
    said = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "'path': '/databases/'" in said, "requests are in the log, so this can fail"
    assert not [secret for secret in secrets if secret in said]


def test_every_button_works_for_an_admin_or_says_why_not(
    visitor: Callable[[str], Visitor], changes: list[Form]
) -> None:
    """Last, for it presses them all: what others were refused above would have been taken."""
    admin = visitor("admin")
    taken = []
    for form in changes:
        if form.action.startswith(OWN):
            continue
        answer = admin.send(form.action, form.data(admin.forgery(), but=("back",)))
        assert answer.status_code in (200, 302, 409, 422, 502, 503), (form, answer.text)
        taken += [form.action] if answer.status_code in (200, 302) else []
    assert len(taken) > 3
