"""`/sign-in/oidc`: sign in with an OpenID Connect provider, with state, nonce and PKCE."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, abort, current_app, g, request, session

from app.errors import ProviderUnreachable, SignInRefused
from app.fleet.accounts import oidc as fleet
from app.fleet.core import places
from app.settings import Settings
from app.web import access
from app.web.encrypted_form import fernet

log = logging.getLogger(__name__)

bp = APIBlueprint("oidc", __name__, enable_openapi=False, url_prefix="/sign-in/oidc")

FOLLOWING = "following"
"""The session key of the page to return to after the sign-in."""
SECONDS = 5
CLIENT = "headway.oidc"


def init_app(app: Flask) -> None:
    """Create the client of the provider, if one is set. Sends no request yet."""
    settings: Settings = app.extensions["headway"]
    if not settings.oidc_issuer:
        return
    from authlib.integrations.flask_client import FlaskIntegration, OAuth

    class EncryptedState(FlaskIntegration):  # type: ignore[misc]
        """Keeps what belongs to a sign-in in the browser's cookie, unreadable there."""

        def set_state_data(self, session: Any, state: str, data: Any) -> None:
            encrypted = fernet().encrypt(json.dumps(data).encode()).decode()
            super().set_state_data(session, state, encrypted)

        def get_state_data(self, session: Any, state: str) -> Any:
            encrypted = super().get_state_data(session, state)
            return json.loads(fernet().decrypt(encrypted)) if encrypted else None

    issuer = settings.oidc_issuer.rstrip("/")
    oauth = OAuth(app)
    oauth.framework_integration_cls = EncryptedState
    app.extensions[CLIENT] = oauth.register(
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
def begin() -> Any:
    """Redirect to the provider."""
    with _client() as client:
        _metadata(client)
        session[FOLLOWING] = access.here(request.args.get("next", ""))
        return client.authorize_redirect(access.outside("web.oidc.back"))


@bp.get("/back")
def back() -> Any:
    """Verify the answer of the provider, and sign in."""
    whence = {"request_id": g.request_id, "ip": g.ip}
    following = access.here(session.get(FOLLOWING, ""))
    try:
        with _client() as client:
            issuer, claims = _proven(client)
        issued = fleet.sign_in(issuer, claims, **whence)
    except SignInRefused as error:
        fleet.refused(error.context.get("account"), **whence)  # type: ignore[arg-type]
        raise
    return access.let_in(issued, following)


@contextmanager
def _client() -> Iterator[Any]:
    """The client. Its errors are logged, and raised as SignInRefused or ProviderUnreachable.

    Raises ServerBusy while enough others wait for the provider.
    """
    client = current_app.extensions.get(CLIENT)
    if client is None:
        abort(404, "There is no sign-in provider. To add one, set HEADWAY_OIDC_ISSUER.")
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import JoseError
    from requests import RequestException

    try:
        with places.PROVIDER.take():
            yield client
    except (AuthlibBaseError, JoseError) as error:
        log.warning("a sign-in by the provider was refused: %s", error)
        raise SignInRefused(
            "The provider refused the sign-in, or its answer is older than an hour or belongs to "
            "another browser. Sign in again."
        ) from error
    except (RequestException, RuntimeError, ValueError, KeyError) as error:
        log.error("the provider of sign-ins cannot be used: %r", error)  # noqa: TRY400  # no bug
        raise ProviderUnreachable(
            "The sign-in provider does not answer as expected. Try again in a moment, or sign in "
            "with a token or a password."
        ) from error


def _metadata(client: Any) -> Mapping[str, Any]:
    """The metadata of the provider. Raises ValueError if its issuer is not that of the settings."""
    settings: Settings = current_app.extensions["headway"]
    metadata: dict[str, Any] = client.load_server_metadata()
    if metadata["issuer"].rstrip("/") != str(settings.oidc_issuer).rstrip("/"):
        raise ValueError(f"it calls itself {metadata['issuer']}")
    # Only signatures with a key of the provider: not "none", and no shared secret.
    known = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
    metadata["id_token_signing_alg_values_supported"] = [
        name for name in known if name != "none" and not name.startswith("HS")
    ]
    return metadata


def _proven(client: Any) -> tuple[str, Mapping[str, Any]]:
    """The issuer and the verified claims about the person."""
    metadata = _metadata(client)
    options = {
        "iss": {"essential": True, "values": [metadata["issuer"]]},
        "aud": {"essential": True, "value": client.client_id},
    }
    token = client.authorize_access_token(claims_options=options)
    claims = dict(token["userinfo"])
    if "email" not in claims and "userinfo_endpoint" in metadata:
        more = client.userinfo(token=token)
        # These are about another person if the access token was swapped.
        claims |= more if more.get("sub") == claims["sub"] else {}
    return metadata["issuer"], claims
