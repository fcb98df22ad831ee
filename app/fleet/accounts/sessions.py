"""Sessions: a signed-in browser has its own token, valid for some hours."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from app.errors import TokenRefused
from app.fleet.accounts import tokens
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.models import Account, Token

NAME = "browser"
"""The name of tokens that are sessions."""
LASTS = timedelta(hours=12)


@repeated
def start(text: str, *, request_id: str | None, ip: str | None) -> tuple[tokens.Issued, bool]:
    """Start a session with a token. Returns it, and True if a one-time token was used up.

    Raises TokenRefused.
    """
    try:
        actor, _ = tokens.authenticate(text, request_id=request_id, ip=ip)
    except TokenRefused:
        actor = None
    with writing() as session:
        account = session.get(Account, actor.id) if actor else tokens.use_up(session, text)
        if account is None:  # it was deleted at the same time
            raise TokenRefused
        return begin(session, account, request_id=request_id, ip=ip), actor is None


def begin(
    session: CatalogSession, account: Account, *, request_id: str | None, ip: str | None
) -> tokens.Issued:
    """Start a session for an authenticated account, within the caller's transaction."""
    issued = tokens.add(session, account, NAME, datetime.now(UTC) + LASTS)
    actor = Actor.of(account, request_id=request_id, ip=ip)
    tokens.record(session, actor, "token.signed_in", issued.token)
    return issued


@repeated
def end(actor: Actor, *, but: int | None = None) -> int:
    """Sign out the actor's browsers, except the one with token id `but`. Returns how many."""
    with writing() as session:
        return end_all(session, actor, int(actor.id or 0), but=but)


def end_all(
    session: CatalogSession, actor: Actor, account_id: int, *, but: int | None = None
) -> int:
    """Sign out an account's browsers, except `but`, within the caller's transaction."""
    theirs = select(Token).where(
        Token.account_id == account_id, Token.name == NAME, Token.revoked_at.is_(None)
    )
    ended = [token for token in session.scalars(theirs) if token.id != but]
    for token in ended:
        token.revoked_at = datetime.now(UTC)
        tokens.record(session, actor, "token.revoked", token)
    return len(ended)
