"""Authentication of the API: every endpoint needs a bearer token, except those in OPEN."""

from apiflask import APIBlueprint
from flask import g, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from app.errors import InputInvalid, TokenRefused
from app.fleet.accounts import limits
from app.fleet.accounts.tokens import authenticate
from app.fleet.core.permissions import Actor

OPEN = {"api.tokens.sign_in"}


def protect(api: APIBlueprint) -> None:
    """Refuse every request to this blueprint, and to all below it, that has no valid token."""
    api.before_request(_authenticate)
    api.before_request(_only_json)


def actor() -> Actor:
    """The account that sent this request."""
    return g.actor  # type: ignore[no-any-return]


def token() -> str:
    """The token of this request. A long response checks now and then that it is still valid."""
    return g.token  # type: ignore[no-any-return]


def _authenticate() -> None:
    if request.endpoint in OPEN:
        return
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise TokenRefused(
            "Send a token: `Authorization: Bearer hw_…`. `flask tokens create` makes one."
        )
    g.token = text.strip()
    try:
        g.actor, g.token_id = authenticate(g.token, request_id=g.request_id, ip=g.ip)
    except TokenRefused:
        limits.refused_bearer(g.ip)
        raise


def _only_json() -> None:
    if request.method not in ("POST", "PATCH"):
        return
    if not request.is_json:
        raise UnsupportedMediaType("Send JSON, with `Content-Type: application/json`.")
    try:
        body = request.get_json()  # kept for the operation
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.") from error
    if not body and not isinstance(body, dict):  # APIFlask would take it for {}
        words = "must be an object; `{}` if there is nothing to say"
        errors = [{"in": "body", "pointer": "", "detail": words}]
        raise InputInvalid(f"The body {words}.", errors=errors)
