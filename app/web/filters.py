"""What a link or a form chooses databases by: the same words on the list and wherever it leads."""

import re
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for

from app.errors import InputInvalid
from app.fleet.core.selectors import Selector
from app.fleet.core.validation import whole
from app.fleet.databases import Order
from app.web.overview import project_id

FILTERS = (
    *("project", "position", "current", "search", "label", "owner"),
    *("drifted", "pinned", "strategy", "retired"),
)
ORDERS = ("order", "down")
YES = "1"
NEVER = ("csrf_token", "sealed", "url")
ANY_SECRET = re.compile(r"://|@|passw", re.IGNORECASE)
SECRET = {
    "owner": re.compile("://"),  # an e-mail address has an @
    "text": re.compile("@|passw", re.IGNORECASE),  # many lines, and of SQLite files most often
}
"""What a field that comes back must not hold."""


def chosen() -> dict[str, str]:
    """The filters of this page that say something, by name."""
    return {name: value for name in FILTERS if (value := request.args.get(name, "").strip())}


def link(**changes: str | None) -> str:
    """This list with other filters, or in another order; from its first page on."""
    kept = chosen() | {name: request.args[name] for name in ORDERS if request.args.get(name)}
    merged = {name: value for name, value in (kept | changes).items() if value}
    where = url_for("web.databases.list_")
    return f"{where}?{urlencode(merged)}" if merged else where


def order() -> tuple[Order, bool]:
    """What the list is ordered by, and whether backwards."""
    said = request.args.get("order") or Order.REGISTERED
    if said not in list(Order):
        raise InputInvalid(f"Databases are ordered by {', '.join(Order)}.")
    return Order(said), request.args.get("down") == YES


def selector() -> Selector:
    """The databases that the filters choose; or those that are named one by one. InputInvalid."""
    given = request.args
    return Selector.of(
        {
            "project_id": project_id(),
            "ids": ids() or None,
            "positions": [given["position"]] if given.get("position") else None,
            "current": given.get("current") or None,
            "search": given.get("search", "").strip()[:128] or None,
            "labels": labels_in(given.get("label", "")),
            "owner_id": whole(given.get("owner", "")),
            "drifted": True if given.get("drifted") else None,
            "pinned": True if given.get("pinned") else None,
            "strategy": given.get("strategy") or None,
        }
    )


def ids() -> list[int]:
    """The databases that were ticked."""
    return [number for said in request.args.getlist("database") if (number := whole(said))]


def labels_in(said: str) -> dict[str, str]:
    """Labels as people write them: `tier=gold`, on lines or with commas; without a value any."""
    pairs = (one.partition("=") for one in re.split(r"[\n,]", said) if one.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def retyped() -> dict[str, str]:
    """What was typed, for a form that comes back; what may hold a password does not."""
    return {
        name: said
        for name, said in request.values.items()
        if name not in NEVER and not SECRET.get(name, ANY_SECRET).search(said)
    }


def given(name: str) -> Any:
    """What was typed into a field of a form, trimmed; None for nothing."""
    return request.form.get(name, "").strip() or None
