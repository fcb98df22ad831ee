"""`/accounts`: the list of accounts, and the page of an account."""

from dataclasses import dataclass
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import accounts as fleet
from app.fleet.accounts import invitations, oidc, passwords, tokens
from app.fleet.core import audit
from app.fleet.projects import grants
from app.models import Account, Event, Role, Token
from app.web import access
from app.web.pagination import PAGE, after

bp = APIBlueprint("accounts", __name__, enable_openapi=False, url_prefix="/accounts")

LATELY = 20
"""How many audit events the page of an account shows."""


@dataclass(frozen=True)
class AccountAction:
    """An action on an account: its label, the right it needs, and its effect."""

    word: str
    right: str
    says: str
    is_heavy: bool = False


ACTIONS = {
    "invite": AccountAction(
        "Invite",
        "tokens.any",
        "This creates a one-time token and shows it once. A person with the token can sign in as "
        "this account within 24 hours and then set a password. Older invitations become invalid.",
    ),
    "disable": AccountAction(
        "Disable",
        "accounts.set_role",
        "The account can no longer sign in: its browsers are signed out and its tokens are refused "
        "until it is enabled again. Rollouts that it started continue.",
    ),
    "enable": AccountAction(
        "Enable",
        "accounts.set_role",
        "The account can sign in again, and its tokens that have not expired are valid again.",
    ),
    "forget-provider": AccountAction(
        "Unlink from the provider",
        "accounts.set_role",
        "The next sign-in with the provider is matched by e-mail address again. The account's "
        "browsers are signed out.",
    ),
    "remove-password": AccountAction(
        "Remove the password",
        "tokens.any",
        "The account can then sign in only with a token or the provider. Its browsers are signed "
        "out.",
    ),
    "delete": AccountAction(
        "Delete",
        "accounts.delete",
        "This deletes the account and its tokens permanently. Its actions stay in the audit trail, "
        "under its name.",
        is_heavy=True,
    ),
}
PROVEN = {"email", "role"}
"""Fields that are a way in, or up: a form that changes one asks for a proof."""
ANY = ",".join(f'"{verb}"' for verb in ACTIONS)


@bp.get("/")
def list_() -> str:
    """A page of accounts, in the order of creation."""
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
    """Create an account. An invitation is then needed for its first sign-in."""
    actor = access.actor()
    actor.require("accounts.create")
    if request.method == "POST":
        account, _ = fleet.create_account(actor, _account_values())
        flash(
            f"Account {account.id} was created. Invite the person, so that they can sign in.",
            "good",
        )
        return redirect(url_for("web.accounts.show", account_id=account.id))
    return render_template("account_new.html", roles=_roles())


@bp.get("/<int:account_id>")
def show(account_id: int) -> str:
    """The page of an account: its fields, actions, tokens and recent audit events."""
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
        grants=grants.list_grants(actor, limit=LATELY, account_id=account_id)[0],
        verbs={verb: ACTIONS[verb] for verb in _possible(account)},
        may_change=actor.may("accounts.change") and actor.role.includes(Role(account.role)),
        roles=_roles() if account_id != actor.id else [],
    )


@bp.post("/<int:account_id>")
def change(account_id: int) -> Any:
    """Change the fields of an account, if it still has the version that the page showed."""
    version = request.form.get("version", "")
    if not version.isdecimal():
        raise InputInvalid("The form has no version. Open the page of the account again.")
    values = _account_values()
    account = fleet.get_account(access.actor(), account_id)
    if any(getattr(account, name) != values.get(name) for name in PROVEN & values.keys()):
        access.prove()
    fleet.change_account(access.actor(), account_id, values, version=int(version[:9]))
    flash("Changed.", "good")
    return redirect(url_for("web.accounts.show", account_id=account_id))


@bp.route(f"/<int:account_id>/<any({ANY}):verb>", methods=["GET", "POST"])
def act(account_id: int, verb: str) -> Any:
    """Show the effect of an action (GET), or do it (POST)."""
    actor = access.actor()
    account = fleet.get_account(actor, account_id)
    actor.require(ACTIONS[verb].right)
    if verb not in _possible(account):
        raise InputInvalid(
            "This action is not possible for this account now, or you cannot do it to your own "
            "account."
        )
    issued = None
    if request.method == "POST":
        issued = _do(account, verb)
        if issued is None:
            flash(f"{ACTIONS[verb].word}: done.", "good")
            if verb == "delete":
                return redirect(url_for("web.accounts.list_"))
            return redirect(url_for("web.accounts.show", account_id=account_id))
    return render_template(
        "account_act.html",
        account=account,
        verb=ACTIONS[verb],
        proves=verb == "invite",
        issued=issued,
        sign_in=access.outside("web.access.sign_in"),
    )


def _do(account: Account, verb: str) -> tokens.Issued | None:
    actor, version = access.actor(), account.version
    if verb == "invite":
        access.prove()
        actor = access.actor()
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
    """The names of the actions that the actor may do on this account now."""
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
    """The roles that the actor may assign; [] if none."""
    return list(Role) if access.actor().may("accounts.set_role") else []


def _account_values() -> dict[str, Any]:
    """The values of the form: an empty field is cleared, a missing one stays."""
    form = request.form
    fields = ("name", "email", "description", "role")
    values: dict[str, Any] = {name: form[name].strip() or None for name in fields if name in form}
    if values.get("role") is None:
        values.pop("role", None)
    elif values["role"] not in list(Role):
        raise InputInvalid("There is no such role.")
    return values
