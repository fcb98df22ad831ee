"""Refused sign-ins: what is counted, for whom, and who is never kept out."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask

from app.errors import PasswordRefused, TokenRefused, TooManyAttempts
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import limits, passwords, sessions, tokens
from app.fleet.core import audit
from app.models import SignInLimit, Token
from tests.fleet.conftest import ROOT, at_once

RIGHT, EMAIL = "correct horse battery staple", "ada@example.org"
HERE, THERE = "192.0.2.1", "198.51.100.9"


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def later(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(time_cost=1, memory_cost=64))
    passwords._dummy_hash.cache_clear()
    clock = Clock()
    monkeypatch.setattr(limits, "_now", lambda: clock.now)
    return clock


def ada() -> int:
    made, _ = accounts.create_account(ROOT, {"name": "Ada", "email": EMAIL})
    passwords.set_password(ROOT, made.id, RIGHT)
    return made.id


def enter(password: str = RIGHT, ip: str | None = HERE, email: str = EMAIL) -> tokens.Issued:
    return passwords.sign_in(email, password, request_id="r-12345678", ip=ip)


def refuse(times: int, ip: str | None = HERE, email: str = EMAIL) -> None:
    for _ in range(times):
        with pytest.raises(PasswordRefused):
            enter("wrong", ip, email)


def test_the_wait_grows_is_told_and_ends(
    anywhere: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada()
    refuse(limits.PAIR.free)
    hashed = []
    real = passwords._is_right
    monkeypatch.setattr(passwords, "_is_right", lambda *a: hashed.append(a) or real(*a))
    for expected in (1, 2, 4, 8):
        with pytest.raises(TooManyAttempts) as waits:
            enter()
        assert waits.value.context == {"retry_after": expected}
        assert not hashed, "refused before any work is done"
        clock.later(timedelta(seconds=expected))
        refuse(1)
        hashed.clear()
    enter(ip=THERE)  # from elsewhere nothing was refused
    clock.later(limits.FORGOTTEN)
    refuse(limits.PAIR.free)
    clock.later(timedelta(seconds=1))
    enter()
    refuse(limits.PAIR.free)  # who was right begins anew


def test_the_wait_has_an_end() -> None:
    now = datetime.now(UTC)
    for limit in (limits.PAIR, limits.NETWORK, limits.ACCOUNT):
        assert limit.wait(10_000, now, now) == limit.longest.total_seconds()
        assert limit.wait(limit.free - 1, now, now) == 0


def test_others_do_not_keep_the_owner_out(anywhere: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACCOUNT", limits.Limit(4, timedelta(minutes=1)))
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(4, timedelta(minutes=1)))
    ada()
    enter()
    for number in range(4):
        refuse(1, f"203.0.113.{number}")
    with pytest.raises(TooManyAttempts):
        enter(ip=THERE)  # guessed from many networks, and this one is not known
    enter()
    for number in range(4):
        refuse(1, HERE, f"nobody{number}@example.org")
    with pytest.raises(TooManyAttempts):
        enter(ip=HERE, email="nobody@example.org")  # many accounts are guessed from here
    enter()


def test_a_network_is_a_64_of_ipv6() -> None:
    assert limits.network("2001:db8:1:2::7") == limits.network("2001:db8:1:2:ffff::1")
    assert limits.network("2001:db8:1:2::7") != limits.network("2001:db8:1:3::7")
    assert limits.network(HERE) != limits.network("192.0.2.2")


def test_of_many_at_once_no_more_are_looked_at_than_one_after_the_other(anywhere: Flask) -> None:
    ada()
    refuse(limits.PAIR.free - 1)
    answers = at_once(anywhere, *[lambda: enter("wrong")] * 6)
    kinds = [type(answer) for answer in answers]
    assert kinds.count(PasswordRefused) == 1, answers


def test_a_refusal_is_in_the_trail_with_the_account_and_without_what_was_typed(
    anywhere: Flask,
) -> None:
    account = ada()
    refuse(1)
    refuse(1, email="hunter2 in the wrong field")
    issued, _ = tokens.issue_token(ROOT, account_id=account, name="t", expires_days=1)
    wrong = f"hw_{issued.token.prefix}_{'x' * 43}"
    for use in (wrong, "hunter3"):
        with pytest.raises(TokenRefused):
            sessions.start(use, request_id="r-12345678", ip=HERE)
    told, _ = audit.list_events(ROOT, limit=9, action="account.sign_in_refused")
    found = [(e.subject_id, e.detail, e.ip, e.request_id) for e in reversed(told)]
    whence = (HERE, "r-12345678")
    assert found == [
        (account, {"by": "password"}, *whence),
        (None, {"by": "password"}, *whence),
        (account, {"by": "token"}, *whence),
        (None, {"by": "token"}, *whence),
    ]
    kept = [tuple(row) for row in db.session.execute(sa.select(SignInLimit.__table__))]
    assert kept
    assert not [word for word in ("hunter", "@", HERE) if word in str(kept)]


def test_what_was_long_ago_is_deleted(anywhere: Flask, clock: Clock) -> None:
    ada()
    refuse(1, THERE)
    clock.later(limits.KNOWN + timedelta(days=1))
    enter()
    count = sa.select(sa.func.count()).select_from(SignInLimit)
    assert db.session.scalar(count) == 3, "of this sign-in alone"


def test_a_refused_bearer_is_counted_and_nothing_waits_for_it(
    anywhere: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NETWORK", limits.Limit(2, timedelta(minutes=1)))
    db.session.remove()
    for _ in range(2):
        limits.refused_bearer(HERE)
    with pytest.raises(TooManyAttempts):
        limits.refused_bearer(HERE)
    limits.refused_bearer(THERE)
    with db.engine.connect().execution_options(write=True) as other, other.begin() as holding:
        other.execute(sa.update(SignInLimit).values(refused=0))
        limits.refused_bearer(HERE)  # not counted: the row is held
        holding.rollback()


def test_a_list_of_what_is_valid_has_no_idle_session(anywhere: Flask) -> None:
    account = ada()
    session, idle = enter(), enter()
    past = datetime.now(UTC) - tokens.IDLE
    here = sa.update(Token).where(Token.id == idle.token.id)
    db.session.execute(here.values(last_used_at=past))
    db.session.commit()
    live, _ = tokens.list_tokens(ROOT, limit=9, account_id=account, live=True)
    assert [token.id for token in live] == [session.token.id]
