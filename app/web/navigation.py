"""The navigation of each page: beside it, or at its top where there is little room."""

from dataclasses import dataclass

from flask import Flask, g, request, url_for

from app.fleet.core.permissions import Actor

PAGES = {
    "Fleet": (
        ("web.overview.show", "Overview", ""),
        ("web.databases.list_", "Databases", "databases.read"),
        ("web.rollouts.list_", "Rollouts", "rollouts.read"),
        ("web.projects.list_", "Projects", "projects.read"),
        ("web.drifts.list_", "Drift", "databases.read"),
    ),
    "People": (
        ("web.accounts.list_", "Accounts", "accounts.read"),
        ("web.audit.list_", "Audit", "events.read"),
    ),
    "Service": (
        ("web.webhooks.list_", "Webhooks", "webhooks.change"),
        ("web.service.show", "Service", "service.read"),
        ("pages.docs", "API", ""),
        ("web.help.show", "Help", ""),
    ),
}
"""Group -> endpoint, label, and the right that the page needs."""
OF = {
    "web.acting": "web.databases",
    "web.registering": "web.databases",
    "web.rollout_new": "web.rollouts",
}
"""Blueprint -> the blueprint under which its pages appear in the navigation."""


@dataclass(frozen=True)
class Link:
    """A link in the navigation; `here` if the present page belongs to it."""

    word: str
    address: str
    here: bool


def init_app(app: Flask) -> None:
    """Provide the links to all templates."""
    app.context_processor(lambda: {"navigation": links(g.get("actor"))})


def links(actor: Actor | None) -> dict[str, list[Link]]:
    """The pages that an account may see, by their groups; {} without an account."""
    if actor is None:
        return {}
    found = {
        group: [
            Link(word, url_for(endpoint), _is_here(endpoint))
            for endpoint, word, right in pages
            if not right or actor.may(right)
        ]
        for group, pages in PAGES.items()
    }
    return {group: pages for group, pages in found.items() if pages}


def _is_here(endpoint: str) -> bool:
    blueprint = request.blueprint or ""
    return OF.get(blueprint, blueprint) == endpoint.rpartition(".")[0]
