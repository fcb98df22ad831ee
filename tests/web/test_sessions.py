"""Sessions and tokens: what each is good for, for how long, and what they alone do not allow."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy.engine import URL
from werkzeug.test import TestResponse

from app import create_app
from app.errors import ConfirmationNeeded, InputInvalid, RoleInsufficient, TokenRefused
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import invitations, oidc, passwords, sessions, tokens
from app.fleet.core.permissions import PROOF_LASTS, Actor
from app.fleet.core.transactions import writing
from app.models import Approval, Role, Scope, Token, TokenKind
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT, person
from tests.fleet.fleets import Fleet
from tests.web.browser import FORGERY, Browser, forget
from tests.web.test_people import RIGHT, TEXT, Here, somebody

SESSIONS = (TokenKind.SESSION,)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(time_cost=1, memory_cost=64))
    passwords._dummy_hash.cache_clear()


def bearer(fleet: Fleet, text: str, path: str = "/api/v1/me", **more: object) -> TestResponse:
    forget()
    headers = {"Authorization": f"Bearer {text}"}
    method = "POST" if more else "GET"
    return fleet.app.test_client().open(path, method=method, headers=headers, **more)  # type: ignore[arg-type]


def issue(account_id: int, **more: object) -> str:
    given = {"name": "t", "expires_days": 1, **more}
    issued, _ = tokens.issue_token(ROOT, account_id=account_id, **given)  # type: ignore[arg-type]
    return issued.text or ""


def cookie_of(browser: Browser) -> str:
    cookie = browser.client.get_cookie("headway_session")
    assert cookie
    return str(cookie.value)


def used_by(text: str, kinds: tuple[TokenKind, ...] = (TokenKind.API,)) -> Actor:
    return tokens.authenticate(text, request_id=None, ip=None, kinds=kinds)[0]


def long_ago(account_id: int | None, **columns: timedelta) -> None:
    """So long ago it was for all tokens of the account."""
    past = {name: datetime.now(UTC) - by for name, by in columns.items()}
    db.session.execute(sa.update(Token).where(Token.account_id == account_id).values(past))
    db.session.commit()


STALE = {"proven_at": PROOF_LASTS}


# --- kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine", "browser", "invitation", "sign-in"])
def test_each_kind_of_token_is_good_for_one_thing_whatever_its_name(
    fleet: Fleet, name: str
) -> None:
    browser = Browser(fleet, name=f"kinds-{name}")
    key = int(browser.actor.id or 0)
    texts = {
        TokenKind.SESSION: cookie_of(browser),
        TokenKind.API: issue(key, name=name),
        TokenKind.INVITATION: invitations.invite(ROOT, key).text or "",
    }
    for kind, text in texts.items():
        assert bearer(fleet, text).status_code == (200 if kind is TokenKind.API else 401), kind
        visitor = Browser(fleet, None)
        visitor.client.set_cookie("headway_session", text)
        assert visitor.get("/").status_code == (200 if kind is TokenKind.SESSION else 302), kind
        status = Browser(fleet, None).post("/sign-in", token=text).status_code
        assert status == (401 if kind is TokenKind.SESSION else 302), kind
    actor = used_by(texts[TokenKind.SESSION], SESSIONS)
    sessions.end(actor, keep_tokens=True)
    assert bearer(fleet, texts[TokenKind.API]).status_code == 200, "told by its kind, not its name"


def test_a_session_that_nobody_uses_ends(fleet: Fleet) -> None:
    browser = Browser(fleet, name="idle")
    long_ago(browser.actor.id, last_used_at=tokens.IDLE - timedelta(minutes=1))
    assert browser.get("/").status_code == 200
    long_ago(browser.actor.id, last_used_at=tokens.IDLE)
    assert bearer(fleet, browser.token).status_code == 200, "a program may come once a month"
    live, _ = tokens.list_tokens(ROOT, limit=9, account_id=browser.actor.id, live=True)
    assert [token.kind for token in live] == ["api"]
    assert browser.get("/").status_code == 302


# --- scopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("scope", [None, *Scope])
def test_a_scope_only_ever_narrows(fleet: Fleet, role: Role, scope: Scope | None) -> None:
    account, _ = person(role, f"{role}-{scope}")
    text = issue(account.id, scope=scope)
    most = {None: Role.ADMIN, Scope.READ: Role.VIEWER, Scope.OPERATE: Role.OPERATOR}[scope]
    expected = min(role, most, key=list(Role).index)
    actor = used_by(text)
    assert actor.role is expected
    browser = Browser(fleet, None)
    browser.post("/sign-in", token=text)
    assert used_by(cookie_of(browser), SESSIONS).role is expected, "nor by way of the pages"
    if scope:
        made = bearer(fleet, text, "/api/v1/tokens", json={"name": "wider"})
        assert made.status_code == 403
        with pytest.raises(RoleInsufficient):
            tokens.revoke_token(actor, 1)
        tokens.revoke_token(actor, actor.token.id if actor.token else 0)


def test_a_scope_is_chosen_by_all_faces(fleet: Fleet) -> None:
    browser = Browser(fleet, Role.ADMIN, "chooser")
    page = browser.post("/tokens/", name="reader", scope="read").text
    text = TEXT.search(page)
    assert text
    assert used_by(text[0]).role is Role.VIEWER
    assert "reader, read only" in browser.get("/tokens/").text
    assert browser.post("/tokens/", name="x", scope="all").status_code == 422
    body = {"name": "x", "scope": "operate"}
    made = bearer(fleet, browser.token, "/api/v1/tokens", json=body).get_json()
    assert (made["kind"], made["scope"]) == ("api", "operate")
    assert used_by(made["token"]).role is Role.OPERATOR
    command = ["tokens", "create", "--account", str(browser.actor.id), "--name", "x", "--scope"]
    done = fleet.app.test_cli_runner().invoke(args=[*command, "read"])
    assert used_by(done.stdout.strip()).role is Role.VIEWER
    assert fleet.app.test_cli_runner().invoke(args=[*command, "all"]).exit_code == 2


# --- what a session or a token alone does not allow -------------------------------------------------


def test_a_thief_of_a_session_or_token_gets_no_lasting_one(fleet: Fleet) -> None:
    account = somebody("victim", Role.ADMIN)
    victim = Browser(fleet, None)
    victim.post("/sign-in", email="victim@example.org", password=RIGHT)
    text = issue(account.id)
    long_ago(account.id, **STALE)
    thief = Browser(fleet, None)
    thief.post("/sign-in", token=text)
    other, _ = person(Role.VIEWER, "other-victim")
    for browser in (victim, thief):
        for path, form in {
            "/tokens/": {"name": "lasting"},
            f"/accounts/{other.id}/invite": {},
            f"/accounts/{account.id}": {
                "name": "victim",
                "email": "thief@example.org",
                "version": account.version,
            },
        }.items():
            page = browser.get(path).text
            assert "to confirm" in page, path
            answer = browser.post(path, **form)
            assert answer.status_code == 403, path
            assert "This needs your password" in answer.text
    body = {"name": "lasting"}
    refused = bearer(fleet, text, "/api/v1/tokens", json=body)
    assert (refused.status_code, refused.get_json()["type"]) == (
        403,
        "/problems/confirmation-needed",
    )
    wrong = bearer(fleet, text, "/api/v1/tokens", json=body | {"password": "wrong"})
    assert (wrong.status_code, wrong.get_json()["type"]) == (403, "/problems/password-refused")
    actor, new = used_by(text), {"email": "thief@example.org"}
    with pytest.raises(ConfirmationNeeded):
        accounts.change_account(actor, account.id, new, version=None)
    named = sa.select(sa.func.count()).select_from(Token).where(Token.name == "lasting")
    assert db.session.scalar(named) == 0
    made = bearer(fleet, text, "/api/v1/tokens", json=body | {"password": RIGHT})
    assert made.status_code == 201
    assert victim.post("/tokens/", name="lasting", proof="wrong").status_code == 403
    assert victim.post("/tokens/", name="lasting", proof=RIGHT).status_code == 201
    assert "to confirm" not in victim.get("/tokens/").text, "asked once"


def test_the_token_of_a_token_is_no_newer_proof(fleet: Fleet) -> None:
    account, _ = person(Role.VIEWER, "chain")
    first = issue(account.id)
    long_ago(account.id, proven_at=PROOF_LASTS - timedelta(minutes=1))
    made = bearer(fleet, first, "/api/v1/tokens", json={"name": "next"}).get_json()
    first_proven, next_proven = (
        actor.token.proven_at for actor in map(used_by, (first, made["token"])) if actor.token
    )
    assert first_proven == next_proven
    _, admin = person(Role.ADMIN, "chain-admin")
    theirs, _ = tokens.issue_token(admin, account_id=account.id, name="t", expires_days=1)
    assert theirs.token.proven_at is None, "an admin does not prove who somebody else is"


def test_a_first_password_needs_a_fresh_sign_in(fleet: Fleet) -> None:
    account = somebody("fresh", password=None)
    browser = Browser(fleet, None)
    browser.post("/sign-in", token=issue(account.id))
    long_ago(account.id, **STALE)
    form = {"new": RIGHT, "again": RIGHT}
    assert "sign out and sign in again" in browser.get("/tokens/").text
    assert browser.post("/tokens/password", at="/tokens/", **form).status_code == 403
    browser = Browser(fleet, None)
    browser.post("/sign-in", token=invitations.invite(ROOT, account.id).text)
    assert browser.post("/tokens/password", at="/tokens/", **form).status_code == 302


def test_a_drop_and_an_undo_of_what_was_approved_ask_too(fleet: Fleet) -> None:
    member = fleet.add("precious")
    rollout = fleet.start()
    fleet.drain()
    assert fleet.at(member) == "r003"
    browser = Browser(fleet, Role.ADMIN, "dropper")
    long_ago(browser.actor.id, **STALE)
    dropped, undone = f"/databases/{member.id}/drop?sure=1", f"/rollouts/{rollout.id}/undo"
    assert "to confirm" not in browser.get(undone).text
    with writing() as session:
        session.add(Approval(rollout_id=rollout.id, wave=1, account_id=1, account_name="x"))
    for path in (dropped, undone):
        assert "to confirm" in browser.get(path).text
        answer = browser.post(path, confirm="precious")
        assert answer.status_code == 403, path
        assert "This needs your password" in answer.text
    fleet.drain()
    assert fleet.at(member) == "r003"
    long_ago(browser.actor.id, proven_at=timedelta())
    assert browser.post(undone, confirm=str(rollout.id)).status_code == 302
    fleet.drain()
    assert fleet.at(member) == "r001"
    assert browser.post(dropped, confirm="precious").status_code == 302


# --- what ends them -------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [{}, {"keep_tokens": "1"}], ids=["", "kept"])
@pytest.mark.parametrize("way", ["own", "admin", "command"])
def test_a_new_password_ends_tokens_unless_they_are_kept(
    fleet: Fleet, way: str, keep: dict[str, str]
) -> None:
    account = somebody(f"thief-{way}-{bool(keep)}")
    text, new = issue(account.id), "another horse entirely"
    if way == "own":
        browser = Browser(fleet, None)
        browser.post("/sign-in", email=account.email, password=RIGHT)
        form = {"old": RIGHT, "new": new, "again": new, **keep}
        browser.post("/tokens/password", at="/tokens/", **form)
        assert browser.get("/").status_code == 200
    elif way == "admin":
        passwords.set_password(ROOT, account.id, new, keep_tokens=bool(keep))
    else:
        command = ["accounts", "password", str(account.id), *(["--keep-tokens"] if keep else [])]
        fleet.app.test_cli_runner().invoke(args=command, input=f"{new}\n")
    assert bearer(fleet, text).status_code == (200 if keep else 401)


def test_the_longest_life_of_a_token_is_a_setting(template_copy: URL) -> None:
    app = create_app(settings_for(template_copy, token_days=7))
    with app.app_context():
        account, _ = person(Role.OPERATOR, "short")
        for days in (None, 8, 3650):
            with pytest.raises(InputInvalid, match="at most 7 days"):
                issue(account.id, expires_days=days)
        browser = Browser(Here(app), Role.OPERATOR)  # type: ignore[arg-type]
        assert re.findall(
            r'<option value="(\w*)"[^>]*>[^<]*days', browser.get("/tokens/").text
        ) == ["7"]
        assert browser.post("/tokens/", name="x", days="30").status_code == 422
        assert browser.post("/tokens/", name="x").status_code == 201
        text = issue(account.id, expires_days=7)
        made = bearer(Here(app), text, "/api/v1/tokens", json={"name": "usual"}).get_json()  # type: ignore[arg-type]
        left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=6) < left <= timedelta(days=7)
        invited = invitations.invite(ROOT, account.id).text or ""
        signed_in = invitations.sign_in(invited, request_id=None, ip=None)
        assert (signed_in.token.expires_at or datetime.now(UTC)) - datetime.now(UTC) <= timedelta(7)
        db.engine.dispose()


@pytest.mark.parametrize("how", ["password", "token", "invitation", "provider"])
def test_the_token_of_the_first_start_ends_when_an_admin_has_another_way(
    template_copy: URL, how: str
) -> None:
    app = create_app(settings_for(template_copy))  # invites
    with app.app_context():
        printed = sa.select(Token.revoked_at).where(Token.prefix == tokens.FIRST)
        viewer = somebody("nobody-special")
        passwords.sign_in("nobody-special@example.org", RIGHT, request_id=None, ip=None)
        issue(viewer.id)
        assert db.session.scalar(printed) is None
        admin = somebody("admin", Role.ADMIN)
        issue(admin.id, scope=Scope.READ)
        assert db.session.scalar(printed) is None
        whence = {"request_id": None, "ip": None}
        claims = {"sub": "a", "email": "admin@example.org", "email_verified": True}
        {
            "password": lambda: passwords.sign_in("admin@example.org", RIGHT, **whence),
            "token": lambda: issue(admin.id),
            "invitation": lambda: invitations.sign_in(
                invitations.invite(ROOT, admin.id).text or "", **whence
            ),
            "provider": lambda: oidc.sign_in("https://id.example.org", claims, **whence),
        }[how]()
        assert db.session.scalar(printed)
        assert invitations.invite_first_admin() is None
        db.engine.dispose()


# --- whose account it is --------------------------------------------------------------------------

ISSUER = "https://id.example.org"


def by_provider(subject: str, email: str) -> tokens.Issued:
    claims = {"sub": subject, "email": email, "email_verified": True}
    return oidc.sign_in(ISSUER, claims, request_id=None, ip=None)


@pytest.mark.parametrize(
    ("change", "unties"),
    [
        ({"role": Role.ADMIN}, True),
        ({"email": "moved@example.org"}, True),
        ({"role": Role.VIEWER}, False),
        ({"name": "Other"}, False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_higher_role_or_another_address_unties_the_provider(
    template_copy: URL, change: dict[str, str], unties: bool
) -> None:
    app = create_app(settings_for(template_copy))
    with app.app_context():
        account = somebody("tied", Role.OPERATOR)
        session = by_provider("mallory", "tied@example.org").text or ""
        accounts.change_account(ROOT, account.id, change, version=None)
        db.session.expire_all()
        kept = accounts.get_account(ROOT, account.id)
        assert (kept.oidc_subject is None) is unties
        if unties:
            with pytest.raises(TokenRefused):
                used_by(session, SESSIONS)
        else:
            used_by(session, SESSIONS)
        db.engine.dispose()


# --- forms and hosts ------------------------------------------------------------------------------


def test_a_form_is_of_one_session_whatever_cookies_are_slipped_in(fleet: Fleet) -> None:
    victim, attacker = Browser(fleet, name="csrf-victim"), Browser(fleet, name="csrf-attacker")
    stranger = Browser(fleet, None)
    for other, page in ((attacker, "/tokens/"), (stranger, "/sign-in")):
        token = FORGERY.search(other.get(page).text)
        slipped = other.client.get_cookie("session")
        assert token
        assert slipped
        victim.client.set_cookie("session", slipped.value)
        forget()
        form = {"csrf_token": token[1], "name": "stolen"}
        assert victim.client.post("/tokens/", data=form).status_code == 400
    assert victim.post("/tokens/", name="mine").status_code == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 201),
        ({"Origin": "http://localhost"}, 201),
        ({"Origin": "null"}, 201),  # what browsers say that send no referrer
        ({"Sec-Fetch-Site": "cross-site"}, 400),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 400),
        ({"Origin": "https://evil.example"}, 400),
        ({"Origin": "http://localhost.evil.example"}, 400),
        ({"Origin": "http://localhost:81"}, 400),
    ],
    ids=str,
)
def test_a_form_is_sent_by_a_page_of_ours(
    fleet: Fleet, headers: dict[str, str], status: int
) -> None:
    browser = Browser(fleet, name="sites")
    token = FORGERY.search(browser.get("/tokens/").text)
    assert token
    forget()
    form = {"csrf_token": token[1], "name": "mine"}
    assert browser.client.post("/tokens/", data=form, headers=headers).status_code == status


@pytest.fixture
def public(template_copy: URL) -> Callable[..., TestResponse]:
    """The service at https://headway.example.org, reached by plain HTTP behind a proxy."""
    app = create_app(settings_for(template_copy, public_url="https://headway.example.org"))

    def ask(path: str, host: str = "headway.example.org") -> TestResponse:
        return app.test_client().get(path, headers={"Host": host})

    return ask


def test_a_public_url_makes_cookies_secure_behind_a_proxy(
    public: Callable[..., TestResponse],
) -> None:
    answer = public("/sign-in")
    assert answer.status_code == 200
    assert "Strict-Transport-Security" in answer.headers
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("host", ["evil.example", "headway.example.org:8000", "10.0.0.7"])
def test_pages_answer_under_the_public_name_alone(
    public: Callable[..., TestResponse], host: str
) -> None:
    for path in ("/sign-in", "/", "/tokens/"):
        answer = public(path, host)
        assert answer.status_code == 421
        assert "Set-Cookie" not in answer.headers
        assert "https://headway.example.org" in answer.text
    assert public("/healthz", host).status_code == 200, "probes use an address"
    assert public("/api/v1/openapi.json", host).status_code == 200, "a token is no cookie"
