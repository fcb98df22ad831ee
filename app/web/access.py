"""Who may see the pages: a browser with a session, which is a token in a cookie.

The cookie is for our pages alone: no script reads it, no other site sends it along. Every form
carries a token against forgery as well.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import (
    Blueprint,
    Flask,
    Response,
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
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.wrappers import Response as BaseResponse

from app.errors import InputInvalid, PasswordRefused, SignInRefused, TokenRefused
from app.extensions import limiter
from app.fleet.accounts import passwords, sessions, tokens
from app.fleet.core.permissions import Actor
from app.settings import Settings
from headway.errors import HeadwayError

bp = APIBlueprint("access", __name__, enable_openapi=False)
csrf = CSRFProtect()

COOKIE = "headway_session"
OPEN = {
    "web.access.sign_in",
    "web.access.favicon",
    "web.oidc.begin",
    "web.oidc.back",
    "web.static",
}
ONCE = re.compile(r"[0-9a-f]{32}")
OURS = re.compile(r"/(?![/\\])[^\x00-\x1f\\]*")
STATUS = {"not_found": 404, "denied": 403, "invalid": 422, "unreachable": 503}
"""Of a page that shows an error; 409 for any other kind."""
SPENT = (
    "The token that you came in by was good for one time. For the next, set a password or make a "
    "token: under your name, at the top."
)
REFUSALS = (TokenRefused, PasswordRefused, SignInRefused)
"""Of a sign-in: the page to try again."""


class _SecureSessions(SecureCookieSessionInterface):
    """What Flask keeps for a form is sent back over TLS only, where there is TLS."""

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return request.is_secure


def init_app(app: Flask) -> None:
    """Set the cookies' rules, and the check of each form."""
    app.session_interface = _SecureSessions()
    app.config.update(
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_CHECK_DEFAULT=False,  # the API has tokens, and no cookies
        WTF_CSRF_SSL_STRICT=False,  # our pages send no referrer
        WTF_CSRF_TIME_LIMIT=None,  # a page may be open for as long as its session
    )
    csrf.init_app(app)


def actor() -> Actor:
    """The account that looks."""
    return g.actor  # type: ignore[no-any-return]


def cookie() -> str:
    """The name of the cookie. Under TLS a browser takes it from this very host only."""
    return f"__Host-{COOKIE}" if request.is_secure else COOKIE


def once() -> str | None:
    """The number of the form that was sent: who sends the same again does nothing again."""
    number = request.form.get("once", "")
    return f"form {number}" if ONCE.fullmatch(number) else None


def protect(web: Blueprint) -> None:
    """Let nobody in without a session, to this blueprint and to all below it."""
    web.before_request(_enter)
    web.after_request(_keep_to_ourselves)


def _enter() -> Any:
    if request.method == "POST":
        csrf.protect()
    if any("\0" in said for said in (request.path, *request.values.values())):
        raise InputInvalid("A part of this holds a character that cannot be kept.")
    text = request.cookies.get(cookie(), "")
    try:
        g.actor, g.token_id = tokens.authenticate(text, request_id=g.request_id, ip=g.ip)
    except TokenRefused:
        if request.endpoint in OPEN:
            return None
        following = request.full_path.rstrip("?") if request.method == "GET" else "/"
        return redirect(url_for("web.access.sign_in", next=following))
    return None


def _keep_to_ourselves(response: Response) -> Response:
    if request.endpoint != "web.static":
        response.headers["Cache-Control"] = "no-store"  # nor by the button that goes back
    return response


def _for_whom() -> str:
    """Passwords are guessed slowly for each account too, from however many addresses."""
    email = request.form.get("email", "").strip().lower()
    return f"email:{email}" if email else get_remote_address()


@bp.route("/sign-in", methods=["GET", "POST"])
@limiter.limit("10/minute", methods=["POST"])
@limiter.limit("20/minute", methods=["POST"], key_func=_for_whom)
def sign_in() -> Any:
    """With a password, or with a token: of the first start, or one of your own."""
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
        return _form(error), 401
    response = let_in(issued, following)
    if spent:
        flash(SPENT, "good")
    return response


def let_in(issued: tokens.Issued, following: str) -> BaseResponse:
    """The session in a cookie, and on to where somebody wanted to go."""
    session.clear()  # whatever a stranger's browser had been given is worth nothing any more
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
    """Here, or everywhere."""
    if request.form.get("everywhere"):
        others = sessions.end(actor()) - 1
    else:
        others = 0
        tokens.revoke_token(actor(), g.token_id)
    session.clear()
    elsewhere = f", here and in {others} other browser{'s'[: others > 1]}" if others > 0 else ""
    flash(f"You are signed out{elsewhere}.", "good")
    response = redirect(url_for("web.access.sign_in"))
    response.delete_cookie(cookie(), secure=request.is_secure, httponly=True, samesite="Lax")
    return response


@bp.get("/favicon.ico")
def favicon() -> tuple[str, int]:
    """Browsers ask for it; the pages name their own."""
    return "", 204


def show_error(error: HeadwayError) -> Any:
    """An error as a page that says what to do; after a form, on the page that it came from."""
    if request.endpoint in OPEN and isinstance(error, REFUSALS):
        return _form(error), 401
    if request.method == "POST" and request.form.get("back"):
        flash(str(error), "bad")
        return redirect(here(request.form["back"]))
    page = render_template("problem.html", title=error.title(), detail=str(error), of=error.slug())
    return page, STATUS.get(error.kind, 409)


def show_csrf_error(_: CSRFError) -> Any:
    """The form is older than the session, or from elsewhere."""
    detail = "This form is too old, or was not ours. Nothing was done. Go back and send it again."
    return render_template("problem.html", title="Not sent by this page", detail=detail, of=""), 400


def here(path: str) -> str:
    """The path, if it is one of ours: nobody is sent elsewhere by a link to us."""
    return path if OURS.fullmatch(path) else url_for("web.overview.show")


def _form(refused: HeadwayError | None) -> str:
    return render_template("sign_in.html", refused=refused, provider=_provider())


def _provider() -> str | None:
    """What to call the provider: its host. None if there is none."""
    settings: Settings = current_app.extensions["headway"]
    return urlsplit(settings.oidc_issuer).hostname if settings.oidc_issuer else None
