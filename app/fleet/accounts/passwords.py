"""Passwords, stored as argon2 hashes. A check takes the same time for unknown accounts."""

import logging
import os
import re
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Update, select, update
from sqlalchemy.orm import Session, undefer
from zxcvbn import zxcvbn

from app.errors import AccountChanged, InputInvalid, PasswordRefused
from app.extensions import db
from app.fleet.accounts import limits, sessions
from app.fleet.accounts.crud import get_account
from app.fleet.accounts.tokens import Issued
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.places import HASHING
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import UNFIT
from app.models import Account, Token

log = logging.getLogger(__name__)

SHORTEST, LONGEST = 12, 256
SAFE_SCORE = 3
"""Of zxcvbn's 0 to 4: more than 10^8 guesses, for somebody who knows the account too."""
SCORED = 72
"""How many characters zxcvbn looks at: its work grows faster than the password."""
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""With the parameters that OWASP recommends: 19 MiB each. Other hashes are renewed at a sign-in."""


def _let_others_first() -> None:
    """In the thread that hashes: whoever asks for a page does not wait for hashes."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


_one_at_a_time = ThreadPoolExecutor(1, "hash", _let_others_first)
"""Makes and checks hashes: the C library keeps the 19 MiB of each thread that ever hashed."""


def sign_in(email: str, password: str, *, request_id: str | None, ip: str | None) -> Issued:
    """Start a session for the account with this e-mail address and password.

    Raises PasswordRefused, always in the same words and after the same work; TooManyAttempts;
    ServerBusy.
    """
    asked = "" if UNFIT.search(email) else email.strip().lower()[:128]
    counted = limits.attempt(asked, ip)
    query = select(Account).where(Account.email == asked)
    with Session(db.engine) as session:
        account = session.scalar(query.options(undefer(Account.password_hash)))
    known = account.password_hash if account and not account.disabled else None
    if not _is_right(known or _dummy_hash(), password) or account is None or known is None:
        _refused(account, request_id, ip)
        raise PasswordRefused
    fresh = _hash(password) if hasher.check_needs_rehash(known) else None
    issued = _begin(account.id, known, fresh, request_id, ip)
    limits.passed(counted)
    return issued


@repeated
def _begin(
    account_id: int, known: str, fresh: str | None, request_id: str | None, ip: str | None
) -> Issued:
    with writing() as session:
        account = session.get(Account, account_id)
        # It may have been disabled, or its password changed, while this one was checked.
        if account is None or account.disabled or _stored_hash(session, account_id) != known:
            raise PasswordRefused
        if fresh:
            session.execute(_update_password(account_id).values(password_hash=fresh))
        return sessions.begin(session, account, request_id=request_id, ip=ip)


def change_own(
    actor: Actor, *, old: str, new: str, but: int | None = None, keep_tokens: bool = False
) -> None:
    """Change the actor's own password; `old` has to be right if there is one.

    The account's browsers are signed out, except the one with the token id `but`, and its tokens
    are revoked unless `keep_tokens`. Raises PasswordRefused, InputInvalid, ConfirmationNeeded for
    the first password, TooManyAttempts.
    """
    account = get_account(actor, int(actor.id or 0))
    known = _stored_hash(db.session, account.id)
    if known:
        actor = prove(actor, old)
    actor.require_proof()
    _set(actor, account, new, known=known, but=but, keep_tokens=keep_tokens)


def set_password(actor: Actor, account_id: int, new: str, *, keep_tokens: bool = False) -> None:
    """Set the password of any account, as an admin; its tokens are revoked unless `keep_tokens`.

    Raises InputInvalid.
    """
    actor.require("tokens.any")
    account = get_account(actor, account_id)
    known = _stored_hash(db.session, account.id)
    _set(actor, account, new, known=known, keep_tokens=keep_tokens)


def prove(actor: Actor, password: str) -> Actor:
    """The actor, after their password has proved who they are, as their token remembers.

    Raises PasswordRefused, TooManyAttempts.
    """
    account = get_account(actor, int(actor.id or 0))
    counted = limits.attempt(account.email or "", actor.ip)
    if not _is_right(_stored_hash(db.session, account.id) or _dummy_hash(), password):
        _refused(account, actor.request_id, actor.ip)
        raise PasswordRefused("That is not your password. Nothing was changed.")
    limits.passed(counted)
    return _remember_proof(actor) if actor.token else actor


@repeated
def _remember_proof(actor: Actor) -> Actor:
    with writing() as session:
        token = session.get_one(Token, actor.token.id if actor.token else 0)
        token.proven_at = datetime.now(UTC)
    return replace(actor, token=token)


def _refused(account: Account | None, request_id: str | None, ip: str | None) -> None:
    log.warning("a sign-in with a password was refused", extra={"ip": ip})
    account_id = account.id if account else None
    limits.refused("password", account_id, request_id=request_id, ip=ip, count=False)


@repeated
def remove_password(actor: Actor, account_id: int) -> None:
    """Remove the password of an account. Its browsers are signed out."""
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
    actor: Actor,
    account: Account,
    new: str,
    *,
    known: str | None,
    keep_tokens: bool,
    but: int | None = None,
) -> None:
    _check(account, new)
    hashed = _hash(new)  # slow, on purpose: not while others wait for the catalog
    with writing() as session:
        if _stored_hash(session, account.id) != known:
            raise AccountChanged("Another request changed the password at the same time.")
        new_one = {"password_hash": hashed, "password_set_at": datetime.now(UTC)}
        session.execute(_update_password(account.id).values(new_one))
        audit.record(session, actor, "account.password_set", ("account", account.id))
        sessions.end_all(session, actor, account.id, but=but, keep_tokens=keep_tokens)


def _check(account: Account, new: str) -> None:
    if account.email is None:
        raise InputInvalid(
            f"Account {account.id} has no e-mail address, which a sign-in with a password needs. "
            "Add one first."
        )
    if not SHORTEST <= len(new) <= LONGEST:
        raise InputInvalid(f"A password has {SHORTEST} to {LONGEST} characters. Use a few words.")
    if UNFIT.search(new):
        raise InputInvalid("The password contains a control character.")
    theirs = re.findall(r"\w{3,}", f"{account.email} {account.name} headway".lower())
    found = zxcvbn(_normalised(new)[:SCORED], [account.email, account.name, *theirs])
    if found["score"] < SAFE_SCORE:
        why = found["feedback"]["warning"] or "It is made of few or common words."
        raise InputInvalid(f"This password is easy to guess. {why} Use a few unrelated words.")


def _hash(password: str) -> str:
    with HASHING.take():
        return _one_at_a_time.submit(hasher.hash, _normalised(password)).result()


def _normalised(password: str) -> str:
    """The password in NFKC: keyboards may send é as one character or as two."""
    return unicodedata.normalize("NFKC", password[: LONGEST + 1])


def _is_right(known: str, password: str) -> bool:
    try:
        with HASHING.take():
            return _one_at_a_time.submit(hasher.verify, known, _normalised(password)).result()
    except (VerificationError, InvalidHashError):
        return False


@cache
def _dummy_hash() -> str:
    """A hash to compare with for an unknown account, so that the time taken is the same."""
    return _hash("no password")


def _stored_hash(session: CatalogSession, account_id: int) -> str | None:
    return session.scalar(select(Account.password_hash).where(Account.id == account_id))


def _update_password(account_id: int) -> Update:
    """An update of the password columns that does not count as a new version of the account."""
    return update(Account).where(Account.id == account_id).values(updated_at=Account.updated_at)
