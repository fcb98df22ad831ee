"""Tokens: shown once, stored as a digest, and compared in constant time."""

import hashlib
import hmac
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import current_app
from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, joinedload

from app.errors import (
    AccountNotFound,
    InputInvalid,
    RoleInsufficient,
    TokenNotFound,
    TokenRefused,
)
from app.extensions import db
from app.fleet.core import audit, idempotency
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, in_passing, repeated, writing
from app.fleet.core.validation import LARGEST_ID, fitting
from app.fleet.core.visibility import WHOLE_FLEET, narrow_to
from app.models import Account, Role, Scope, Token, TokenKind
from app.settings import Settings

log = logging.getLogger(__name__)

TEXT = re.compile(r"hw_([a-z0-9]{4,12})_([A-Za-z0-9_-]{43})")
FIRST = "first"
"""The prefix of the token that invites the first admin. It is unique, so only one exists."""
USUAL_DAYS = 90
USED_AGAIN = timedelta(minutes=1)
IDLE = timedelta(hours=1)
"""A session that was not used for so long has ended."""


HEADWAY = Actor(id=None, name="headway", role=Role.ADMIN)


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
    scope: Scope | None = None,
    key: str | None = None,
) -> tuple[Issued, bool]:
    """Create a token of a program. Returns it, and True if an equal request made it before.

    An account may create its own tokens, an admin those of any account; `expires_days` of None:
    for ever. A token that was made before comes without its text. Raises ConfirmationNeeded.
    """
    _allow(actor, account_id)
    actor.require_proof()
    fitting(Token, {"name": name})
    if (most := most_days()) and (expires_days is None or expires_days > most):
        raise InputInvalid(
            f"A token may be valid for at most {most} days: HEADWAY_TOKEN_DAYS sets this limit."
        )
    about = ("tokens", [account_id, name, expires_days, *([scope] if scope else [])])
    request = idempotency.Request(actor=actor, key=key, about=about)

    def make() -> Issued:
        with writing() as session:
            account = session.get(Account, account_id) if account_id <= LARGEST_ID else None
            if account is None:
                raise AccountNotFound(f"There is no account {account_id}.", account=account_id)
            # No newer proof than what it was made with: a thief of that could go on and on.
            proven = datetime.now(UTC) if actor.token is None else actor.token.proven_at
            issued = add(
                session,
                account,
                name,
                in_days(expires_days),
                kind=TokenKind.API,
                scope=scope,
                proven_at=proven if actor.id in (None, account.id) else None,
            )
            request.remember(session, issued.token.id)
            record(session, actor, "token.created", issued.token)
        return issued

    return request.once(make, lambda made: Issued(get_token(actor, made), None))


def get_token(actor: Actor, token_id: int) -> Token:
    """The token without its text, or TokenNotFound. Admins see all tokens, others their own."""
    token = db.session.get(Token, token_id) if 0 < token_id <= LARGEST_ID else None
    # Another account's token is reported as not found: its id reveals nothing.
    if token is None or not (actor.may("tokens.any") or token.account_id == actor.id):
        raise TokenNotFound(f"There is no token {token_id}.", token=token_id)
    return token


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
    query = begin_after(select(Token), Token.id, after, newest=live)
    if account_id is not None:
        query = query.where(Token.account_id == account_id)
    if live:
        now = datetime.now(UTC)
        unexpired = or_(Token.expires_at.is_(None), Token.expires_at > now)
        used = func.coalesce(Token.last_used_at, Token.created_at) > now - IDLE
        in_use = or_(Token.kind != TokenKind.SESSION, Token.one_time, used)
        query = query.where(Token.revoked_at.is_(None), unexpired, in_use)
    return page_of(query, limit)


@repeated
def revoke_token(actor: Actor, token_id: int) -> None:
    """Revoke a token. Revoking it again changes nothing. One with a scope revokes only itself."""
    if actor.token and actor.token.scope and actor.token.id != token_id:
        raise RoleInsufficient(
            f"Your token has the scope {actor.token.scope}, which does not allow this."
        )
    with writing() as session:
        token = get_token(actor, token_id)
        if token.revoked_at is None:
            token.revoked_at = datetime.now(UTC)
            record(session, actor, "token.revoked", token)


