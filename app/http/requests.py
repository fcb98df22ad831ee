"""Hooks for every request: an id, a log line, response headers, metrics."""

import ipaddress
import logging
import re
import secrets
import time
from typing import Any
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram
from werkzeug.middleware.proxy_fix import ProxyFix

from app.settings import Settings

log = logging.getLogger("app.requests")

SANE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
PROBES = ("/healthz", "/readyz", "/metrics")
METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
REQUESTS = Counter("headway_requests", "Requests answered", ["endpoint", "method", "status"])
SECONDS = Histogram("headway_request_seconds", "Time to answer", ["endpoint", "method"])


def init_app(app: Flask) -> None:
    """Wrap every request."""
    settings: Settings = app.extensions["headway"]
    if count := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)  # type: ignore[method-assign]
    if settings.public_url:
        scheme = settings.public_url.partition(":")[0]
        app.wsgi_app = _reached_by(scheme, app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_begin)
    app.after_request(_end)


def _reached_by(scheme: str, inner: Any) -> Any:
    """The app, for browsers that reach it by this scheme, whatever reaches us."""

    def outer(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.url_scheme"] = scheme
        return inner(environ, start_response)

    return outer


def _begin() -> None:
    said = request.headers.get("X-Request-ID", "")
    g.request_id = said if SANE_ID.fullmatch(said) else secrets.token_hex(8)
    g.ip = _address(request.remote_addr)
    g.began = time.perf_counter()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.get("began", time.perf_counter())
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.path.startswith("/api/"):
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = g.get("request_id", "")
    _count(response.status_code, seconds)
    if request.path not in PROBES:
        _log(response.status_code, seconds)
    return response


def _count(status: int, seconds: float) -> None:
    # The endpoint, not the path: requests for random paths must not fill the memory.
    endpoint = request.endpoint or "none"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(endpoint, method, status).inc()
    SECONDS.labels(endpoint, method).observe(seconds)


def _log(status: int, seconds: float) -> None:
    actor = g.get("actor")
    log.info(
        "request",
        extra={
            "method": request.method,
            "path": quote(request.path),  # a line break in it would be a line of our log
            "status": status,
            "ms": round(seconds * 1000, 1),
            "account": actor.id if actor else None,
            "ip": g.get("ip"),
        },
    )


def _address(text: str | None) -> str | None:
    """A normalised IP address; None if the text is not one."""
    try:
        address = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
