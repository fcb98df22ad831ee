"""Probes and metrics, without authentication or caching."""

import os

from flask import Blueprint, Response, jsonify
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Gauge,
    generate_latest,
    multiprocess,
)

from app import boot
from app.http.metrics import fleet_metrics

bp = Blueprint("health", __name__)

READY = Gauge(
    "headway_catalog_ready", "1 if the catalog can be served", multiprocess_mode="mostrecent"
)


@bp.get("/healthz")
def healthz() -> Response:
    """Liveness: the process answers. Uses no database."""
    return _fresh(jsonify(state="alive"))


@bp.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Readiness: the catalog is reachable and at head, or newer and served degraded."""
    ready, body = boot.readiness()
    READY.set(ready)
    return _fresh(jsonify(body)), 200 if ready else 503


@bp.get("/metrics")
def metrics() -> Response:
    """Prometheus metrics of all processes of this server, and of the fleet from the catalog."""
    ready, _ = boot.readiness()
    READY.set(ready)
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    text = generate_latest(registry) + (fleet_metrics() if ready else b"")
    return _fresh(Response(text, content_type=CONTENT_TYPE_LATEST))


def _fresh(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
