"""Who comes in and how: passwords, invitations, one's tokens; accounts, the trail, the service."""

import contextlib
import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.errors import InputInvalid, PasswordRefused, RoleInsufficient, TokenRefused
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import invitations, limits, passwords, sessions, tokens
from app.fleet.core import audit
from app.models import Account, Boot, Role, Token, TokenKind
from tests.conftest import KEY, settings_for
from tests.fleet.conftest import ROOT, at_once, person
from tests.fleet.fleets import Fleet
from tests.releases import HEAD
from tests.web.browser import FORGERY, Browser, forget

SHIPPED = passwords.hasher
RIGHT = "correct horse battery staple"
TEXT = re.compile(r"hw_[a-z0-9]+_[A-Za-z0-9_-]{43}")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for hashes as slow as they should be."""
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(time_cost=1, memory_cost=64))
    passwords._dummy_hash.cache_clear()


def somebody(name: str, role: Role = Role.VIEWER, password: str | None = RIGHT) -> Account:
    made, _ = accounts.create_account(
        ROOT, {"name": name, "email": f"{name}@example.org", "role": role}
    )
    if password:
        passwords.set_password(ROOT, made.id, password)
    return made


def enter(email: str, password: str = RIGHT) -> tokens.Issued:
    return passwords.sign_in(email, password, request_id=None, ip=None)


def hash_of(account: Account) -> str | None:
    return db.session.scalar(sa.select(Account.password_hash).where(Account.id == account.id))


# --- passwords ----------------------------------------------------------------------------------


def test_a_password_signs_in_and_is_kept_by_argon2_only(fleet: Fleet) -> None:
    ada = somebody("ada", Role.OPERATOR)
    assert (hash_of(ada) or "").startswith("$argon2id$")
    browser = Browser(fleet, None)
    answer = browser.post("/sign-in?next=/rollouts/", email=" ADA@example.org ", password=RIGHT)
    assert (answer.status_code, answer.location) == (302, "/rollouts/")
    assert "ada, operator" in browser.get("/").text
    assert RIGHT not in str(audit.list_events(ROOT, limit=200)[0])


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("bob@example.org", "wrong horse battery staple"),
        ("bob@example.org", ""),
        ("nobody@example.org", RIGHT),
        ("", RIGHT),
        ("without@example.org", RIGHT),
        ("out@example.org", RIGHT),
        ("bob@example.org", RIGHT + "x" * 100_000),
        ("bob@example.org\x01", RIGHT),
    ],
)
def test_who_is_refused_is_told_the_same_whatever_is_wrong(
    fleet: Fleet, email: str, password: str
) -> None:
    if db.session.scalar(sa.select(Account.id).where(Account.name == "bob")) is None:
        somebody("bob")
        somebody("without", password=None)
        out = somebody("out")
        accounts.change_account(ROOT, out.id, {"disabled": True}, version=None)
    answer = Browser(fleet, None).post("/sign-in", email=email, password=password)
    assert answer.status_code == 401
    assert "The e-mail address or the password is wrong" in answer.text
    assert "headway_session" not in str(answer.headers)


@pytest.mark.parametrize("email", ["quick@example.org", "nobody@example.org", ""])
def test_who_is_not_there_takes_as_much_work_as_who_is(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    if email.startswith("quick"):
        somebody("quick")
    compared: list[str] = []
    real = passwords.hasher.verify

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            compared.append(str(hash))
            return real(hash, password)

    monkeypatch.setattr(passwords, "hasher", Counting(time_cost=1, memory_cost=64))
    with pytest.raises(PasswordRefused):
        enter(email, "wrong horse battery staple")
    assert len(compared) == 1
    assert "m=64,t=1" in compared[0]


def test_an_account_is_guessed_slowly_from_however_many_addresses(fleet: Fleet) -> None:
    somebody("target")
    statuses = []
    for number in range(limits.ACCOUNT.free + 1):
        browser = Browser(fleet, None)
        page = browser.get("/sign-in").text
        forget()
        form = {
            "csrf_token": FORGERY.search(page)[1],  # type: ignore[index]
            "email": "target@example.org",
            "password": "",
        }
        whence = {"REMOTE_ADDR": f"10.0.0.{number}"}
        answer = browser.client.post("/sign-in", data=form, environ_base=whence)
        statuses.append(answer.status_code)
    assert statuses == [401] * limits.ACCOUNT.free + [429]
    assert "Too many sign-ins were refused. Try again in" in answer.text
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_hash_of_yesterday_is_renewed_when_it_is_used(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = somebody("old")
    before, version = hash_of(old), old.version
    monkeypatch.setattr(passwords, "hasher", SHIPPED)
    enter("old@example.org")
    assert "m=64," in (before or "")
    assert "m=19456,t=2,p=1" in (hash_of(old) or ""), "as OWASP recommends"
    db.session.expire_all()
    assert accounts.get_account(ROOT, old.id).version == version, "nobody sees a difference"
    enter("old@example.org")


def test_a_password_is_the_same_however_a_keyboard_spells_it(fleet: Fleet) -> None:
    somebody("zoe", password="caf\u00e9 caf\u00e9 caf\u00e9")
    enter("zoe@example.org", "cafe\u0301 cafe\u0301 cafe\u0301")


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("short", "12 to 256 characters"),
        ("x" * 257, "12 to 256 characters"),
        ("aaaaaaaaaaaaaa", "easy to guess"),
        ("password1234", "easy to guess"),
        ("123456789012", "easy to guess"),
        ("qwertyuiop123", "easy to guess"),
        ("headwayheadway", "easy to guess"),
        ("abcdefghijklmnop", "easy to guess"),
        ("letmeinletmein", "easy to guess"),
        ("Summer2026Summer2026", "easy to guess"),
        ("picky12345678", "easy to guess"),
        ("Picky@example.org", "easy to guess"),
        ("half a surrogate \ud800", "control character"),
    ],
)
def test_a_password_that_is_none_is_refused(fleet: Fleet, new: str, says: str) -> None:
    picky = db.session.scalar(sa.select(Account).where(Account.name == "picky")) or somebody(
        "picky", password=None
    )
    with pytest.raises(InputInvalid, match=says):
        passwords.set_password(ROOT, picky.id, new)


def test_one_changes_ones_own_password_and_other_browsers_are_out(fleet: Fleet) -> None:
    somebody("eve")
    here, there = Browser(fleet, None), Browser(fleet, None)
    for browser in (here, there):
        browser.post("/sign-in", email="eve@example.org", password=RIGHT)
    form = {"new": "another horse entirely", "again": "another horse entirely", "back": "/tokens/"}
    here.post("/tokens/password", at="/tokens/", old="wrong", **form)
    assert "That is not your password" in here.get("/tokens/").text
    here.post("/tokens/password", at="/tokens/", old=RIGHT, **form | {"again": "else"})
    assert "The two new passwords differ" in here.get("/tokens/").text
    assert there.get("/").status_code == 200
    here.post("/tokens/password", at="/tokens/", old=RIGHT, **form)
    assert "Your password is set" in here.get("/tokens/").text
    assert there.get("/").status_code == 302
    enter("eve@example.org", "another horse entirely")
    with pytest.raises(PasswordRefused):
        enter("eve@example.org")


def test_nobody_sets_the_password_of_others_but_an_admin(fleet: Fleet) -> None:
    ada = somebody("owner")
    _, operator = person(Role.OPERATOR, "operator-p")
    for use_case in (passwords.remove_password, invitations.invite):
        with pytest.raises(RoleInsufficient):
            use_case(operator, ada.id)
    with pytest.raises(RoleInsufficient):
        passwords.set_password(operator, ada.id, RIGHT)
    programs, _ = accounts.create_account(ROOT, {"name": "program"})
    with pytest.raises(InputInvalid, match="no e-mail address"):
        passwords.set_password(ROOT, programs.id, RIGHT)


def test_of_two_that_change_a_password_at_once_one_is_told(fleet: Fleet) -> None:
    ada = somebody("twice")
    words = [f"{word} horse battery" for word in ("red", "blue")]
    done = at_once(
        fleet.app, *[lambda new=new: passwords.set_password(ROOT, ada.id, new) for new in words]
    )
    right = [new for new, said in zip(words, done, strict=True) if said is None]
    assert right, done
    entered = []
    for new in words:
        with contextlib.suppress(PasswordRefused):
            entered += [new for _ in [enter("twice@example.org", new)]]
    assert len(entered) == 1
    assert entered[0] in right


def test_the_command_takes_a_password_from_standard_input_only(fleet: Fleet) -> None:
    typed = somebody("typed", password=None)
    runner = fleet.app.test_cli_runner()
    done = runner.invoke(args=["accounts", "password", "typed@example.org"], input=f"{RIGHT}\n")
    assert (done.exit_code, RIGHT in done.output) == (0, False), done.output
    enter("typed@example.org")
    short = runner.invoke(args=["accounts", "password", str(typed.id)], input="short\n")
    assert short.exit_code == 2
    assert "12 to 256" in short.output
    assert runner.invoke(args=["accounts", "password", "typed@example.org", RIGHT]).exit_code == 2
    gone = runner.invoke(args=["accounts", "password", "typed@example.org", "--remove"])
    assert gone.exit_code == 0
    with pytest.raises(PasswordRefused):
        enter("typed@example.org")


# --- sessions -------------------------------------------------------------------------------------


def test_under_tls_the_cookie_is_of_this_host_alone(fleet: Fleet) -> None:
    somebody("tls")
    browser, over_tls = Browser(fleet, None), {"base_url": "https://localhost"}
    page = browser.get("/sign-in", **over_tls).text
    forget()
    form = {
        "csrf_token": FORGERY.search(page)[1],  # type: ignore[index]
        "email": "tls@example.org",
        "password": RIGHT,
    }
    answer = browser.client.post("/sign-in", data=form, **over_tls)  # type: ignore[arg-type]
    cookie = next(c for c in answer.headers.getlist("Set-Cookie") if "headway_session" in c)
    assert cookie.startswith("__Host-headway_session=hw_")
    for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie
    assert browser.get("/", **over_tls).status_code == 200
    assert browser.get("/").status_code == 302, "it is not sent in the clear"


def test_a_form_of_before_the_sign_in_is_worth_nothing_after_it(fleet: Fleet) -> None:
    somebody("fixed", Role.OPERATOR)
    browser = Browser(fleet, None)
    given = FORGERY.search(browser.get("/sign-in").text)
    browser.post("/sign-in", email="fixed@example.org", password=RIGHT)
    forget()
    form = {"csrf_token": given[1], "name": "stolen"}  # type: ignore[index]
    assert browser.client.post("/tokens/", data=form).status_code == 400


def test_a_disabled_account_is_out_at_once_and_comes_back(fleet: Fleet) -> None:
    browser, admin = Browser(fleet, name="doomed"), Browser(fleet, Role.ADMIN, "boss")
    at = f"/accounts/{browser.actor.id}"
    page = admin.get(f"{at}/disable").text
    assert "its browsers are signed out" in page
    admin.post(f"{at}/disable")
    assert browser.get("/").status_code == 302
    assert Browser(fleet, None).post("/sign-in", token=browser.token).status_code == 401
    with pytest.raises(TokenRefused):
        tokens.authenticate(browser.token, request_id=None, ip=None)
    assert "disabled" in admin.get("/accounts/?name=doomed").text
    admin.post(f"{at}/enable")
    assert browser.get("/").status_code == 200
    (last, first) = audit.list_events(
        ROOT, limit=2, action="account.changed", subject_id=browser.actor.id
    )[0]
    assert [first.detail, last.detail] == [{"disabled": [False, True]}, {"disabled": [True, False]}]


def test_nobody_but_an_admin_becomes_another_by_their_address(fleet: Fleet) -> None:
    equal, below = somebody("equal", Role.OPERATOR), somebody("below")
    mallory, actor = person(Role.OPERATOR, "mallory")
    with pytest.raises(RoleInsufficient):
        accounts.change_account(actor, equal.id, {"email": "mallory@example.org"}, version=None)
    with pytest.raises(RoleInsufficient):
        accounts.change_account(actor, below.id, {"email": "below2@example.org"}, version=None)
    accounts.change_account(actor, mallory.id, {"email": "mallory@example.org"}, version=None)
    accounts.change_account(ROOT, equal.id, {"email": "equal2@example.org"}, version=None)


def test_an_admin_stays(fleet: Fleet) -> None:
    admin = Browser(fleet, Role.ADMIN, "only")
    page = admin.get(f"/accounts/{admin.actor.id}").text
    assert "/disable" not in page
    assert "/delete" not in page
    answer = admin.post(f"/accounts/{admin.actor.id}/disable", at="/accounts/new")
    assert answer.status_code == 422
    assert admin.get("/").status_code == 200


# --- accounts -------------------------------------------------------------------------------------


def test_an_admin_makes_an_account_and_its_person_comes_in_by_an_invitation(fleet: Fleet) -> None:
    admin = Browser(fleet, Role.ADMIN, "inviter")
    made = admin.post("/accounts/new", name="Grace", email="Grace@example.org", role="operator")
    assert "Invite the person" in admin.get(made.location).text
    assert "within 24 hours" in admin.get(f"{made.location}/invite").text
    older = TEXT.search(admin.post(f"{made.location}/invite").text)
    answer = admin.post(f"{made.location}/invite")
    text = TEXT.search(answer.text)
    assert text
    assert text[0] not in admin.get(made.location).text, "it is shown once"
    assert Browser(fleet, None).post("/sign-in", token=older[0]).status_code == 401  # type: ignore[index]
    grace = Browser(fleet, None)
    assert grace.post("/sign-in", token=text[0]).status_code == 302
    assert "Grace, operator" in grace.get("/").text
    assert "Set a password" in grace.get("/tokens/").text
    grace.post("/tokens/password", at="/tokens/", new=RIGHT, again=RIGHT)
    assert Browser(fleet, None).post("/sign-in", token=text[0]).status_code == 401
    enter("grace@example.org")


def test_an_account_is_changed_by_a_form_of_its_own_version(fleet: Fleet) -> None:
    admin = Browser(fleet, Role.ADMIN, "editor")
    other = somebody("edited", password=None)
    at = f"/accounts/{other.id}"
    page = admin.get(at).text
    assert f'name="version" value="{other.version}"' in page
    form = {"name": "Edited", "email": "", "description": "<b>", "version": other.version}
    assert admin.post(at, role="operator", **form).location == at
    page = admin.get(at).text
    assert "&lt;b&gt;" in page
    assert "<dd>operator</dd>" in page
    admin.post(at, back=at, **form | {"name": "Too late"})
    assert "Read it again" in admin.get(at).text
    deleted = admin.post(f"{at}/delete")
    assert deleted.location == "/accounts/"
    assert admin.get(at).status_code == 404


def test_a_viewer_sees_accounts_and_may_do_nothing_to_them(fleet: Fleet) -> None:
    viewer = Browser(fleet, Role.VIEWER, "looker")
    other = somebody("seen")
    page = viewer.get(f"/accounts/{other.id}").text
    assert "seen@example.org" in page
    for word in ("/disable", "/invite", "<h2>Change", "hw_", "Recent actions"):
        assert word not in page
    for verb in ("disable", "invite", "remove-password", "delete"):
        answer = viewer.post(f"/accounts/{other.id}/{verb}", at="/tokens/")
        assert answer.status_code == 403, verb
    assert viewer.post(f"/accounts/{other.id}", at="/tokens/", version="1").status_code == 403
    assert viewer.post("/accounts/new", at="/tokens/", name="x").status_code == 403
    assert viewer.get("/audit/").status_code == 403
    assert "/audit/" not in viewer.get("/").text
    enter("seen@example.org")


# --- one's own tokens -----------------------------------------------------------------------------


def test_one_makes_a_token_sees_it_once_and_revokes_it(fleet: Fleet) -> None:
    browser = Browser(fleet, Role.VIEWER, "maker")
    answer = browser.post("/tokens/", name="nightly", days="30")
    assert answer.status_code == 201
    (text,) = set(TEXT.findall(answer.text))
    page = browser.get("/tokens/").text
    assert text not in page
    assert "nightly" in page
    assert "(this browser)" in page
    tokens.authenticate(text, request_id=None, ip=None)
    (key,) = db.session.scalars(sa.select(Token.id).where(Token.name == "nightly"))
    browser.post(f"/tokens/{key}/revoke", at="/tokens/")
    assert "nightly" not in browser.get("/tokens/").text
    with pytest.raises(TokenRefused):
        tokens.authenticate(text, request_id=None, ip=None)
    assert browser.post("/tokens/", name=" ").status_code == 422
    assert browser.post("/tokens/", name="x", days="100000").status_code == 422


def test_a_form_that_is_sent_again_makes_nothing_again(fleet: Fleet) -> None:
    admin = Browser(fleet, Role.ADMIN, "reloader")
    once = re.search(r'name="once" value="(\w+)"', admin.get("/tokens/").text)
    assert once
    first, again = (
        admin.post("/tokens/", name="deploy", days="30", once=once[1]).text for _ in range(2)
    )
    assert TEXT.search(first)
    assert not TEXT.search(again)
    assert "was created and shown before" in again
    assert admin.get("/tokens/").text.count("<td>deploy</td>") == 1
    account = somebody("reloaded")
    path = f"/accounts/{account.id}/invite"
    told = [admin.post(path, once="0" * 32).text for _ in range(2)]
    invited = TEXT.search(told[0])
    assert invited
    assert not TEXT.search(told[1])
    assert "was created and shown before" in told[1]
    assert Browser(fleet, None).post("/sign-in", token=invited[0]).status_code == 302


def test_the_token_of_another_is_not_there(fleet: Fleet) -> None:
    mine, other = Browser(fleet, Role.OPERATOR, "mine"), Browser(fleet, Role.OPERATOR, "other")
    (key,) = db.session.scalars(
        sa.select(Token.id).where(Token.account_id == other.actor.id, Token.name == "mine")
    )
    assert mine.post(f"/tokens/{key}/revoke", at="/tokens/").status_code == 404
    assert other.get("/").status_code == 200


# --- the trail, the service -----------------------------------------------------------------------


def test_the_trail_is_filtered_by_links_and_goes_on(fleet: Fleet) -> None:
    operator = Browser(fleet, Role.OPERATOR, "auditor")
    page = operator.get("/audit/").text
    assert "auditor" in page
    assert "Older" in page
    older = re.search(r'href="([^"]+)">Older', page)
    assert older
    assert operator.get(older[1].replace("&amp;", "&")).status_code == 200
    mine = operator.get(f"/audit/?actor={operator.actor.id}").text
    assert "token.signed_in" in mine
    assert "account.created" not in mine
    assert "by account" in mine
    assert "No entry matches" in operator.get("/audit/?action=nothing").text
    assert operator.get("/audit/?actor=x").status_code == 422


def test_a_change_is_told_from_what_to_what(fleet: Fleet) -> None:
    ada = somebody("promoted", password=None)
    accounts.change_account(ROOT, ada.id, {"role": Role.OPERATOR}, version=None)
    page = Browser(fleet, Role.ADMIN, "reader").get(f"/audit/?type=account&id={ada.id}").text
    assert "role: viewer → operator" in page


def test_the_service_tells_its_settings_and_no_secret(template_copy: URL, tmp_path: Path) -> None:
    more = {
        "broker_url": "redis://ada:hunter2@queue:6379/1;amqp://u:hunter3@other//",
        "secret_key": "hunter4" * 5,
        "oidc_issuer": "https://id.example.org",
        "oidc_client_id": "headway",
        "oidc_client_secret": "hunter5",
        "project_roots": (tmp_path,),
    }
    app = create_app(settings_for(template_copy, **more))
    with app.app_context():
        browser = Browser(Here(app), Role.VIEWER)  # type: ignore[arg-type]
        page = browser.get("/service/").text
        db.engine.dispose()
    assert "redis://queue:6379/1;amqp://other//" in page
    assert str(tmp_path) in page
    assert "HEADWAY_ENCRYPTION_KEYS" in page
    assert "1 set" in page
    assert not [secret for secret in ("hunter", KEY) if secret in page]
    assert "No worker is running" in page


class Here:
    """As much of a fleet as a browser needs."""

    def __init__(self, app: Flask) -> None:
        self.app = app


def test_each_start_is_remembered_and_the_oldest_go(
    template_copy: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.boot.KEPT", 3)
    for _ in range(4):  # and one that the catalog has seen already
        app = create_app(settings_for(template_copy))
    with app.app_context():
        kept = db.session.scalars(sa.select(Boot).order_by(Boot.id)).all()
        assert [boot.id for boot in kept] == [3, 4, 5]
        assert {(boot.revision_from, boot.revision_to) for boot in kept} == {(HEAD, HEAD)}
        page = Browser(Here(app), Role.VIEWER).get("/service/").text  # type: ignore[arg-type]
        done = app.test_cli_runner().invoke(args=["catalog", "boots", "--json"])
        db.engine.dispose()
    assert page.count("the same") == 3
    assert HEAD in page
    assert done.exit_code == 0
    assert f'"revision_to": "{HEAD}"' in done.output


def test_nobody_is_invited_who_can_sign_in_otherwise(template_copy: URL) -> None:
    app = create_app(settings_for(template_copy))  # invites, for nobody can
    with app.app_context():
        db.session.execute(sa.delete(Token))
        db.session.commit()
        (admin,), _ = accounts.list_accounts(ROOT, limit=2)
        accounts.change_account(ROOT, admin.id, {"email": "a@example.org"}, version=None)
        passwords.set_password(ROOT, admin.id, RIGHT)
        assert invitations.invite_first_admin() is None
        passwords.remove_password(ROOT, admin.id)
        assert invitations.invite_first_admin()
        db.engine.dispose()


@pytest.mark.parametrize("path", ["/accounts/?name=%00", "/audit/?action=%00", "/tokens/%00"])
def test_what_no_database_can_keep_is_refused(fleet: Fleet, path: str) -> None:
    answer = Browser(fleet, Role.OPERATOR, "odd").get(path)
    assert answer.status_code in (404, 422)
    form = {"email": "a\0@example.org", "password": RIGHT}
    assert Browser(fleet, None).post("/sign-in", **form).status_code == 422


def test_what_is_not_there_is_a_page_too(fleet: Fleet) -> None:
    browser = Browser(fleet, Role.VIEWER, "lost")
    for path in ("/nowhere", "/accounts/99999", "/accounts/1/nothing", "/tokens/1/revoke"):
        answer = browser.get(path)
        assert answer.status_code in (404, 405)
        assert "To the overview" in answer.text, path
    answer = browser.get("/api/v1/nowhere")
    assert answer.mimetype == "application/problem+json"


def test_a_mistake_of_ours_is_a_page_with_a_number(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    browser = Browser(fleet, Role.VIEWER, "unlucky")
    monkeypatch.setattr(accounts, "list_accounts", broken)
    answer = browser.get("/accounts/")
    assert answer.status_code == 500
    assert "boom" not in answer.text
    assert answer.headers["X-Request-ID"] in answer.text
    assert "boom" in caplog.text


def test_a_session_is_of_whoever_began_it(fleet: Fleet) -> None:
    made = somebody("whose")
    given, _ = tokens.issue_token(ROOT, account_id=made.id, name="t", expires_days=1)
    issued, _ = sessions.start(given.text or "", request_id=None, ip=None)
    kinds = (TokenKind.SESSION,)
    actor, _ = tokens.authenticate(issued.text or "", request_id=None, ip=None, kinds=kinds)
    assert actor.name == "whose"
    enter("whose@example.org")
    assert sessions.end(actor) == (2, 1)