def revoke_all(
    session: CatalogSession,
    actor: Actor,
    account_id: int,
    *kinds: TokenKind,
    but: int | None = None,
) -> int:
    """Revoke an account's tokens of these kinds within the caller's transaction. Returns how many.

    The one with the id `but` stays.
    """
    theirs = select(Token).where(
        Token.account_id == account_id, Token.kind.in_(kinds), Token.revoked_at.is_(None)
    )
    ended = [token for token in session.scalars(theirs) if token.id != but]
    for token in ended:
        token.revoked_at = datetime.now(UTC)
        record(session, actor, "token.revoked", token)
    return sum(_is_unexpired(token) for token in ended)


def most_days() -> int:
    """The longest life of a token of a program, in days; 0 if there is no limit."""
    settings: Settings = current_app.extensions["headway"]
    return settings.token_days


def usual_days() -> int:
    """The life of a token of a program that nobody has said, in days."""
    return min(USUAL_DAYS, most_days() or USUAL_DAYS)


def authenticate(
    text: str,
    *,
    request_id: str | None,
    ip: str | None,
    kinds: tuple[TokenKind, ...] = (TokenKind.API,),
) -> tuple[Actor, int]:
    """The account of a token of one of these kinds, and the token's id.

    From here on queries see what this account may. Raises TokenRefused, always with one message.
    """
    prefix, digest = parts_of(text)
    query = select(Token).where(Token.prefix == prefix)
    query = query.options(joinedload(Token.account).joinedload(Account.grants))
    with Session(db.engine) as session:
        found = session.scalars(query.execution_options(**{WHOLE_FLEET: True}))
        token = found.unique().one_or_none()
        # Compared even if there is no such token, so that the time taken is the same.
        right = hmac.compare_digest(token.digest if token else "0" * 64, digest)
        if token is None or not right or token.one_time or not _is_live(token):
            raise TokenRefused
        if token.kind not in kinds:
            raise TokenRefused
        actor = Actor.of(token.account, request_id=request_id, ip=ip, token=token)
        last, token_id = token.last_used_at, token.id
    narrow_to(actor.projects)
    if last is None or datetime.now(UTC) - last > USED_AGAIN:
        _note_use(token_id)
    return actor, token_id


def account_of(text: str) -> int | None:
    """The account of the token that begins like this one, whether or not it is right."""
    parts = TEXT.fullmatch(text)
    return parts and db.session.scalar(select(Token.account_id).where(Token.prefix == parts[1]))


def add(
    session: CatalogSession,
    account: Account,
    name: str,
    expires_at: datetime | None,
    *,
    kind: TokenKind,
    prefix: str | None = None,
    scope: str | None = None,
    proven_at: datetime | None = None,
) -> Issued:
    """Create a token within the caller's transaction.

    That of an admin, unless a scope narrows it, ends the invitation that the first start printed.
    """
    if account.role == Role.ADMIN and kind is not TokenKind.INVITATION and not scope:
        printed = select(Token).where(Token.prefix == FIRST, Token.revoked_at.is_(None))
        if (first := session.scalar(printed)) is not None:
            first.revoked_at = datetime.now(UTC)
            record(session, HEADWAY, "token.revoked", first)
    prefix, secret = prefix or secrets.token_hex(6), secrets.token_urlsafe(32)
    token = Token(
        account=account,
        name=name,
        prefix=prefix,
        digest=_digest(secret),
        kind=kind,
        scope=scope,
        one_time=kind is TokenKind.INVITATION,
        expires_at=expires_at,
        proven_at=proven_at,
    )
    session.add(token)
    session.flush()
    return Issued(token, f"hw_{prefix}_{secret}")


def _allow(actor: Actor, account_id: int) -> None:
    actor.require("tokens.own" if account_id == actor.id else "tokens.any")


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
        **({"scope": token.scope} if token.scope else {}),
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
    is_idle = (
        token.kind == TokenKind.SESSION
        and (token.last_used_at or token.created_at) <= datetime.now(UTC) - IDLE
    )
    ended = token.revoked_at is not None or token.account.disabled
    return _is_unexpired(token) and not is_idle and not ended


def _is_unexpired(token: Token) -> bool:
    return token.expires_at is None or token.expires_at > datetime.now(UTC)


def parts_of(text: str) -> tuple[str, str]:
    if not (parts := TEXT.fullmatch(text)):
        raise TokenRefused
    return parts[1], _digest(parts[2])


def _digest(secret: str) -> str:
    # 256 random bits need no salt and no slow hash: there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()


def in_days(days: int | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)
