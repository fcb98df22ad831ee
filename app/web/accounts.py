"""`/accounts`: who may come in; and one of them."""

from dataclasses import dataclass
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import accounts as fleet
from app.fleet.accounts import invitations, oidc, passwords, tokens
from app.fleet.core import audit
from app.models import Account, Event, Role, Token
from app.web import access
from app.web.pagination import PAGE, after

bp = APIBlueprint("accounts", __name__, enable_openapi=False, url_prefix="/accounts")

LATELY = 20
"""How much of its trail the page of an account shows."""


@dataclass(frozen=True)
class AccountAction:
    """Something to do to an account: what will happen, said before it is done, and who may."""

    word: str
    right: str
    says: str


ACTIONS = {
    "invite": AccountAction(
        "Invite",
        "tokens.any",
        "A one-time token is made and shown once. Whoever has it signs in as this account within "
        "24 hours, and can then set a password. An older invitation is good no more.",
    ),
    "disable": AccountAction(
        "Disable",
        "accounts.set_role",
        "It can no longer sign in, its browsers are out at once and its tokens are refused, until "
        "it is enabled again. What it started goes on.",
    ),
    "enable": AccountAction(
        "Enable",
        "accounts.set_role",
        "It can sign in again, and those of its tokens that have not expired are good again.",
    ),
    "forget-provider": AccountAction(
        "Untie from the provider",
        "accounts.set_role",
        "Its next sign-in by the provider is matched by its e-mail address again. Its browsers "
        "are signed out.",
    ),
    "remove-password": AccountAction(
        "Remove the password",
        "tokens.any",
        "It signs in by a token or by the provider only. Its browsers are signed out.",
    ),
    "delete": AccountAction(
        "Delete",
        "accounts.delete",
        "The account and its tokens are gone for good. What it did stays in the audit trail, "
        "under its name.",
    ),
}
ANY = ",".join(f'"{verb}"' for verb in ACTIONS)


@bp.get("/")
def list_() -> str:
    """Accounts, in the order they were made."""
    given = request.args
    role = given.get("role") or None
    found, following = fleet.list_accounts(
        access.actor(),
        limit=PAGE,
        after=after(),
        name=given.get("name", "")[:128] or None,
        role=role if role in list(Role) else None,
    )
    return render_template("accounts.html", accounts=found, following=following, roles=list(Role))


@bp.route("/new", methods=["GET", "POST"])
def new() -> Any:
    """A new account. It signs in first with an invitation, which is made next."""
    actor = access.actor()
    actor.require("accounts.create")
    if request.method == "POST":
        account, _ = fleet.create_account(actor, _account_values())
        flash(f"Account {account.id} is made. Invite its person, so that they can sign in.", "good")
        return redirect(url_for("web.accounts.show", account_id=account.id))
    return render_template("account_new.html", roles=_roles())


@bp.get("/<int:account_id>")
def show(account_id: int) -> str:
    """Who it is, what it may do, how it signs in, what it did lately."""
    actor = access.actor()
    account = fleet.get_account(actor, account_id)
    trail: list[Event] = []
    if actor.may("events.read"):
        trail, _ = audit.list_events(actor, limit=LATELY, actor_id=account_id)
    live: list[Token] = []
    if actor.may("tokens.any"):
        live, _ = tokens.list_tokens(actor, limit=LATELY, account_id=account_id, live=True)
    return render_template(
        "account.html",
        account=account,
        trail=trail,
        tokens=live,
        verbs={verb: ACTIONS[verb] for verb in _possible(account)},
        may_change=actor.may("accounts.change") and actor.role.includes(Role(account.role)),
        roles=_roles() if account_id != actor.id else [],
    )


@bp.post("/<int:account_id>")
def change(account_id: int) -> Any:
    """Other values. Refused if somebody changed the account since its page was read."""
    version = request.form.get("version", "")
    if not version.isdecimal():
        raise InputInvalid("Open the page of the account, and send its form.")
    fleet.change_account(access.actor(), account_id, _account_values(), version=int(version[:9]))
    flash("Changed.", "good")
    return redirect(url_for("web.accounts.show", account_id=account_id))


@bp.route(f"/<int:account_id>/<any({ANY}):verb>", methods=["GET", "POST"])
def act(account_id: int, verb: str) -> Any:
    """Say what will happen, then do it."""
    actor = access.actor()
    account = fleet.get_account(actor, account_id)
    actor.require(ACTIONS[verb].right)
    if verb not in _possible(account):
        raise InputInvalid("This cannot be done to the account as it is, or not by yourself.")
    issued = None
    if request.method == "POST":
        issued = _do(account, verb)
        if issued is None:
            flash(f"{ACTIONS[verb].word}: done.", "good")
            if verb == "delete":
                return redirect(url_for("web.accounts.list_"))
            return redirect(url_for("web.accounts.show", account_id=account_id))
    return render_template("account_act.html", account=account, verb=ACTIONS[verb], issued=issued)


def _do(account: Account, verb: str) -> tokens.Issued | None:
    actor, version = access.actor(), account.version
    if verb == "invite":
        return invitations.invite(actor, account.id, key=access.once())
    if verb == "forget-provider":
        oidc.forget(actor, account.id)
    elif verb == "remove-password":
        passwords.remove_password(actor, account.id)
    elif verb == "delete":
        fleet.delete_account(actor, account.id, version=version)
    else:
        disabled = {"disabled": verb == "disable"}
        fleet.change_account(actor, account.id, disabled, version=version)
    return None


def _possible(account: Account) -> list[str]:
    """What the one who looks may do to this account, as it is."""
    actor = access.actor()
    other = actor.id != account.id
    makes_sense = {
        "invite": not account.disabled,
        "disable": other and not account.disabled,
        "enable": other and account.disabled,
        "forget-provider": account.oidc_subject is not None,
        "remove-password": account.password_set_at is not None,
        "delete": other,
    }
    return [verb for verb, sense in makes_sense.items() if sense and actor.may(ACTIONS[verb].right)]


def _roles() -> list[Role]:
    """Those that the one who looks may give; none if it may give none."""
    return list(Role) if access.actor().may("accounts.set_role") else []


def _account_values() -> dict[str, Any]:
    """What the form says; an empty field is cleared, one that is not there stays."""
    form = request.form
    fields = ("name", "email", "description", "role")
    values: dict[str, Any] = {name: form[name].strip() or None for name in fields if name in form}
    if values.get("role") is None:
        values.pop("role", None)
    elif values["role"] not in list(Role):
        raise InputInvalid("There is no such role.")
    return values
