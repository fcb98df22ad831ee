"""The JSON API. Each endpoint parses its request, makes one call into `app.fleet`, and answers."""

from apiflask import APIBlueprint, APIFlask
from flask import Flask

from app.api import access, problems, spec
from app.http import health, pages, requests


def init_app(app: Flask) -> None:
    """Register the API, its problems, its description and the probes."""
    from app.api import (
        accounts,
        databases,
        drifts,
        events,
        grants,
        projects,
        revisions,
        rollouts,
        runs,
        tokens,
        webhooks,
        workers,
    )

    assert isinstance(app, APIFlask)  # noqa: S101  # create_app makes one
    requests.init_app(app)
    problems.init_app(app)
    spec.init_app(app)
    api = APIBlueprint("api", __name__, url_prefix="/api/v1")
    access.protect(api)
    fleet = (projects, grants, revisions, databases, drifts, rollouts, runs, webhooks, workers)
    for part in (accounts, tokens, events, *fleet):
        api.register_blueprint(part.bp)
    app.register_blueprint(api)
    app.register_blueprint(health.bp)
    app.register_blueprint(pages.bp)
