"""Tokens: what is kept, who may, and for how long."""

import hashlib
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from app.errors import InputInvalid, RoleInsufficient, TokenNotFound, TokenRefused
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import invitations, tokens
from app.fleet.core import audit
from app.models import Role, Token
from tests.fleet.conftest import ROOT, person


def issue(account_id: int, **more: object) -> tokens.Issued:
    values = {"name": "t", "expires_days": 1} | more
    issued, _ = tokens.issue_token(ROOT, account_id=account_id, **values)  # type: ignore[arg-type]
    return issued


def use(text: str) -> None:
    db.session.remove()
    tokens.authenticate(text, request_id=None, ip=None)


def test_a_token_is_256_random_bits_kept_as_a_digest(here: Flask) -> None:
    account, _ = person(Role.VIEWER)
    one, two = issue(account.id), issue(account.id)
    assert one.text
    assert two.text
    found = re.fullmatch(r"hw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", one.text)
    assert found
    assert one.token.prefix == found[1] != two.token.prefix
    assert one.token.digest == hashlib.sha256(found[2].encode()).hexdigest()
    assert found[2] not in repr(one)


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": datetime.now(UTC) - timedelta(seconds=1)},
        {"revoked_at": datetime.now(UTC)},
        {"one_time": True},
        {"digest": "0" * 64},
        {"prefix": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_token_that_is_not_good_any_more_is_refused(
    anywhere: Flask, change: dict[str, object]
) -> None:
    account, _ = person(Role.VIEWER)
    issued = issue(account.id)
    use(issued.text or "")
    db.session.execute(sa.update(Token).where(Token.id == issued.token.id).values(change))
    db.session.commit()
    with pytest.raises(TokenRefused):
        use(issued.text or "")


def test_a_token_without_an_end_stays_good(here: Flask) -> None:
    account, _ = person(Role.VIEWER)
    issued = issue(account.id, expires_days=None)
    assert issued.token.expires_at is None
    use(issued.text or "")


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(here: Flask) -> None:
    account, _ = person(Role.OPERATOR)
    text = issue(account.id).text or ""
    accounts.change_account(ROOT, account.id, {"role": "viewer"}, version=None)
    actor, _ = tokens.authenticate(text, request_id=None, ip=None)
    assert actor.role is Role.VIEWER


def test_the_last_use_is_kept_once_a_minute(anywhere: Flask) -> None:
    account, _ = person(Role.VIEWER)
    issued = issue(account.id)

    def last_used() -> datetime | None:
        db.session.remove()
        return tokens.get_token(ROOT, issued.token.id).last_used_at

    assert last_used() is None
    use(issued.text or "")
    first = last_used()
    assert first
    assert datetime.now(UTC) - first < timedelta(seconds=5)
    use(issued.text or "")
    assert last_used() == first
    past = datetime.now(UTC) - timedelta(seconds=61)
    db.session.execute(sa.update(Token).values(last_used_at=past))
    db.session.commit()
    use(issued.text or "")
    assert (last_used() or past) > first


def test_no_request_waits_to_note_the_last_use(anywhere: Flask) -> None:
    account, _ = person(Role.VIEWER)
    issued = issue(account.id)
    db.session.remove()
    with db.engine.connect().execution_options(write=True) as other, other.begin() as holding:
        other.execute(sa.update(Token).values(name="held"))
        began = time.monotonic()
        use(issued.text or "")
        assert time.monotonic() - began < 5  # SQLite alone would wait for 30 s
        holding.rollback()


def test_the_haste_of_noting_a_use_is_not_left_in_the_pool(here: Flask) -> None:
    account, _ = person(Role.VIEWER)
    use(issue(account.id).text or "")
    with db.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_everybody_makes_and_sees_only_their_own(anywhere: Flask) -> None:
    (mine, me), (theirs, _) = person(Role.OPERATOR, "me"), person(Role.VIEWER, "them")
    own, _ = tokens.issue_token(me, account_id=mine.id, name="t", expires_days=1)
    other = issue(theirs.id)
    with pytest.raises(RoleInsufficient):
        tokens.issue_token(me, account_id=theirs.id, name="t", expires_days=1)
    with pytest.raises(RoleInsufficient):
        tokens.list_tokens(me, limit=9, account_id=theirs.id)
    with pytest.raises(TokenNotFound):
        tokens.get_token(me, other.token.id)
    with pytest.raises(TokenNotFound):
        tokens.revoke_token(me, other.token.id)
    assert [token.id for token in tokens.list_tokens(me, limit=9)[0]] == [own.token.id]
    tokens.revoke_token(me, own.token.id)
    assert tokens.get_token(me, own.token.id).revoked_at


def test_revoking_twice_is_one_event(anywhere: Flask) -> None:
    account, _ = person(Role.VIEWER)
    key = issue(account.id).token.id
    tokens.revoke_token(ROOT, key)
    tokens.revoke_token(ROOT, key)
    events, _ = audit.list_events(ROOT, limit=9, action="token.revoked", subject_id=key)
    assert len(events) == 1


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "a\x00b", "\ud800"])
def test_a_name_that_cannot_be_kept_is_refused(here: Flask, name: str) -> None:
    account, _ = person(Role.VIEWER)
    with pytest.raises(InputInvalid):
        issue(account.id, name=name)


# --- the first admin ------------------------------------------------------------------------------


def test_the_first_admin_is_invited_and_it_is_in_the_trail(anywhere: Flask) -> None:
    events, _ = audit.list_events(ROOT, limit=9)
    assert [event.action for event in events] == ["token.created", "account.created"]
    assert {event.actor_name for event in events} == {"headway"}
    invited = tokens.list_tokens(ROOT, limit=9)[0]
    assert [(t.prefix, t.one_time, t.account.role) for t in invited] == [("first", True, "admin")]
    left = (invited[0].expires_at or datetime.now(UTC)) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


@pytest.mark.parametrize("state", ["expired", "revoked"])
def test_nobody_is_invited_once_an_admin_had_a_token(anywhere: Flask, state: str) -> None:
    (admin,), _ = accounts.list_accounts(ROOT, limit=2, role="admin")
    issue(admin.id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    changed = {"expired": {"expires_at": past}, "revoked": {"revoked_at": past}}[state]
    db.session.execute(sa.update(Token).where(Token.one_time.is_(False)).values(changed))
    db.session.execute(sa.update(Token).where(Token.one_time).values(expires_at=past))
    db.session.commit()
    assert invitations.invite_first_admin() is None


def test_an_invitation_that_is_still_good_is_not_made_twice(anywhere: Flask) -> None:
    assert invitations.invite_first_admin() is None
    assert len(tokens.list_tokens(ROOT, limit=9)[0]) == 1
