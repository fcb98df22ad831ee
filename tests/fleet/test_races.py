"""Two at once: one wins, the other is told so, and nothing is done twice. On every database."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from app.errors import (
    AccountChanged,
    AccountNotFound,
    CatalogBusy,
    EmailTaken,
    LastAdmin,
    TokenRefused,
)
from app.extensions import db
from app.fleet import accounts
from app.fleet.accounts import invitations, tokens
from app.models import Account, Event, Role, Token
from tests.fleet.conftest import ROOT, at_once, person

TRIES = 5


def count(model: type[Account | Event | Token], *where: sa.ColumnElement[bool]) -> int:
    db.session.rollback()
    return db.session.scalar(sa.select(sa.func.count()).select_from(model).where(*where)) or 0


def invitation() -> str:
    """A fresh invitation: as if the last one had expired unused."""
    db.session.execute(sa.delete(Token))
    db.session.commit()
    return invitations.invite_first_admin() or ""


def test_one_of_four_exchanges_of_a_one_time_token_wins(anywhere: Flask) -> None:
    for _ in range(TRIES):
        text = invitation()

        def exchange(text: str = text) -> tokens.Issued:
            return invitations.sign_in(text, request_id=None, ip=None)

        answers = at_once(anywhere, *[exchange] * 4)
        assert [type(a) for a in answers].count(tokens.Issued) == 1, answers
        assert [type(a) for a in answers].count(TokenRefused) == 3, answers
        assert count(Token, Token.one_time.is_(False)) == 1


def test_one_of_four_starts_invites(anywhere: Flask) -> None:
    for _ in range(TRIES):
        db.session.execute(sa.delete(Token))
        db.session.execute(sa.delete(Account))
        db.session.commit()
        answers = at_once(anywhere, *[invitations.invite_first_admin] * 4)
        assert sum(1 for answer in answers if isinstance(answer, str)) == 1, answers
        assert answers.count(None) == 3, answers
        assert count(Account) == count(Token) == 1


def test_one_of_four_starts_renews_an_invitation(anywhere: Flask) -> None:
    for _ in range(TRIES):
        invitation()
        past = datetime.now(UTC) - timedelta(seconds=1)
        db.session.execute(sa.update(Token).values(expires_at=past))
        db.session.commit()
        answers = at_once(anywhere, *[invitations.invite_first_admin] * 4)
        assert sum(1 for answer in answers if isinstance(answer, str)) == 1, answers
        assert answers.count(None) == 3, answers
        assert count(Token) == 1


def test_the_same_key_sent_four_times_at_once_makes_one_account(anywhere: Flask) -> None:
    _, actor = person(Role.OPERATOR)
    for n in range(TRIES):
        values = {"name": "once", "email": f"once{n}@example.org"}
        answers = at_once(
            anywhere,
            *[lambda v=values, k=f"k{n}": accounts.create_account(actor, v, key=k)] * 4,  # type: ignore[misc]
        )
        assert len({account.id for account, _ in answers}) == 1
        assert sorted(replayed for _, replayed in answers) == [False, True, True, True]
        assert count(Account, Account.email == values["email"]) == 1
    created = Event.action == "account.created"
    assert count(Event, created, Event.actor_id == actor.id) == TRIES


def test_the_same_key_sent_four_times_at_once_makes_one_token(anywhere: Flask) -> None:
    account, actor = person(Role.VIEWER)
    for n in range(TRIES):
        answers = at_once(
            anywhere,
            *[
                lambda k=f"k{n}": tokens.issue_token(  # type: ignore[misc]
                    actor, account_id=account.id, name="t", expires_days=1, key=k
                )
            ]
            * 4,
        )
        assert len({issued.token.id for issued, _ in answers}) == 1
        assert sum(1 for issued, _ in answers if issued.text) == 1
    assert count(Token, Token.account_id == account.id) == TRIES


def test_an_address_is_given_to_one_of_four(anywhere: Flask) -> None:
    for n in range(TRIES):
        answers = at_once(
            anywhere,
            *[
                lambda n=n, m=m: accounts.create_account(  # type: ignore[misc]
                    ROOT, {"name": str(m), "email": f"a{n}@example.org"}
                )
                for m in range(4)
            ],
        )
        assert [type(a) for a in answers].count(tuple) == 1, answers
        assert [type(a) for a in answers].count(EmailTaken) == 3, answers


def test_of_two_changes_to_one_version_one_is_told(anywhere: Flask) -> None:
    account, _ = person(Role.VIEWER)
    for _ in range(TRIES):
        db.session.remove()
        version = accounts.get_account(ROOT, account.id).version
        db.session.rollback()
        answers = at_once(
            anywhere,
            *[
                lambda m=m, v=version: accounts.change_account(  # type: ignore[misc]
                    ROOT, account.id, {"location": f"{m} {v}"}, version=v
                )
                for m in range(2)
            ],
        )
        assert [type(a) for a in answers].count(Account) == 1, answers
        assert [type(a) for a in answers].count(AccountChanged) == 1, answers
    db.session.remove()
    assert accounts.get_account(ROOT, account.id).version == 1 + TRIES


@pytest.mark.parametrize("way", ["delete", "demote"])
def test_two_admins_cannot_remove_each_other(anywhere: Flask, way: str) -> None:
    for _ in range(TRIES):
        db.session.execute(sa.delete(Account))
        db.session.commit()
        (a, as_a), (b, as_b) = person(Role.ADMIN, "a"), person(Role.ADMIN, "b")

        def remove(actor: object, key: int) -> None:
            if way == "delete":
                accounts.delete_account(actor, key, version=None)  # type: ignore[arg-type]
            else:
                accounts.change_account(actor, key, {"role": "viewer"}, version=None)  # type: ignore[arg-type]

        answers = at_once(
            anywhere,
            lambda one=as_a, other=b.id: remove(one, other),  # type: ignore[misc]
            lambda one=as_b, other=a.id: remove(one, other),  # type: ignore[misc]
        )
        assert answers.count(None) == 1, answers
        # On MariaDB the two may deadlock, and one is sent back.
        (refused,) = [answer for answer in answers if answer is not None]
        assert isinstance(refused, LastAdmin | CatalogBusy), answers
        assert count(Account, Account.role == Role.ADMIN) == 1


def test_a_token_for_an_account_that_goes_at_once_is_no_bug(anywhere: Flask) -> None:
    for _ in range(TRIES):
        account, _ = person(Role.VIEWER)
        key = account.id
        answers = at_once(
            anywhere,
            lambda key=key: accounts.delete_account(ROOT, key, version=None),  # type: ignore[misc]
            lambda key=key: tokens.issue_token(  # type: ignore[misc]
                ROOT, account_id=key, name="t", expires_days=1
            ),
        )
        assert answers[0] is None, answers
        assert isinstance(answers[1], tuple | AccountNotFound | CatalogBusy), answers
        assert count(Token, Token.account_id == key) == 0
