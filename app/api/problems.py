"""Errors as RFC 9457 problem details, with one table from error kinds to HTTP statuses.

The handlers are registered on the app, because a blueprint's handlers never see the 404 and 405
of routing.
"""

import logging
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask
from apiflask.exceptions import HTTPError
from flask import Response, g, json, request
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from app.http.catalog_errors import CatalogError, meaning_of
from app.http.statuses import status_and_headers
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

Path = tuple[str | int, ...]


def init_app(app: APIFlask) -> None:
    """Answer every error under /api/ as a problem, and each HeadwayError everywhere."""
    app.register_error_handler(HeadwayError, handle_headway_error)
    app.register_error_handler(HTTPException, handle_http_error)
    app.register_error_handler(DBAPIError, handle_catalog_error)
    app.register_error_handler(PoolTimeout, handle_catalog_error)
    app.register_error_handler(Exception, handle_unexpected_error)
    app.register_error_handler(HTTPError, handle_validation_error)


def handle_headway_error(error: HeadwayError) -> Response:
    """A HeadwayError as a problem: its title, its message, its context."""
    status, headers = status_and_headers(error)
    response = problem(
        status,
        type=f"/problems/{error.slug()}",
        title=error.title(),
        detail=str(error),
        **error.context,
    )
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="headway"'
    response.headers.update(headers)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s", error)
    return response


def handle_http_error(error: HTTPException) -> Response | HTTPException:
    """An error of routing or Werkzeug as a problem: 404, 405, 413, 415, invalid JSON."""
    if not _is_api() or error.code is None:
        return error
    response = problem(error.code, title=error.name, detail=error.description or error.name)
    for name, value in error.get_headers(request.environ):
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def handle_validation_error(error: HTTPError) -> Response:
    """A validation error of APIFlask as a problem, with a JSON pointer to each wrong field."""
    detail = error.detail if isinstance(error.detail, dict) else {}
    errors = [
        {"in": place, "pointer": _pointer(*where), "detail": text}
        for place, fields in detail.items()
        for where, text in _faults(error, fields)
    ]
    summary = "; ".join(f"{one['pointer'][1:]}: {one['detail']}" for one in errors[:3])
    return problem(
        error.status_code,
        title="A value in the request is invalid",
        type="/problems/input-invalid",
        detail=summary or error.message or "",
        errors=errors,
    )


def handle_catalog_error(error: CatalogError) -> Response:
    """An error of the catalog as a problem: busy (409), unreachable (503) or a bug (500)."""
    meaning = meaning_of(error)
    return handle_headway_error(meaning) if meaning else handle_unexpected_error(error)


def handle_unexpected_error(error: Exception) -> Response:
    """A bug as a 500. The log has the traceback; the caller gets only the request id."""
    log.error("request failed", exc_info=error)
    return problem(500, title="Internal error", detail=f"See the log, id {g.get('request_id')}.")


def problem(
    status: int,
    *,
    title: str,
    detail: str,
    type: str = "about:blank",  # noqa: A002  # the member's name in RFC 9457
    **more: Any,
) -> Response:
    """A problem as a response."""
    body = {
        "type": type,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:request:{g.get('request_id', '')}",
    }
    return Response(json.dumps(more | body), status, mimetype=MEDIA_TYPE)


def _faults(error: HTTPError, fields: dict[str, list[str]]) -> list[tuple[Path, str]]:
    """The path and message of each fault.

    From pydantic where possible: APIFlask joins paths by dots, which a name may contain too.
    """
    if isinstance(cause := error.__cause__, ValidationError):
        return [(one["loc"] or ("_schema",), one["msg"]) for one in cause.errors()]
    return [((name,), text) for name, texts in fields.items() for text in texts]


def _pointer(*path: str | int) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _is_api() -> bool:
    return request.path.startswith("/api/")
