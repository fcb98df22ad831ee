"""What every request gets: an id, a line in the log, headers, a place in the metrics."""

import logging
import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram
from werkzeug.middleware.proxy_fix import ProxyFix

from app.settings import Settings

log = logging.getLogger("app.requests")

SANE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
PROBES = ("/healthz", "/readyz", "/metrics")
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
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    said = request.headers.get("X-Request-ID", "")
    g.request_id = said if SANE_ID.fullmatch(said) else secrets.token_hex(8)
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
    # The endpoint, not the path: whoever asks for nonsense must not fill the memory with it.
    endpoint = request.endpoint or "none"
    REQUESTS.labels(endpoint, request.method, response.status_code).inc()
    SECONDS.labels(endpoint, request.method).observe(seconds)
    if request.path not in PROBES:
        actor = g.get("actor")
        log.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "ms": round(seconds * 1000, 1),
                "account": actor.id if actor else None,
                "ip": request.remote_addr,
            },
        )
    return response
