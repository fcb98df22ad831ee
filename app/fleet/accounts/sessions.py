"""Sessions: a browser that is signed in has a token of its own, good for some hours."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from app.errors import TokenRefused
from app.fleet.accounts import tokens
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.models import Account, Token

NAME = "browser"
"""The name of a token that a browser has as its session."""
LASTS = timedelta(hours=12)


@repeated
def start(text: str, *, request_id: str | None, ip: str | None) -> tuple[tokens.Issued, bool]:
    """A session for whoever has this token, and whether the token is spent. Raises TokenRefused.

    A one-time token is used up by it; any other stays what it is.
    """
    try:
        actor, _ = tokens.authenticate(text, request_id=request_id, ip=ip)
    except TokenRefused:
        actor = None
    with writing() as session:
        account = session.get(Account, actor.id) if actor else tokens.use_up(session, text)
        if account is None:  # it was deleted in this very moment
            raise TokenRefused
        return begin(session, account, request_id=request_id, ip=ip), actor is None


def begin(
    session: CatalogSession, account: Account, *, request_id: str | None, ip: str | None
) -> tokens.Issued:
    """A session for an account that has proved itself, in a transaction that the caller ends."""
    issued = tokens.add(session, account, NAME, datetime.now(UTC) + LASTS)
    actor = Actor.of(account, request_id=request_id, ip=ip)
    tokens.record(session, actor, "token.signed_in", issued.token)
    return issued


@repeated
def end(actor: Actor, *, but: int | None = None) -> int:
    """Sign an account's browsers out, all of them or all but one; how many there were."""
    with writing() as session:
        return end_all(session, actor, int(actor.id or 0), but=but)


def end_all(
    session: CatalogSession, actor: Actor, account_id: int, *, but: int | None = None
) -> int:
    """The same for any account, in a transaction that the caller ends."""
    theirs = select(Token).where(
        Token.account_id == account_id, Token.name == NAME, Token.revoked_at.is_(None)
    )
    ended = [token for token in session.scalars(theirs) if token.id != but]
    for token in ended:
        token.revoked_at = datetime.now(UTC)
        tokens.record(session, actor, "token.revoked", token)
    return len(ended)
