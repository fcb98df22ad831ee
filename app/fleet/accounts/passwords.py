"""Passwords: kept by argon2 only, checked in the same time whoever is asked for."""

import logging
import unicodedata
from datetime import UTC, datetime
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session, undefer

from app.errors import AccountChanged, InputInvalid, PasswordRefused
from app.extensions import db
from app.fleet.accounts import sessions
from app.fleet.accounts.crud import get_account
from app.fleet.accounts.tokens import Issued
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import UNFIT
from app.models import Account

log = logging.getLogger(__name__)

SHORTEST, LONGEST = 12, 256
hasher = PasswordHasher()
"""Its defaults are those that RFC 9106 recommends, and grow with its releases."""


def sign_in(email: str, password: str, *, request_id: str | None, ip: str | None) -> Issued:
    """A session for the account with this address and password.

    Raises PasswordRefused, always in the same words and after the same work.
    """
    asked = "" if UNFIT.search(email) else email.strip().lower()[:128]
    query = select(Account).where(Account.email == asked)
    with Session(db.engine) as session:
        account = session.scalar(query.options(undefer(Account.password_hash)))
    known = account.password_hash if account and not account.disabled else None
    if not _is_right(known or _dummy_hash(), password) or account is None or known is None:
        log.warning("a sign-in with a password was refused", extra={"ip": ip})
        raise PasswordRefused
    return _begin(account.id, known, password, request_id, ip)


@repeated
def _begin(
    account_id: int, known: str, password: str, request_id: str | None, ip: str | None
) -> Issued:
    with writing() as session:
        account = session.get(Account, account_id)
        # It may have been disabled, or its password changed, while this one was checked.
        if account is None or account.disabled or _stored_hash(session, account_id) != known:
            raise PasswordRefused
        if hasher.check_needs_rehash(known):
            session.execute(_update_password(account_id).values(password_hash=_hash(password)))
        return sessions.begin(session, account, request_id=request_id, ip=ip)


def change_own(actor: Actor, *, old: str, new: str, but: int | None = None) -> None:
    """The password of whoever asks, who has to know the one that it had.

    Its browsers are signed out, but for the one with this token. Raises PasswordRefused,
    InputInvalid.
    """
    account = get_account(actor, int(actor.id or 0))
    known = _stored_hash(db.session, account.id)
    if known and not _is_right(known, old):
        raise PasswordRefused("That is not your password. Nothing was changed.")
    _set(actor, account, new, known=known, but=but)


def set_password(actor: Actor, account_id: int, new: str) -> None:
    """The password of any account, which an admin need not have known. Raises InputInvalid."""
    actor.require("tokens.any")
    account = get_account(actor, account_id)
    _set(actor, account, new, known=_stored_hash(db.session, account.id))


@repeated
def remove_password(actor: Actor, account_id: int) -> None:
    """The account signs in by other means only. Its browsers are signed out."""
    if actor.id != account_id:
        actor.require("tokens.any")
    account = get_account(actor, account_id)
    with writing() as session:
        session.execute(
            _update_password(account.id).values(password_hash=None, password_set_at=None)
        )
        audit.record(session, actor, "account.password_removed", ("account", account.id))
        sessions.end_all(session, actor, account.id)


@repeated
def _set(
    actor: Actor, account: Account, new: str, *, known: str | None, but: int | None = None
) -> None:
    _check(account, new)
    hashed = _hash(new)  # slow, on purpose: not while others wait for the catalog
    with writing() as session:
        if _stored_hash(session, account.id) != known:
            raise AccountChanged("The password was changed in this very moment, by another.")
        new_one = {"password_hash": hashed, "password_set_at": datetime.now(UTC)}
        session.execute(_update_password(account.id).values(new_one))
        audit.record(session, actor, "account.password_set", ("account", account.id))
        sessions.end_all(session, actor, account.id, but=but)


def _check(account: Account, new: str) -> None:
    if account.email is None:
        raise InputInvalid(
            f"Account {account.id} has no e-mail address, and a password goes with one. "
            "Give it one first."
        )
    if not SHORTEST <= len(new) <= LONGEST:
        raise InputInvalid(
            f"A password has {SHORTEST} to {LONGEST} characters. A few words are a good one."
        )
    if UNFIT.search(new):
        raise InputInvalid("The password holds a character that no keyboard has.")
    if len(set(new)) < SHORTEST // 3 or new.lower() in (account.email, account.name.lower()):
        raise InputInvalid("This password is guessed at once. A few words are a good one.")


def _hash(password: str) -> str:
    return hasher.hash(_normalised(password))


def _normalised(password: str) -> str:
    """The same however a keyboard spells it: é is one character here and two there."""
    return unicodedata.normalize("NFKC", password[: LONGEST + 1])


def _is_right(known: str, password: str) -> bool:
    try:
        return hasher.verify(known, _normalised(password))
    except (VerificationError, InvalidHashError):
        return False


@cache
def _dummy_hash() -> str:
    """What is compared where there is nothing to compare: the time taken tells nothing."""
    return _hash("no password")


def _stored_hash(session: CatalogSession, account_id: int) -> str | None:
    return session.scalar(select(Account.password_hash).where(Account.id == account_id))


def _update_password(account_id: int) -> Update:
    """Not through the account itself: its version counts what others see of it."""
    return update(Account).where(Account.id == account_id).values(updated_at=Account.updated_at)
