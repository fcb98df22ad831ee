"""The web pages, rendered on the server. They work without JavaScript and use no CDN."""

from apiflask import APIBlueprint
from flask import Flask

from app.web import access, navigation, oidc, problems, template_filters


def init_app(app: Flask) -> None:
    """Register the pages."""
    from app.web import (
        accounts,
        audit,
        database_actions,
        database_import,
        databases,
        drifts,
        help_pages,
        overview,
        projects,
        rollout_events,
        rollout_new,
        rollouts,
        service,
        tokens,
        webhooks,
    )

    for part in (access, template_filters, navigation, oidc, problems):
        part.init_app(app)
    web = APIBlueprint(
        "web",
        __name__,
        enable_openapi=False,
        template_folder="templates",
        static_folder="static",
        static_url_path="/assets",
    )
    access.protect(web)
    problems.register_handlers(web)
    people = (access, oidc, accounts, tokens, webhooks, audit, service, help_pages)
    for part in (
        *people,
        overview,
        projects,
        databases,
        database_actions,
        database_import,
        drifts,
        rollout_events,
        rollout_new,
        rollouts,
    ):
        web.register_blueprint(part.bp)
    app.register_blueprint(web)
    app.add_url_rule("/drift/", endpoint="web.drifts.list_", redirect_to="/drifts/", alias=True)
