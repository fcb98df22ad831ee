"""Sessions: a signed-in browser has its own token, valid for some hours."""

from datetime import UTC, datetime, timedelta

from app.errors import TokenRefused
from app.fleet.accounts import invitations, tokens
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.models import Account, Token, TokenKind

NAME = "browser"
LASTS = timedelta(hours=12)


def start(text: str, *, request_id: str | None, ip: str | None) -> tuple[tokens.Issued, bool]:
    """Start a session with a token. Returns it, and True if a one-time token was used up.

    With a token of a program it has the scope of that, and is no proof of who sends it. Raises
    TokenRefused, TooManyAttempts.
    """
    with invitations.refusal_counted(text, request_id=request_id, ip=ip):
        return _start(text, request_id, ip)


@repeated
def _start(text: str, request_id: str | None, ip: str | None) -> tuple[tokens.Issued, bool]:
    try:
        actor, _ = tokens.authenticate(text, request_id=request_id, ip=ip)
    except TokenRefused:
        actor = None
    with writing() as session:
        account = session.get(Account, actor.id) if actor else invitations.use_up(session, text)
        if account is None:  # it was deleted at the same time
            raise TokenRefused
        used = actor.token if actor else None
        return begin(session, account, request_id=request_id, ip=ip, used=used), used is None


def begin(
    session: CatalogSession,
    account: Account,
    *,
    request_id: str | None,
    ip: str | None,
    used: Token | None = None,
) -> tokens.Issued:
    """Start a session for an authenticated account, within the caller's transaction.

    It has the scope of the token of a program that was `used`; without one, it is proven now.
    """
    now = datetime.now(UTC)
    issued = tokens.add(
        session,
        account,
        NAME,
        now + LASTS,
        kind=TokenKind.SESSION,
        scope=used.scope if used else None,
        proven_at=used.proven_at if used else now,
    )
    actor = Actor.of(account, request_id=request_id, ip=ip)
    tokens.record(session, actor, "token.signed_in", issued.token)
    return issued


@repeated
def end(actor: Actor, *, keep_tokens: bool = False) -> tuple[int, int]:
    """Sign out the actor's browsers, and revoke their tokens unless told to keep them.

    Returns how many of each.
    """
    with writing() as session:
        ended = tokens.revoke_all(session, actor, int(actor.id or 0), TokenKind.SESSION)
        if keep_tokens:
            return ended, 0
        others = (TokenKind.API, TokenKind.INVITATION)
        return ended, tokens.revoke_all(session, actor, int(actor.id or 0), *others)


def end_all(
    session: CatalogSession,
    actor: Actor,
    account_id: int,
    *,
    but: int | None = None,
    keep_tokens: bool = True,
) -> None:
    """Sign out an account's browsers, except `but`, within the caller's transaction."""
    kinds = (TokenKind.SESSION,) if keep_tokens else tuple(TokenKind)
    tokens.revoke_all(session, actor, account_id, *kinds, but=but)
