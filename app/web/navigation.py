"""Where the pages are: what the head of each links to."""

from dataclasses import dataclass

from flask import Flask, g, request, url_for

from app.fleet.core.permissions import Actor

PAGES = (
    ("web.overview.show", "Overview", ""),
    ("web.databases.list_", "Databases", "databases.read"),
    ("web.rollouts.list_", "Rollouts", "rollouts.read"),
    ("web.projects.list_", "Projects", "projects.read"),
    ("web.drifts.list_", "Drift", "databases.read"),
    ("web.accounts.list_", "Accounts", "accounts.read"),
    ("web.audit.list_", "Audit", "events.read"),
    ("web.service.show", "Service", "service.read"),
    ("pages.docs", "API", ""),
)
"""Endpoint, word, and the right that the page needs."""
OF = dict.fromkeys(("web.acting", "web.registering"), "web.databases")
"""Blueprints whose pages belong to another's."""


@dataclass(frozen=True)
class Link:
    """A page in the navigation; `here` if what is shown belongs to it."""

    word: str
    address: str
    here: bool


def init_app(app: Flask) -> None:
    """Give the templates their links."""
    app.context_processor(lambda: {"navigation": links(g.get("actor"))})


def links(actor: Actor | None) -> list[Link]:
    """The pages that this account may see; none for a stranger."""
    if actor is None:
        return []
    return [
        Link(word, url_for(endpoint), _is_here(endpoint))
        for endpoint, word, right in PAGES
        if not right or actor.may(right)
    ]


def _is_here(endpoint: str) -> bool:
    blueprint = request.blueprint or ""
    return OF.get(blueprint, blueprint) == endpoint.rpartition(".")[0]
