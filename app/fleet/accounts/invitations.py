"""Invitations: one-time tokens for a first sign-in, also that of the first admin."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import AccountNotFound, CatalogBusy, TokenRefused
from app.extensions import db
from app.fleet.accounts import limits, tokens
from app.fleet.accounts.tokens import FIRST, HEADWAY
from app.fleet.core import audit, idempotency
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID
from app.models import Account, Role, Token, TokenKind

INVITATION = timedelta(hours=24)
SIGN_IN_DAYS = 30


@repeated
def invite(actor: Actor, account_id: int, *, key: str | None = None) -> tokens.Issued:
    """Create a one-time token for an account, valid for a day, for the person's first sign-in.

    An earlier invitation is revoked. An equal request with the same idempotency `key` returns the
    same token without its text.
    """
    actor.require("tokens.any")
    actor.require_proof()
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
            issued = tokens.add(session, account, "invitation", until, kind=TokenKind.INVITATION)
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
            audit.record(session, HEADWAY, "account.created", ("account", account.id), **made)
        until = now + INVITATION
        kind = TokenKind.INVITATION
        issued = tokens.add(session, account, "first sign-in", until, kind=kind, prefix=FIRST)
        tokens.record(session, HEADWAY, "token.created", issued.token)
    return issued.text


def sign_in(text: str, *, request_id: str | None, ip: str | None) -> tokens.Issued:
    """Exchange a one-time token for a token of a program. Raises TokenRefused, TooManyAttempts."""
    with refusal_counted(text, request_id=request_id, ip=ip):
        return _exchange(text, request_id, ip)


@contextmanager
def refusal_counted(text: str, *, request_id: str | None, ip: str | None) -> Iterator[None]:
    """Count a TokenRefused of the block as a refused sign-in with this token, and pass it on.

    Raises TooManyAttempts instead if the network has to wait.
    """
    try:
        yield
    except TokenRefused:
        limits.refused("token", tokens.account_of(text), request_id=request_id, ip=ip)
        raise


@repeated
def _exchange(text: str, request_id: str | None, ip: str | None) -> tokens.Issued:
    days = min(SIGN_IN_DAYS, tokens.most_days() or SIGN_IN_DAYS)
    with writing() as session:
        account = use_up(session, text)
        proven = datetime.now(UTC)
        issued = tokens.add(
            session, account, "sign-in", tokens.in_days(days), kind=TokenKind.API, proven_at=proven
        )
        actor = Actor.of(account, request_id=request_id, ip=ip)
        tokens.record(session, actor, "token.signed_in", issued.token)
    return issued


def use_up(session: CatalogSession, text: str) -> Account:
    """Use up a one-time token. Returns its account. Raises TokenRefused."""
    prefix, digest = tokens.parts_of(text)
    now = datetime.now(UTC)
    # The condition names the expected state: of two requests at once, one changes a row.
    won = session.execute(
        update(Token)
        .where(Token.prefix == prefix, Token.digest == digest, Token.one_time)
        .where(Token.revoked_at.is_(None), Token.expires_at > now)
        .values(revoked_at=now, last_used_at=now)
        .execution_options(synchronize_session=False)
    )
    if won.rowcount != 1:  # type: ignore[attr-defined]
        raise TokenRefused
    account = session.scalars(select(Token).where(Token.prefix == prefix)).one().account
    if account.disabled:
        raise TokenRefused
    return account
