"""Authentication of the pages: a session, which is a token in a cookie; and the sign-in pages.

Scripts cannot read the cookie, and other sites cannot send it. Every form has a CSRF token too,
which is that of this session alone.
"""

import hashlib
import hmac
import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response as BaseResponse

from app.errors import (
    InputInvalid,
    PasswordRefused,
    SignInRefused,
    TokenRefused,
    TooManyAttempts,
)
from app.fleet.accounts import passwords, sessions, tokens
from app.fleet.core.permissions import Actor
from app.http.statuses import status_and_headers
from app.models import TokenKind
from app.settings import Settings
from headway.errors import ErrorKind, HeadwayError

bp = APIBlueprint("access", __name__, enable_openapi=False)
csrf = CSRFProtect()

COOKIE = "headway_session"
FORM_TOKEN = "csrf_token"  # noqa: S105  # the name of a field
OPEN = {
    "web.access.sign_in",
    "web.access.favicon",
    "web.oidc.begin",
    "web.oidc.back",
    "web.static",
}
ONCE = re.compile(r"[0-9a-f]{32}")
OURS = re.compile(r"/(?![/\\])[^\x00-\x1f\\]*")
SPENT = (
    "You signed in with a one-time token. It does not work again: for the next sign-in, set a "
    "password or create a token, in the menu under your name."
)
REFUSALS = (TokenRefused, PasswordRefused, SignInRefused, TooManyAttempts)
"""Errors that show the sign-in page again."""


class _SecureSessions(SecureCookieSessionInterface):
    """Flask's session cookie, which is sent over TLS only, to this host, if the request used it."""

    def get_cookie_name(self, app: Flask) -> str:
        name = super().get_cookie_name(app)
        return f"__Host-{name}" if request.is_secure else name

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return request.is_secure


def init_app(app: Flask) -> None:
    """Configure the cookies and the CSRF check."""
    app.session_interface = _SecureSessions()
    app.config.update(
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_CHECK_DEFAULT=False,  # the API has tokens, and no cookies
        WTF_CSRF_SSL_STRICT=False,  # our pages send no referrer
        WTF_CSRF_TIME_LIMIT=None,  # a page may be open for as long as its session
    )
    csrf.init_app(app)


def actor() -> Actor:
    """The account that is signed in."""
    return g.actor  # type: ignore[no-any-return]


def cookie() -> str:
    """The name of the session cookie. With TLS, its prefix restricts it to this host."""
    return f"__Host-{COOKIE}" if request.is_secure else COOKIE


def once() -> str | None:
    """The number of the form that was sent, as an idempotency key; None without one."""
    number = request.form.get("once", "")
    return f"form {number}" if ONCE.fullmatch(number) else None


def protect(web: Blueprint) -> None:
    """Require a session for this blueprint and all below it."""
    web.before_request(_enter)
    web.after_request(_keep_to_ourselves)


def prove() -> None:
    """Require that the person proved lately who they are, or does so by the form's password."""
    if password := request.form.get("proof"):
        g.actor = passwords.prove(actor(), password)
    actor().require_proof()


def outside(endpoint: str) -> str:
    """The address of a page for other servers and for people."""
    settings: Settings = current_app.extensions["headway"]
    if settings.public_url:
        return settings.public_url + url_for(endpoint)
    return url_for(endpoint, _external=True)


def _enter() -> Any:
    _refuse_other_hosts()
    _bind_forms()
    if request.method == "POST":
        _refuse_other_sites()
        csrf.protect()
    if any("\0" in said for said in (request.path, *request.values.values())):
        raise InputInvalid("The request contains a NUL character.")
    return _authenticate()


def _refuse_other_hosts() -> None:
    settings: Settings = current_app.extensions["headway"]
    if settings.public_url and urlsplit(settings.public_url).netloc != request.host.lower():
        abort(
            421, f"Open the pages at {settings.public_url}. They do not answer under another name."
        )


def _bind_forms() -> None:
    """What Flask-WTF compares a form with is of this session, not of a cookie slipped in."""
    if text := request.cookies.get(cookie()):
        secret = str(current_app.config["SECRET_KEY"]).encode()
        bound = hmac.digest(secret, f"form of {text}".encode(), hashlib.sha256).hex()
        if session.get(FORM_TOKEN) != bound:
            session[FORM_TOKEN] = bound


def _refuse_other_sites() -> None:
    """Raise CSRFError if the browser says that another site sent this form."""
    site = request.headers.get("Sec-Fetch-Site")
    # Our pages send no referrer, so that browsers say "null" of our own forms.
    origin = request.headers.get("Origin", "null")
    if site not in (None, "same-origin", "none") or (
        site is None and origin != "null" and urlsplit(origin).netloc.lower() != request.host
    ):
        raise CSRFError("another site sent this form")


