"""Error pages: for HeadwayErrors, HTTP errors, errors of the catalog, and bugs."""

import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, g, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.http.catalog_errors import CatalogError, meaning_of
from app.web import access
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

WORDS = {
    404: ("Page not found", "The address is wrong, or the object does not exist any more."),
    405: ("Not possible by a link", "Use the button on the page. Nothing was done."),
    413: ("Too large", "The form is larger than 1 MiB. Nothing was done."),
}
Handler = Callable[[HTTPException], Any]


def init_app(app: Flask) -> None:
    """Show a page for errors of routing, which do not reach a blueprint's handlers."""
    others: Handler = app.error_handler_spec[None][None][HTTPException]

    def of_routing(error: HTTPException) -> Any:
        if request.path.startswith("/api/"):
            return others(error)
        access.recognize()
        return handle_http_error(error)

    for code in (404, 405):
        app.register_error_handler(code, of_routing)


def register_handlers(web: Blueprint) -> None:
    """Show errors of this blueprint, and of all below it, as pages."""
    web.register_error_handler(HeadwayError, access.show_error)
    web.register_error_handler(CSRFError, access.show_csrf_error)
    web.register_error_handler(HTTPException, handle_http_error)
    web.register_error_handler(DBAPIError, handle_catalog_error)
    web.register_error_handler(PoolTimeout, handle_catalog_error)
    web.register_error_handler(Exception, handle_unexpected_error)


def handle_http_error(error: HTTPException) -> Any:
    """An HTTP error: page not found, too large a form."""
    if error.code is None or error.code < 400:  # noqa: PLR2004  # a redirect is one, too
        return error
    title, detail = WORDS.get(error.code, (error.name, error.description or ""))
    page = render_template("problem.html", title=title, detail=detail, of="")
    headers = [one for one in error.get_headers() if one[0] in ("Allow", "Retry-After")]
    return page, error.code, headers


def handle_catalog_error(error: CatalogError) -> Any:
    """An error of the catalog: busy, unreachable or a bug."""
    meaning = meaning_of(error)
    return access.show_error(meaning) if meaning else handle_unexpected_error(error)


def handle_unexpected_error(error: Exception) -> Any:
    """A bug. The log has the traceback; the page shows only the request id."""
    log.error("request failed", exc_info=error)
    detail = f"This is a bug in Headway. See the log, request id {g.get('request_id')}."
    page = render_template("problem.html", title="Internal error", detail=detail, of="")
    return page, 500
