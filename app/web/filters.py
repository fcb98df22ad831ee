"""Filters of the list of databases, in URLs and forms, and parsing of form fields."""

import re
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for

from app.errors import InputInvalid
from app.fleet.core.selectors import Selector
from app.fleet.core.validation import parse_whole
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
"""Patterns of values that may contain a secret, and are not shown again in a form."""


def chosen() -> dict[str, str]:
    """The filters of this request that have a value, by name."""
    return {name: value for name in FILTERS if (value := request.args.get(name, "").strip())}


def link(**changes: str | None) -> str:
    """The URL of the list with changed filters or order, at its first page."""
    kept = chosen() | {name: request.args[name] for name in ORDERS if request.args.get(name)}
    merged = {name: value for name, value in (kept | changes).items() if value}
    where = url_for("web.databases.list_")
    return f"{where}?{urlencode(merged)}" if merged else where


def order() -> tuple[Order, bool]:
    """The order of the list, and True if it is reversed. Raises InputInvalid."""
    name = request.args.get("order") or Order.REGISTERED
    if name not in list(Order):
        raise InputInvalid(f"There is no such order. Use one of: {', '.join(Order)}.")
    return Order(name), request.args.get("down") == YES


def selector() -> Selector:
    """A selector for the filters, or for the selected ids. Raises InputInvalid."""
    given = request.args
    return Selector.of(
        {
            "project_id": project_id(),
            "ids": ids() or None,
            "positions": [given["position"]] if given.get("position") else None,
            "current": given.get("current") or None,
            "search": given.get("search", "").strip()[:128] or None,
            "labels": labels_in(given.get("label", "")),
            "owner_id": parse_whole(given.get("owner", "")),
            "drifted": True if given.get("drifted") else None,
            "pinned": True if given.get("pinned") else None,
            "strategy": given.get("strategy") or None,
        }
    )


def ids() -> list[int]:
    """The ids of the selected databases."""
    return [number for said in request.args.getlist("database") if (number := parse_whole(said))]


def labels_in(text: str) -> dict[str, str]:
    """Parse labels: `tier=gold`, separated by lines or commas. Without a value, any matches."""
    pairs = (one.partition("=") for one in re.split(r"[\n,]", text) if one.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def arguments_in(text: str) -> dict[str, str]:
    """Parse -x arguments: `name=value`, one per line. Raises InputInvalid."""
    lines = [line for line in text.splitlines() if line.strip()]
    if wrong := [line.strip() for line in lines if "=" not in line]:
        raise InputInvalid(f"An argument is name=value, but {wrong[0]!r} has no =.", field="x")
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def retyped() -> dict[str, str]:
    """The submitted values, to fill in a form again, without those that may contain a password."""
    return {
        name: said
        for name, said in request.values.items()
        if name not in NEVER and not SECRET.get(name, ANY_SECRET).search(said)
    }


def form_value(name: str) -> Any:
    """The value of a form field, trimmed; None if empty."""
    return request.form.get(name, "").strip() or None
