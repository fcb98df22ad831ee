"""Signing in by a provider, whose account it is, and all that must not let anybody in."""

import http.client
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy.engine import URL
from werkzeug.test import TestResponse

from app import create_app
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import limits, oidc
from app.fleet.core import audit, places
from app.models import Account, Event, Role, SignInLimit, Token
from app.web.oidc import CLIENT as OURS
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT
from tests.servers import free_port
from tests.web.browser import Browser
from tests.web.providers import ADA, CLIENT, SECRET, Provider, providing


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture(scope="module")
def booted(template: Any, running: Provider) -> Iterator[Flask]:
    settings = {
        "oidc_issuer": running.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
    }
    with template("sqlite").copy() as url:
        app = create_app(settings_for(url, **settings))
        with app.app_context():
            yield app
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def app(booted: Flask) -> Flask:
    """With no account but a nameless admin's."""
    client = booted.extensions[OURS]
    client.server_metadata.clear()
    for model in (Token, Account, SignInLimit):
        db.session.execute(sa.delete(model))
    db.session.commit()
    return booted


@pytest.fixture
def provider(running: Provider) -> Provider:
    """As it was when it began."""
    fresh = Provider()
    running.__dict__.update(fresh.__dict__ | {"issuer": running.issuer})
    return running


def account(email: str | None = "ada@example.org", role: Role = Role.OPERATOR) -> Account:
    return accounts.create_account(ROOT, {"name": "Ada", "email": email, "role": role})[0]