def _authenticate() -> Any:
    try:
        _identify()
    except TokenRefused:
        if request.endpoint in OPEN:
            return None
        following = request.full_path.rstrip("?") if request.method == "GET" else "/"
        return redirect(url_for("web.access.sign_in", next=following))
    return None


def recognize() -> None:
    """Set `g.actor` for an address that no page has, so that its error has the navigation."""
    if not request.cookies.get(cookie()):
        return
    _bind_forms()
    with suppress(HeadwayError, SQLAlchemyError):
        _identify()


def _identify() -> None:
    """Set whose session the cookie is. Raises TokenRefused."""
    text, whence = request.cookies.get(cookie(), ""), {"request_id": g.request_id, "ip": g.ip}
    g.actor, g.token_id = tokens.authenticate(text, **whence, kinds=(TokenKind.SESSION,))


def _keep_to_ourselves(response: Response) -> Response:
    if request.endpoint != "web.static":
        response.headers["Cache-Control"] = "no-store"  # also for the browser's back button
    return response


@bp.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> Any:
    """Sign in with a password or a token."""
    following = here(request.args.get("next", ""))
    if request.method == "GET":
        return _form(None)
    form, whence = request.form, {"request_id": g.request_id, "ip": g.ip}
    spent = False
    try:
        if "token" in form:
            issued, spent = sessions.start(form["token"].strip(), **whence)
        else:
            issued = passwords.sign_in(form.get("email", ""), form.get("password", ""), **whence)
    except REFUSALS as error:
        return _form(error)
    response = let_in(issued, following)
    if spent:
        flash(SPENT, "good")
    return response


def let_in(issued: tokens.Issued, following: str) -> BaseResponse:
    """Set the session cookie and redirect to the page that was requested."""
    session.clear()  # values from before the sign-in become invalid
    response = redirect(following)
    response.set_cookie(
        cookie(),
        issued.text or "",
        max_age=int(sessions.LASTS.total_seconds()),
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )
    return response


@bp.post("/sign-out")
def sign_out() -> Any:
    """Sign out in this browser, or in all browsers."""
    if request.form.get("everywhere"):
        keep = bool(request.form.get("keep_tokens"))
        browsers, programs = sessions.end(actor(), keep_tokens=keep)
        others = browsers - 1
    else:
        others = programs = 0
        tokens.revoke_token(actor(), g.token_id)
    session.clear()
    elsewhere = f", here and in {others} other browser{'s'[: others > 1]}" if others > 0 else ""
    revoked = f" Tokens that were revoked: {programs}." if programs else ""
    flash(f"You are signed out{elsewhere}.{revoked}", "good")
    response = redirect(url_for("web.access.sign_in"))
    response.delete_cookie(cookie(), secure=request.is_secure, httponly=True, samesite="Lax")
    return response


@bp.get("/favicon.ico")
def favicon() -> tuple[str, int]:
    """Empty: the pages specify their own icon."""
    return "", 204


def show_error(error: HeadwayError) -> Any:
    """Show an error: after a form, on the page of the form; otherwise on its own page."""
    if request.endpoint in OPEN and isinstance(error, REFUSALS):
        return _form(error)
    if request.method == "POST" and request.form.get("back"):
        flash(str(error), "bad")
        return redirect(here(request.form["back"]))
    page = render_template("problem.html", title=error.title(), detail=str(error), of=error.slug())
    return page, *status_and_headers(error)


def show_csrf_error(_: CSRFError) -> Any:
    """Show that the CSRF token of a form is invalid."""
    detail = "This form is too old, or it comes from another site. Nothing was done. Go back, "
    detail += "reload the page and send the form again."
    return render_template("problem.html", title="Invalid form", detail=detail, of=""), 400


def here(path: str) -> str:
    """The path if it is local, else the overview: a link cannot redirect to another site."""
    return path if OURS.fullmatch(path) else url_for("web.overview.show")


def _form(refused: HeadwayError | None) -> Any:
    page = render_template("sign_in.html", refused=refused, provider=_provider())
    if refused is None:
        return page
    status, headers = status_and_headers(refused)
    return page, 401 if refused.kind is ErrorKind.DENIED else status, headers


def _provider() -> str | None:
    """The host name of the sign-in provider, for its button; None if there is no provider."""
    settings: Settings = current_app.extensions["headway"]
    return urlsplit(settings.oidc_issuer).hostname if settings.oidc_issuer else None
