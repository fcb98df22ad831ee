"""`/api/v1/tokens`, `/api/v1/sign-in`, `/api/v1/me`."""

from typing import Any

from apiflask import APIBlueprint
from flask import g, url_for

from app.api import access, responses
from app.api.schemas.common import Idempotent
from app.api.schemas.tokens import (
    Me,
    SignIn,
    TokenIn,
    TokenIssued,
    TokenOut,
    TokenPage,
    TokenQuery,
)
from app.fleet.accounts import invitations, passwords
from app.fleet.accounts import tokens as fleet

bp = APIBlueprint("tokens", __name__, tag="tokens")


@bp.post("/sign-in")
@bp.input(SignIn, arg_name="body")
@bp.output(TokenIssued, status_code=201)
@bp.doc(summary="Change a one-time token for a token", operation_id="signIn", security=[])
def sign_in(body: SignIn) -> Any:
    issued = invitations.sign_in(body.token, request_id=g.request_id, ip=g.ip)
    return _shown(issued), 201, {"Location": _where(issued)}


@bp.get("/me")
@bp.output(Me)
@bp.doc(summary="Read the account that asks", operation_id="readMe")
def me() -> Any:
    actor = access.actor()
    return {"id": actor.id, "name": actor.name, "role": actor.role}


@bp.post("/tokens")
@bp.input(TokenIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(TokenIssued, status_code=201)
@bp.doc(summary="Create a token", operation_id="createToken")
def create(body: TokenIn, idempotent: Idempotent) -> Any:
    actor = access.actor()
    if body.password is not None:
        actor = passwords.prove(actor, body.password)
    has_days = "expires_days" in body.model_fields_set
    issued, replayed = fleet.issue_token(
        actor,
        account_id=body.account_id or actor.id or 0,
        name=body.name,
        expires_days=body.expires_days if has_days else fleet.usual_days(),
        scope=body.scope,
        key=idempotent.idempotency_key,
    )
    return _shown(issued), 201, responses.made(_where(issued), replayed)


@bp.get("/tokens")
@bp.input(TokenQuery, location="query", arg_name="query")
@bp.output(TokenPage)
@bp.doc(summary="List tokens", operation_id="listTokens")
def list_(query: TokenQuery) -> Any:
    found, following = fleet.list_tokens(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.get("/tokens/<int:token_id>")
@bp.output(TokenOut)
@bp.doc(summary="Read a token, without its text", operation_id="readToken")
def read(token_id: int) -> Any:
    return fleet.get_token(access.actor(), token_id)


@bp.delete("/tokens/<int:token_id>")
@bp.output({}, status_code=204)
@bp.doc(summary="Revoke a token", operation_id="revokeToken")
def revoke(token_id: int) -> Any:
    fleet.revoke_token(access.actor(), token_id)
    return "", 204


def _where(issued: fleet.Issued) -> str:
    return url_for("api.tokens.read", token_id=issued.token.id)


def _shown(issued: fleet.Issued) -> dict[str, Any]:
    return TokenOut.model_validate(issued.token).model_dump() | {"token": issued.text}
