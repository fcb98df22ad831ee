"""Tokens: shown once, stored as a digest, and compared in constant time."""

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.errors import (
    AccountNotFound,
    RoleInsufficient,
    TokenNotFound,
    TokenRefused,
)
from app.extensions import db
from app.fleet.core import audit, idempotency
from app.fleet.core.pagination import page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, in_passing, repeated, writing
from app.fleet.core.validation import LARGEST_ID, fitting
from app.models import Account, Token

log = logging.getLogger(__name__)

TEXT = re.compile(r"hw_([a-z0-9]{4,12})_([A-Za-z0-9_-]{43})")
SIGN_IN_DAYS = 30
USED_AGAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Issued:
    """A token and its text, which cannot be read again and is not in the `repr`."""

    token: Token
    text: str | None

    def __repr__(self) -> str:
        return f"Issued({self.token.prefix})"


@repeated
def issue_token(
    actor: Actor,
    *,
    account_id: int,
    name: str,
    expires_days: int | None,
    key: str | None = None,
) -> tuple[Issued, bool]:
    """Create a token. Returns it, and True if an equal request with this key made it before.

    An account may create its own tokens, an admin those of any account. A token that was made
    before comes without its text.
    """
    _allow(actor, account_id)
    fitting(Token, {"name": name})
    about = ("tokens", [account_id, name, expires_days])
    request = idempotency.Request(actor=actor, key=key, about=about)

    def make() -> Issued:
        with writing() as session:
            account = session.get(Account, account_id) if account_id <= LARGEST_ID else None
            if account is None:
                raise AccountNotFound(f"There is no account {account_id}.", account=account_id)
            issued = add(session, account, name, _in_days(expires_days))
            request.remember(session, issued.token.id)
            record(session, actor, "token.created", issued.token)
        return issued

    return request.once(make, lambda made: Issued(_find(actor, made), None))


def get_token(actor: Actor, token_id: int) -> Token:
    """The token without its text, or TokenNotFound. Admins see all tokens, others their own."""
    return _find(actor, token_id)


def list_tokens(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    account_id: int | None = None,
    live: bool = False,
) -> tuple[list[Token], int | None]:
    """A page of tokens: all for an admin, their own for others.

    With `live`, only tokens that are valid now, newest first.
    """
    if not actor.may("tokens.any"):
        if account_id not in (None, actor.id):
            raise RoleInsufficient("Only an admin sees the tokens of others.")
        account_id = actor.id
    query = select(Token).order_by(Token.id.desc() if live else Token.id)
    if after is not None:
        beyond = min(after, LARGEST_ID)
        query = query.where(Token.id < beyond if live else Token.id > beyond)
    if account_id is not None:
        query = query.where(Token.account_id == account_id)
    if live:
        unexpired = or_(Token.expires_at.is_(None), Token.expires_at > datetime.now(UTC))
        query = query.where(Token.revoked_at.is_(None), unexpired)
    return page_of(query, limit)


@repeated
def revoke_token(actor: Actor, token_id: int) -> None:
    """Revoke a token. Revoking it again changes nothing."""
    with writing() as session:
        token = _find(actor, token_id)
        if token.revoked_at is None:
            token.revoked_at = datetime.now(UTC)
            record(session, actor, "token.revoked", token)


def authenticate(text: str, *, request_id: str | None, ip: str | None) -> tuple[Actor, int]:
    """The account of a token, and the token's id. Raises TokenRefused, always with one message."""
    prefix, digest = _parts(text)
    with Session(db.engine) as session:
        token = session.scalar(select(Token).where(Token.prefix == prefix))
        # Compared even if there is no such token, so that the time taken is the same.
        right = hmac.compare_digest(token.digest if token else "0" * 64, digest)
        if token is None or not right or token.one_time or not _is_live(token):
            raise TokenRefused
        actor = Actor.of(token.account, request_id=request_id, ip=ip)
        last, token_id = token.last_used_at, token.id
    if last is None or datetime.now(UTC) - last > USED_AGAIN:
        _note_use(token_id)
    return actor, token_id


@repeated
def sign_in(text: str, *, request_id: str | None, ip: str | None) -> Issued:
    """Exchange a one-time token for a new token. Raises TokenRefused."""
    with writing() as session:
        account = use_up(session, text)
        issued = add(session, account, "sign-in", _in_days(SIGN_IN_DAYS))
        actor = Actor.of(account, request_id=request_id, ip=ip)
        record(session, actor, "token.signed_in", issued.token)
    return issued


def use_up(session: CatalogSession, text: str) -> Account:
    """Use up a one-time token. Returns its account. Raises TokenRefused."""
    prefix, digest = _parts(text)
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


def add(
    session: CatalogSession,
    account: Account,
    name: str,
    expires_at: datetime | None,
    *,
    prefix: str | None = None,
    one_time: bool = False,
) -> Issued:
    """Create a token within the caller's transaction."""
    prefix, secret = prefix or secrets.token_hex(6), secrets.token_urlsafe(32)
    token = Token(
        account=account,
        name=name,
        prefix=prefix,
        digest=_digest(secret),
        one_time=one_time,
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()
    return Issued(token, f"hw_{prefix}_{secret}")


def _allow(actor: Actor, account_id: int) -> None:
    actor.require("tokens.own" if account_id == actor.id else "tokens.any")


def _find(actor: Actor, token_id: int) -> Token:
    token = db.session.get(Token, token_id) if 0 < token_id <= LARGEST_ID else None
    # Another account's token is reported as not found: its id reveals nothing.
    if token is None or not (actor.may("tokens.any") or token.account_id == actor.id):
        raise TokenNotFound(f"There is no token {token_id}.", token=token_id)
    return token


def record(session: CatalogSession, actor: Actor, action: str, token: Token) -> None:
    """Record an action on a token in the audit trail."""
    audit.record(
        session,
        actor,
        action,
        ("token", token.id),
        account=token.account_id,
        name=token.name,
        prefix=token.prefix,
    )


def _note_use(token_id: int) -> None:
    """Store the time of use, at most once a minute. No request fails or waits because of it."""
    used = update(Token).where(Token.id == token_id).values(last_used_at=datetime.now(UTC))
    try:
        with in_passing() as connection:
            connection.execute(used)
    except SQLAlchemyError:
        log.warning("the last use of token %s could not be noted", token_id)


def _is_live(token: Token) -> bool:
    expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return token.revoked_at is None and not expired and not token.account.disabled


def _parts(text: str) -> tuple[str, str]:
    if not (parts := TEXT.fullmatch(text)):
        raise TokenRefused
    return parts[1], _digest(parts[2])


def _digest(secret: str) -> str:
    # 256 random bits need no salt and no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()


def _in_days(days: int | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)
