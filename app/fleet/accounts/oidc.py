"""Sign-ins with an OpenID Connect provider: find the account of a person by verified claims."""

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from app.errors import SignInRefused
from app.fleet.accounts import limits, sessions
from app.fleet.accounts.crud import get_account, untie
from app.fleet.accounts.tokens import Issued
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import UNFIT
from app.models import Account

log = logging.getLogger(__name__)

LONGEST_SUBJECT = 255


def refused(account_id: int | None, *, request_id: str | None, ip: str | None) -> None:
    """Write to the trail that a sign-in was refused. Raises TooManyAttempts after many."""
    limits.refused("provider", account_id, request_id=request_id, ip=ip)


@repeated
def sign_in(
    issuer: str, claims: Mapping[str, Any], *, request_id: str | None, ip: str | None
) -> Issued:
    """Start a session for the account of the person in these verified claims.

    This is the account linked to the subject, or else the one with the verified e-mail address,
    which is linked from now on. No account is created. Raises SignInRefused, which names the
    `account` if one is known.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise SignInRefused("The provider did not say who you are: its token has no subject.")
    with writing() as session:
        account = session.scalar(
            select(Account).where(Account.oidc_issuer == issuer, Account.oidc_subject == subject)
        ) or _by_address(session, issuer, claims)
        if account.disabled:
            raise SignInRefused("Your account is disabled. Ask an admin.", account=account.id)
        if account.oidc_subject is None or account.oidc_issuer != issuer:
            account.oidc_issuer, account.oidc_subject = issuer, subject
            session.flush()
            actor = Actor.of(account, request_id=request_id, ip=ip)
            about = ("account", account.id)
            tied = {"issuer": issuer, "who": subject}
            audit.record(session, actor, "account.provider_tied", about, **tied)
        return sessions.begin(session, account, request_id=request_id, ip=ip)


@repeated
def forget(actor: Actor, account_id: int) -> None:
    """Unlink an account from its subject at the provider. Its browsers are signed out."""
    actor.require("accounts.set_role")
    with writing() as session:
        untie(session, actor, get_account(actor, account_id))


def _by_address(session: CatalogSession, issuer: str, claims: Mapping[str, Any]) -> Account:
    said = claims.get("email")
    email = said.strip().lower() if isinstance(said, str) else ""
    if not email or UNFIT.search(email) or claims.get("email_verified") is not True:
        raise SignInRefused(
            "The provider sent no verified e-mail address, and no account is linked to you yet. "
            "Verify your address there, or sign in with a token."
        )
    account = session.scalar(select(Account).where(Account.email == email))
    if account is None:
        raise SignInRefused(f"No account has the address {email}. Ask an admin for one.")
    if account.oidc_issuer == issuer:
        log.warning("account %s is tied to another subject of the provider", account.id)
        raise SignInRefused(
            f"The account with the address {email} is linked to another person at the provider. An "
            "admin can unlink it: `flask accounts forget-provider`.",
            account=account.id,
        )
    return account
