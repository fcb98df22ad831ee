"""Accounts: create, list, read, change, delete."""

from typing import Any

from sqlalchemy import select

from app.errors import (
    AccountChanged,
    AccountNotFound,
    LastAdmin,
    RoleInsufficient,
)
from app.extensions import db
from app.fleet.accounts import sessions
from app.fleet.core import audit, idempotency
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID, fitting, is_id, require_version
from app.models import Account, Role


@repeated
def create_account(
    actor: Actor, values: dict[str, Any], *, country: str | None = None, key: str | None = None
) -> tuple[Account, bool]:
    """Create an account. Returns it, and True if an equal request with this key made it before.

    The account stores the address of the actor; `country` is its location if none is given.
    """
    actor.require("accounts.create")
    values = fitting(Account, values)
    role = values.setdefault("role", Role.VIEWER)
    if not Role.VIEWER.includes(Role(role)):
        actor.require("accounts.set_role")
    # Without the address of the caller, which may be another when the request is sent again.
    request = idempotency.Request(actor=actor, key=key, about=("accounts", values))
    values = _with_origin(actor, values, country)

    def make() -> Account:
        with writing() as session:
            account = Account(**values)
            session.add(account)
            session.flush()
            request.remember(session, account.id)
            audit.record(
                session, actor, "account.created", ("account", account.id), **_json_values(values)
            )
        return account

    return request.once(make, lambda made: get_account(actor, made))


def get_account(actor: Actor, account_id: int) -> Account:
    """The account, or AccountNotFound. Everybody may read their own."""
    if account_id != actor.id:
        actor.require("accounts.read")
    return _find(db.session, account_id)


def find_account(actor: Actor, name: str) -> Account:
    """The account with this id or e-mail address, or AccountNotFound."""
    actor.require("accounts.read")
    if is_id(name):
        return get_account(actor, int(name))
    query = select(Account).where(Account.email == name.strip().lower())
    account = db.session.scalar(query)
    if account is None:
        raise AccountNotFound(f"There is no account with the address {name}.")
    return account


def list_accounts(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    name: str | None = None,
    email: str | None = None,
    role: str | None = None,
) -> tuple[list[Account], int | None]:
    """A page of accounts in the order of creation, and the `after` of the next page.

    `name` is part of the name; `email` and `role` are exact.
    """
    actor.require("accounts.read")
    query = begin_after(select(Account), Account.id, after)
    if name:
        query = query.where(Account.name.icontains(name, autoescape=True))
    if email:
        query = query.where(Account.email == email.strip().lower())
    if role:
        query = query.where(Account.role == role)
    return page_of(query, limit)


@repeated
def change_account(
    actor: Actor, account_id: int, values: dict[str, Any], *, version: int | None
) -> Account:
    """Change an account, if it still has the version that was read. Returns the account.

    While `disabled`, it can neither sign in nor use a token. A version of None means any version.
    Another address, or a higher role, unties it from the provider: whoever could sign in there as
    this account must not keep that. Raises AccountChanged, EmailTaken, LastAdmin; and for the
    actor's own address ConfirmationNeeded.
    """
    actor.require("accounts.change")
    values = fitting(Account, values)
    with writing() as session:
        account = _find(session, account_id, version)
        actor.require_over(account)
        before = {name: getattr(account, name) for name in values}
        changed = {name: value for name, value in values.items() if before[name] != value}
        if changed.keys() & {"role", "disabled"}:
            _require_may_change_access(session, actor, account)
        # The address is a way to sign in.
        if "email" in changed and actor.id == account.id:
            actor.require_proof()
        elif "email" in changed:
            actor.require("accounts.set_role")
        rises = "role" in changed and not Role(account.role).includes(Role(changed["role"]))
        for name, value in changed.items():
            setattr(account, name, value)
        if changed:
            session.flush()
            audit.record(
                session,
                actor,
                "account.changed",
                ("account", account.id),
                **_json_values({name: [before[name], value] for name, value in changed.items()}),
            )
            if rises or ("email" in changed and actor.id != account.id):
                untie(session, actor, account)
    return account


def untie(session: CatalogSession, actor: Actor, account: Account) -> None:
    """Unlink an account from its subject at the provider, if it has one.

    Within the caller's transaction. Its browsers are signed out.
    """
    if account.oidc_subject is None:
        return
    tied = {"issuer": account.oidc_issuer, "who": account.oidc_subject}
    account.oidc_issuer = account.oidc_subject = None
    session.flush()
    audit.record(session, actor, "account.provider_forgotten", ("account", account.id), **tied)
    sessions.end_all(session, actor, account.id)


@repeated
def delete_account(actor: Actor, account_id: int, *, version: int | None) -> None:
    """Delete an account and its tokens. Its entries in the audit trail stay."""
    actor.require("accounts.delete")
    with writing() as session:
        account = _find(session, account_id, version)
        actor.require_over(account)
        _keep_an_admin(session, account)
        audit.record(
            session,
            actor,
            "account.deleted",
            ("account", account.id),
            name=account.name,
            email=account.email,
        )
        session.delete(account)


def _find(session: CatalogSession, account_id: int, version: int | None = None) -> Account:
    account = session.get(Account, account_id) if 0 < account_id <= LARGEST_ID else None
    if account is None:
        raise AccountNotFound(f"There is no account {account_id}.", account=account_id)
    require_version(account, version, AccountChanged)
    return account


def _require_may_change_access(session: CatalogSession, actor: Actor, account: Account) -> None:
    actor.require("accounts.set_role")
    if actor.id == account.id:
        raise RoleInsufficient("You cannot change or disable your own role. Ask another admin.")
    _keep_an_admin(session, account)


def _keep_an_admin(session: CatalogSession, account: Account) -> None:
    """Refuse to lose the last admin. Locks all admins, so that two cannot be removed at once."""
    if account.role != Role.ADMIN or account.disabled:
        return
    admins = select(Account.id).where(Account.role == Role.ADMIN, Account.disabled_at.is_(None))
    if len(session.scalars(admins.order_by(Account.id).with_for_update()).all()) == 1:
        raise LastAdmin(
            f"Account {account.id} is the last admin. Make another account an admin first."
        )


def _with_origin(actor: Actor, values: dict[str, Any], country: str | None) -> dict[str, Any]:
    return values | {"ip_source": actor.ip, "location": values.get("location") or country}


def _json_values(values: dict[str, Any]) -> dict[str, Any]:
    """Values that JSON can hold: dates as text."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(item) for item in value]
        return value if isinstance(value, str | int | None) else str(value)

    return {name: one(value) for name, value in values.items()}
