"""`/tokens`: the tokens and the password of the signed-in account."""

from typing import Any

from apiflask import APIBlueprint
from flask import flash, g, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import accounts
from app.fleet.accounts import passwords
from app.fleet.accounts import tokens as fleet
from app.fleet.projects import grants
from app.models import Scope
from app.web import access
from app.web.pagination import PAGE, after

bp = APIBlueprint("tokens", __name__, enable_openapi=False, url_prefix="/tokens")

DAYS = {"30": "30 days", "90": "90 days", "365": "a year", "": "no expiry"}
"""Days -> the label of a validity period of a new token."""


@bp.get("/")
def list_() -> str:
    """The account's tokens, newest first, and the form of its password."""
    return _page()


@bp.post("/")
def create() -> Any:
    """Create a token. Its text is shown only in this response."""
    access.prove()
    actor = access.actor()
    days = request.form.get("days", str(fleet.usual_days()))
    if days not in _days():
        raise InputInvalid("Choose how long the token is valid.")
    scope = request.form.get("scope") or None
    if scope not in (None, *Scope):
        raise InputInvalid("There is no such scope.")
    issued, _ = fleet.issue_token(
        actor,
        account_id=int(actor.id or 0),
        name=request.form.get("name", "").strip(),
        expires_days=int(days) if days else None,
        scope=Scope(scope) if scope else None,
        key=access.once(),
    )
    return _page(issued), 201


@bp.post("/<int:token_id>/revoke")
def revoke(token_id: int) -> Any:
    """Revoke a token."""
    fleet.revoke_token(access.actor(), token_id)
    flash(f"Token {token_id} is revoked.", "good")
    return redirect(url_for("web.tokens.list_"))


@bp.post("/password")
def password() -> Any:
    """Set or change the account's password; its other browsers and its tokens are out."""
    form = request.form
    if form.get("new") != form.get("again"):
        raise InputInvalid("The two new passwords differ. Nothing was changed.")
    passwords.change_own(
        access.actor(),
        old=form.get("old", ""),
        new=form.get("new", ""),
        but=g.token_id,
        keep_tokens=bool(form.get("keep_tokens")),
    )
    kept = "" if form.get("keep_tokens") else ", and your tokens are revoked"
    flash(f"Your password is set. Your other browsers are signed out{kept}.", "good")
    return redirect(url_for("web.tokens.list_"))


def _days() -> dict[str, str]:
    """Days -> the label, of the validity periods that the settings allow."""
    most = fleet.most_days()
    if not most:
        return DAYS
    return {d: word for d, word in DAYS.items() if d and int(d) < most} | {
        str(most): f"{most} days"
    }


def _page(issued: fleet.Issued | None = None) -> str:
    actor = access.actor()
    found, following = fleet.list_tokens(
        actor, limit=PAGE, account_id=actor.id, after=after(), live=True
    )
    return render_template(
        "tokens.html",
        account=accounts.get_account(actor, int(actor.id or 0)),
        grants=grants.list_grants(actor, limit=PAGE, account_id=actor.id)[0],
        tokens=found,
        following=following,
        issued=issued,
        days=_days(),
        usual=str(fleet.usual_days()),
        this=g.token_id,
        shortest=passwords.SHORTEST,
        longest=passwords.LONGEST,
    )
