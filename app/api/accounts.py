"""`/api/v1/accounts`."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, current_app, request, url_for

from app.api import access, conditions, responses
from app.api.schemas.accounts import (
    AccountChange,
    AccountIn,
    AccountOut,
    AccountPage,
    AccountQuery,
)
from app.api.schemas.common import Idempotent
from app.errors import AccountChanged
from app.fleet import accounts as fleet
from app.settings import Settings

bp = APIBlueprint("accounts", __name__, url_prefix="/accounts", tag="accounts")

COUNTRY_HEADERS = ("CF-IPCountry", "CloudFront-Viewer-Country", "X-Country-Code")


@bp.post("")
@bp.input(AccountIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(AccountOut, status_code=201)
@bp.doc(summary="Create an account", operation_id="createAccount")
def create(body: AccountIn, idempotent: Idempotent) -> Any:
    account, replayed = fleet.create_account(
        access.actor(), body.model_dump(), country=_country(), key=idempotent.idempotency_key
    )
    where = url_for("api.accounts.read", account_id=account.id)
    headers = responses.made(where, replayed) | conditions.tag(account)
    return AccountOut.model_validate(account), 201, headers


@bp.get("")
@bp.input(AccountQuery, location="query", arg_name="query")
@bp.output(AccountPage)
@bp.doc(summary="List accounts", operation_id="listAccounts")
def list_(query: AccountQuery) -> Any:
    found, following = fleet.list_accounts(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.get("/<int:account_id>")
@bp.output(AccountOut)
@bp.doc(summary="Read an account", operation_id="readAccount")
def read(account_id: int) -> Any:
    account = fleet.get_account(access.actor(), account_id)
    if request.if_none_match.contains_weak(conditions.etag(account)):
        return Response(status=304, headers=conditions.tag(account))
    return AccountOut.model_validate(account), 200, conditions.tag(account)


@bp.patch("/<int:account_id>")
@bp.input(AccountChange, arg_name="body")
@bp.output(AccountOut)
@bp.doc(summary="Change an account", operation_id="changeAccount")
def change(account_id: int, body: AccountChange) -> Any:
    values = body.model_dump(exclude_unset=True)
    version = conditions.expected(account_id, AccountChanged)
    account = fleet.change_account(access.actor(), account_id, values, version=version)
    return AccountOut.model_validate(account), 200, conditions.tag(account)


@bp.delete("/<int:account_id>")
@bp.output({}, status_code=204)
@bp.doc(summary="Delete an account", operation_id="deleteAccount")
def delete(account_id: int) -> Any:
    version = conditions.expected(account_id, AccountChanged)
    fleet.delete_account(access.actor(), account_id, version=version)
    return "", 204


def _country() -> str | None:
    """Where the proxy in front of us says the request came from, if we trust one."""
    settings: Settings = current_app.extensions["headway"]
    if not settings.trusted_proxies:
        return None
    values = (request.headers.get(name) for name in COUNTRY_HEADERS)
    return next((value[:128] for value in values if value), None)
