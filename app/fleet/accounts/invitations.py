"""Invitations: one-time tokens for a first sign-in, also that of the first admin."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import AccountNotFound, CatalogBusy
from app.extensions import db
from app.fleet.accounts import tokens
from app.fleet.core import audit, idempotency
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import repeated, writing
from app.fleet.core.validation import LARGEST_ID
from app.models import Account, Role, Token

FIRST = "first"
"""The prefix of the token that invites the first admin. It is unique, so only one exists."""
INVITATION = timedelta(hours=24)


@repeated
def invite(actor: Actor, account_id: int, *, key: str | None = None) -> tokens.Issued:
    """Create a one-time token for an account, valid for a day, for the person's first sign-in.

    An earlier invitation is revoked. An equal request with the same idempotency `key` returns the
    same token without its text.
    """
    actor.require("tokens.any")
    request = idempotency.Request(actor=actor, key=key, about=("invitations", [account_id]))

    def make() -> tokens.Issued:
        with writing() as session:
            account = session.get(Account, account_id) if 0 < account_id <= LARGEST_ID else None
            if account is None:
                raise AccountNotFound(f"There is no account {account_id}.", account=account_id)
            unused = select(Token).where(
                Token.account_id == account.id, Token.one_time, Token.revoked_at.is_(None)
            )
            for token in session.scalars(unused):
                token.revoked_at = datetime.now(UTC)
                tokens.record(session, actor, "token.revoked", token)
            until = datetime.now(UTC) + INVITATION
            issued = tokens.add(session, account, "invitation", until, one_time=True)
            request.remember(session, issued.token.id)
            tokens.record(session, actor, "token.created", issued.token)
        return issued

    return request.once(make, lambda made: tokens.Issued(tokens.get_token(actor, made), None))[0]


def invite_first_admin() -> str | None:
    """The text of a one-time token for the first admin; None if an admin can sign in already.

    Of many processes that call this at once, one gets the token. An invitation that was not used
    within its 24 hours is replaced.
    """
    admin = Account.role == Role.ADMIN
    now = datetime.now(UTC)
    by_token = select(Token.id).where(
        Token.account_id.in_(select(Account.id).where(admin)),
        or_(Token.one_time.is_(False), Token.revoked_at.is_not(None), Token.expires_at > now),
    )
    has_another_way = or_(Account.password_hash.is_not(None), Account.oidc_subject.is_not(None))
    otherwise = select(Account.id).where(admin, has_another_way)
    with Session(db.engine) as session:
        if any(session.scalar(query.limit(1)) is not None for query in (by_token, otherwise)):
            return None
    try:
        return _invite(now)
    except (IntegrityError, CatalogBusy):
        return None  # another process was faster


@repeated
def _invite(now: datetime) -> str | None:
    actor = Actor(id=None, name="headway", role=Role.ADMIN)
    with writing() as session:
        session.execute(delete(Token).where(Token.prefix == FIRST, Token.expires_at <= now))
        if session.scalar(select(Token.id).where(Token.prefix == FIRST)) is not None:
            return None
        account = session.scalar(select(Account).where(Account.role == Role.ADMIN).limit(1))
        if account is None:
            account = Account(name="admin", role=Role.ADMIN)
            session.add(account)
            session.flush()
            made = {"name": account.name, "role": Role.ADMIN.value}
            audit.record(session, actor, "account.created", ("account", account.id), **made)
        until = now + INVITATION
        issued = tokens.add(session, account, "first sign-in", until, prefix=FIRST, one_time=True)
        tokens.record(session, actor, "token.created", issued.token)
    return issued.text
