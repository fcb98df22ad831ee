"""`/sign-in/oidc`: sign in by a provider (OpenID Connect): state, nonce and PKCE by Authlib."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, abort, current_app, g, request, session, url_for

from app.errors import ProviderUnreachable, SignInRefused
from app.extensions import limiter
from app.fleet.accounts import oidc as fleet
from app.settings import Settings
from app.web import access

log = logging.getLogger(__name__)

bp = APIBlueprint("oidc", __name__, enable_openapi=False, url_prefix="/sign-in/oidc")

FOLLOWING = "following"
"""Where somebody wanted to go, kept by the browser while it is at the provider."""
SECONDS = 5
CLIENT = "headway.oidc"


def init_app(app: Flask) -> None:
    """Make a client of the provider, where one is set. Asks it nothing yet."""
    settings: Settings = app.extensions["headway"]
    if not settings.oidc_issuer:
        return
    from authlib.integrations.flask_client import OAuth

    issuer = settings.oidc_issuer.rstrip("/")
    app.extensions[CLIENT] = OAuth(app).register(
        "oidc",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email",
            "code_challenge_method": "S256",
            "default_timeout": SECONDS,
        },
    )


@bp.get("")
@limiter.limit("20/minute")
def begin() -> Any:
    """To the provider, with what proves that the answer is to this browser."""
    with _client() as client:
        _metadata(client)
        session[FOLLOWING] = access.here(request.args.get("next", ""))
        return client.authorize_redirect(url_for("web.oidc.back", _external=True))


@bp.get("/back")
@limiter.limit("20/minute")
def back() -> Any:
    """Back from it: prove what it says, and find the account."""
    with _client() as client:
        issuer, claims = _proven(client)
    following = access.here(session.get(FOLLOWING, ""))
    issued = fleet.sign_in(issuer, claims, request_id=g.request_id, ip=g.ip)
    return access.let_in(issued, following)


@contextmanager
def _client() -> Iterator[Any]:
    """The client; whatever goes wrong with it is told in our words, and in full to the log."""
    client = current_app.extensions.get(CLIENT)
    if client is None:
        abort(404, "No provider of sign-ins is set: HEADWAY_OIDC_ISSUER names one.")
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import JoseError
    from requests import RequestException

    try:
        yield client
    except (AuthlibBaseError, JoseError) as error:
        log.warning("a sign-in by the provider was refused: %s", error)
        raise SignInRefused(
            "The provider's answer was not one to a sign-in that began in this browser, or is "
            "older than an hour, or it refused. Begin again."
        ) from error
    except (RequestException, RuntimeError, ValueError, KeyError) as error:
        log.error("the provider of sign-ins cannot be used: %r", error)  # noqa: TRY400  # no bug
        raise ProviderUnreachable(
            "The provider of sign-ins does not answer as one. Try again in a moment, or sign in "
            "with a token or a password."
        ) from error


def _metadata(client: Any) -> Mapping[str, Any]:
    """What the provider says of itself, if it is the one that was named."""
    settings: Settings = current_app.extensions["headway"]
    metadata: dict[str, Any] = client.load_server_metadata()
    if metadata["issuer"].rstrip("/") != str(settings.oidc_issuer).rstrip("/"):
        raise ValueError(f"it calls itself {metadata['issuer']}")
    # Signed by its own key only: never by nobody, nor by a secret that we know as well.
    known = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
    metadata["id_token_signing_alg_values_supported"] = [
        name for name in known if name != "none" and not name.startswith("HS")
    ]
    return metadata


def _proven(client: Any) -> tuple[str, Mapping[str, Any]]:
    """The issuer, and what it says of the person; each claim is checked, or taken from it anew."""
    metadata = _metadata(client)
    options = {
        "iss": {"essential": True, "values": [metadata["issuer"]]},
        "aud": {"essential": True, "value": client.client_id},
    }
    token = client.authorize_access_token(claims_options=options)
    claims = dict(token["userinfo"])
    if "email" not in claims and "userinfo_endpoint" in metadata:
        more = client.userinfo(token=token)
        # Of somebody else if the access token was swapped
        claims |= more if more.get("sub") == claims["sub"] else {}
    return metadata["issuer"], claims