def send(url: str) -> str:
    """The person's browser at the provider: where it is sent."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    assert answer.status == 302
    connection.close()
    return answer.headers["Location"]


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def sign_in(browser: Browser, at: str = "/sign-in/oidc") -> TestResponse:
    """All the way: to the provider, and back."""
    begun = browser.get(at)
    assert begun.status_code == 302, begun.text
    return browser.get(path_of(send(begun.location)))


def browser_of(app: Flask) -> Browser:
    class Here:
        def __init__(self) -> None:
            self.app = app

    return Browser(Here(), None)  # type: ignore[arg-type]


def test_who_the_provider_vouches_for_is_in(app: Flask, provider: Provider) -> None:
    ada, browser = account(), browser_of(app)
    page = browser.get("/sign-in?next=/rollouts/").text
    assert "Sign in with 127.0.0.1" in page
    assert "/sign-in/oidc?next=/rollouts/" in page
    answer = sign_in(browser, "/sign-in/oidc?next=/rollouts/")
    assert (answer.status_code, answer.location) == (302, "/rollouts/")
    assert "Ada <small>operator</small>" in browser.get("/").text
    (asked,) = provider.asked
    assert asked["redirect_uri"] == "http://localhost/sign-in/oidc/back"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) >= 16
    assert len(asked["nonce"]) >= 16
    assert provider.proved == 1
    db.session.expire_all()
    kept = accounts.get_account(ROOT, ada.id)
    assert (kept.oidc_issuer, kept.oidc_subject) == (provider.issuer, "ada-1")
    tied, _ = audit.list_events(ROOT, limit=10, action="account.provider_tied")
    assert tied[0].detail == {"issuer": provider.issuer, "who": "ada-1"}


def test_from_the_first_time_on_the_subject_counts_and_not_the_address(
    app: Flask, provider: Provider
) -> None:
    ada = account()
    sign_in(browser_of(app))
    other = account("moved@example.org", Role.ADMIN)
    provider.person = ADA | {"email": "moved@example.org"}
    browser = browser_of(app)
    assert sign_in(browser).status_code == 302
    assert "Ada <small>operator</small>" in browser.get("/").text, other.id
    provider.person = ADA | {"email": None, "email_verified": None}
    assert sign_in(browser_of(app)).status_code == 302
    provider.person = ADA | {"sub": "ada-2"}
    refused = sign_in(browser_of(app))
    assert "linked to another person" in refused.text
    oidc.forget(ROOT, ada.id)
    assert sign_in(browser_of(app)).status_code == 302


@pytest.mark.parametrize(
    ("person", "says"),
    [
        ({"email": "nobody@example.org"}, "No account has the address nobody@example.org"),
        ({"email_verified": False}, "no verified e-mail address"),
        ({"email_verified": None}, "no verified e-mail address"),
        ({"email_verified": "true"}, "no verified e-mail address"),
        ({"email_verified": 1}, "no verified e-mail address"),
        ({"email_verified": [True]}, "no verified e-mail address"),
        ({"email": ["ada@example.org"]}, "no verified e-mail address"),
        ({"sub": ""}, "no subject"),
        ({"sub": "x" * 256}, "no subject"),
        ({"email": None}, "no verified e-mail address"),
        ({"email": ""}, "no verified e-mail address"),
    ],
)
def test_nobody_gets_an_account_by_signing_in(
    app: Flask, provider: Provider, person: dict[str, Any], says: str
) -> None:
    account()
    account(None)
    provider.person = {n: v for n, v in (ADA | person).items() if v is not None}
    browser = browser_of(app)
    answer = sign_in(browser)
    assert answer.status_code == 401
    assert says in answer.text
    assert browser.get("/").status_code == 302
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Account)) == 2


def test_a_disabled_account_stays_out(app: Flask, provider: Provider) -> None:
    accounts.change_account(ROOT, account().id, {"disabled": True}, version=None)
    assert "Your account is disabled" in sign_in(browser_of(app)).text


def test_an_address_that_only_the_userinfo_tells_is_asked_for(
    app: Flask, provider: Provider
) -> None:
    account()
    provider.told_by_userinfo = ADA
    browser = browser_of(app)
    assert sign_in(browser).status_code == 302
    db.session.execute(sa.update(Account).values(oidc_subject=None, oidc_issuer=None))
    db.session.commit()
    provider.told_by_userinfo = ADA | {"sub": "somebody else"}
    assert sign_in(browser_of(app)).status_code == 401


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"sub": 7},
    ],
    ids=lambda lie: "-".join(f"{name}-{value}" for name, value in lie.items()),
)
def test_a_token_that_claims_something_else_lets_nobody_in(
    app: Flask, provider: Provider, lie: dict[str, Any]
) -> None:
    account()
    provider.lies = lie
    _refused(app)


def _refused(app: Flask) -> None:
    browser = browser_of(app)
    answer = sign_in(browser)
    assert answer.status_code == 401, answer.text
    assert "Sign in again" in answer.text
    assert browser.get("/").status_code == 302
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Token)) == 0


def test_a_token_that_others_have_signed_lets_nobody_in(app: Flask, provider: Provider) -> None:
    account()
    secret = OctKey.import_key(SECRET.ljust(32, "x"))
    for key in (RSAKey.generate_key(2048, {"kid": "first"}), secret, "none"):
        provider.signed_with = key
        _refused(app)


def test_a_provider_may_change_its_key(app: Flask, provider: Provider) -> None:
    account()
    assert sign_in(browser_of(app)).status_code == 302
    provider.key = RSAKey.generate_key(2048, {"kid": "second"})
    assert sign_in(browser_of(app)).status_code == 302


def test_an_answer_is_good_once_and_in_the_browser_that_asked(
    app: Flask, provider: Provider
) -> None:
    account()
    browser, other = browser_of(app), browser_of(app)
    back = path_of(send(browser.get("/sign-in/oidc").location))
    stolen = other.get(back)
    assert stolen.status_code == 401, "that would sign somebody in as another"
    assert provider.proved == 0
    assert browser.get(back.replace("state=", "state=x")).status_code == 401
    assert browser.get(back).status_code == 302
    assert browser.get(back).status_code == 401
    assert browser.get("/sign-in/oidc/back").status_code == 401


def test_what_belongs_to_a_sign_in_cannot_be_read_in_the_browser(
    app: Flask, provider: Provider
) -> None:
    account()
    browser = browser_of(app)
    begun = browser.get("/sign-in/oidc")
    send(begun.location)
    (asked,) = provider.asked
    kept = browser.client.get_cookie("session")
    assert kept
    interface = app.session_interface
    read = interface.get_signing_serializer(app).loads(kept.value)  # type: ignore[attr-defined]
    (state,) = [value for name, value in read.items() if name.startswith("_state_oidc_")]
    assert isinstance(state["data"], str)
    assert asked["nonce"] not in str(read)
    assert "code_verifier" not in str(read)


def test_a_refused_sign_in_is_in_the_trail(app: Flask, provider: Provider) -> None:
    ada = account()
    accounts.change_account(ROOT, ada.id, {"disabled": True}, version=None)
    last = db.session.scalar(sa.select(sa.func.max(Event.id)))
    sign_in(browser_of(app))
    provider.lies = {"aud": "another"}
    sign_in(browser_of(app))
    told, _ = audit.list_events(ROOT, limit=2, action="account.sign_in_refused")
    found = [(e.subject_id, e.detail) for e in reversed(told) if e.id > (last or 0)]
    assert found == [(ada.id, {"by": "provider"}), (None, {"by": "provider"})]


def test_who_guesses_at_the_way_back_has_to_wait(
    app: Flask, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(2, timedelta(minutes=1)))
    account()
    browser = browser_of(app)
    statuses = [browser.get("/sign-in/oidc/back?state=x&code=y").status_code for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert sign_in(browser).status_code == 302, "whom the provider vouches for is in"


def test_the_provider_sends_people_to_the_public_url(
    template_copy: URL, provider: Provider
) -> None:
    settings = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "public_url": "https://headway.example.org",
    }
    app = create_app(settings_for(template_copy, **settings))
    ask = app.test_client().get
    begun = ask("/sign-in/oidc", headers={"Host": "headway.example.org"})
    send(begun.location)
    assert provider.asked[0]["redirect_uri"] == "https://headway.example.org/sign-in/oidc/back"
    assert ask("/sign-in/oidc", headers={"Host": "evil.example"}).status_code == 421


def test_a_refusal_of_the_provider_is_told(app: Flask, provider: Provider) -> None:
    account()
    provider.refuses = "access_denied"
    _refused(app)


def test_where_somebody_goes_afterwards_is_here(app: Flask, provider: Provider) -> None:
    account()
    answer = sign_in(browser_of(app), "/sign-in/oidc?next=//evil.example")
    assert answer.location == "/"


def test_a_provider_that_is_away_or_another_is_told(app: Flask, provider: Provider) -> None:
    browser = browser_of(app)
    with places.PROVIDER.take(), places.PROVIDER.take():
        busy = browser.get("/sign-in/oidc")
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert "Others are signing in with the provider. Try again" in busy.text
    assert provider.asked == []
    provider.says = {"issuer": "https://evil.example"}
    answer = browser.get("/sign-in/oidc")
    assert answer.status_code == 503
    assert "Try again in a moment" in answer.text
    client = app.extensions[OURS]
    real = client._server_metadata_url
    client.server_metadata.clear()
    client._server_metadata_url = f"http://127.0.0.1:{free_port()}/nothing"
    try:
        assert browser.get("/sign-in/oidc").status_code == 503
    finally:
        client._server_metadata_url = real


def test_no_secret_of_a_sign_in_is_logged(
    app: Flask, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    account()
    with caplog.at_level("DEBUG"):
        sign_in(browser_of(app))
    (asked,) = provider.asked
    said = caplog.text
    for secret in (SECRET, asked["state"], asked["nonce"], "opaque", "code="):
        assert secret not in said


def test_without_a_provider_there_is_no_such_door(template_copy: URL) -> None:
    client = create_app(settings_for(template_copy)).test_client()
    assert "sign-in/oidc" not in client.get("/sign-in").text
    for path in ("/sign-in/oidc", "/sign-in/oidc/back"):
        assert client.get(path).status_code == 404
