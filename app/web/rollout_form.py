"""The form of a new rollout: its values, and how they are filled in and read."""

import re
from collections.abc import Mapping
from typing import Any

from werkzeug.datastructures import MultiDict

from app.errors import InputInvalid
from app.fleet import accounts, databases
from app.fleet.core.permissions import Actor
from app.fleet.core.validation import parse_whole
from app.fleet.rollouts import CONCURRENCY, PER_SERVER, TIMEOUT
from app.fleet.rollouts.gates import Check
from app.fleet.rollouts.waves import DEFAULT
from app.fleet.rollouts.windows import DAYS
from app.models import Rollout
from app.web.filters import labels_in

Given = MultiDict[str, str]

KINDS = {
    "upgrade": "Upgrade to a revision",
    "downgrade": "Downgrade to a revision",
    "stamp": "Stamp: record a revision, change nothing else",
    "check": "Check for drift",
    "snapshot": "Copy each database (SQLite)",
    "restore": "Restore the newest copy of each (SQLite)",
}
CHECKS = {
    "": "No check",
    Check.DRIFT: "No drift from its revisions",
    Check.SQL: "A query that returns true",
}
FILLED = {
    "kind": "upgrade",
    "waves": ", ".join(DEFAULT),
    "failures": "0",
    "soak": "0",
    "concurrency": str(CONCURRENCY),
    "per_server": str(PER_SERVER),
    "timeout": f"{TIMEOUT:g}",
    "window_zone": "UTC",
}
"""The default values of the form."""


def empty(chosen: Mapping[str, Any]) -> Given:
    """The form with the values of a link: a project, filters, databases."""
    given: Given = MultiDict(FILLED)
    given.update(MultiDict(chosen))
    for name in chosen:  # a link wins over what is usual
        if name in FILLED:
            given[name] = chosen[name]
    return given


def like(rollout: Rollout) -> Given:
    """The form with the values of an existing rollout."""
    selector, gate, window = rollout.selector, rollout.gate, rollout.window or {}
    values = {
        "project": rollout.project_id,
        "kind": rollout.kind,
        "target": rollout.target,
        "title": rollout.title,
        "label": ", ".join(f"{name}={value}" for name, value in _labels_of(selector)),
        "owner": selector.get("owner_id"),
        "search": selector.get("search"),
        "current": selector.get("current"),
        "drifted": _yes(selector.get("drifted")),
        "pinned": _yes(selector.get("pinned")),
        "strategy": selector.get("strategy"),
        "names": "\n".join(str(one) for one in selector.get("ids", ())),
        "waves": ", ".join(rollout.waves),
        "failures": gate["failures"],
        "failures_percent": gate.get("failures_percent"),
        "soak": f"{gate['soak_seconds']:g}",
        "approval": _yes(gate["approval"]),
        "check": gate.get("check"),
        "sql": gate.get("sql"),
        "window_from": window.get("from"),
        "window_until": window.get("until"),
        "window_zone": window.get("zone", "UTC"),
        "concurrency": rollout.concurrency,
        "per_server": rollout.per_server,
        "timeout": f"{rollout.timeout_seconds:g}",
        "snapshot": _yes(rollout.snapshot),
        "stay": _yes(not rollout.retreat),
    }
    given: Given = MultiDict({name: str(value) for name, value in values.items() if value})
    given.setlist("position", list(selector.get("positions", ())))
    given.setlist("window_day", list(window.get("days", ())) if window else [])
    return given


def rollout_values(actor: Actor, given: Given) -> dict[str, Any]:
    """The values of a new rollout from a form. Raises InputInvalid or DatabaseNotFound."""
    project_id = _whole(given, "project", "The project")
    gate = {
        "failures": _whole(given, "failures", "How many may fail"),
        "failures_percent": _number(given, "failures_percent", "The percentage that may fail"),
        "soak_seconds": _number(given, "soak", "The time to wait"),
        "approval": bool(given.get("approval")),
        "check": given.get("check") or None,
        "sql": given.get("sql", "").strip() or None,
    }
    return {
        "project_id": project_id,
        "kind": given.get("kind") or None,
        "target": given.get("target", "").strip() or None,
        "title": given.get("title", "").strip() or None,
        "selector": _selector(actor, given, project_id),
        "waves": given.get("waves", "").replace(",", " ").split() or None,
        "gate": {name: value for name, value in gate.items() if value is not None},
        "window": _window(given),
        "concurrency": _whole(given, "concurrency", "How many at once"),
        "per_server": _whole(given, "per_server", "How many at once on a server"),
        "timeout_seconds": _number(given, "timeout", "The longest time of a run"),
        "snapshot": bool(given.get("snapshot")),
        "retreat": not given.get("stay"),
    }


def _selector(actor: Actor, given: Given, project_id: int | None) -> dict[str, Any]:
    names = [*given.getlist("database"), *_lines(given.get("names", ""))]
    owner = given.get("owner", "").strip()
    chosen = {
        "ids": databases.ids_of(actor, project_id, names) if names else None,
        "labels": labels_in(", ".join(given.getlist("label"))) or None,
        "owner_id": accounts.find_account(actor, owner).id if owner else None,
        "positions": [one for one in given.getlist("position") if one] or None,
        "current": given.get("current") or None,
        "search": given.get("search", "").strip()[:128] or None,
        "drifted": True if given.get("drifted") else None,
        "pinned": True if given.get("pinned") else None,
        "strategy": given.get("strategy") or None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _lines(text: str) -> list[str]:
    """Parse names that are separated by lines, commas or semicolons."""
    return [name.strip() for name in re.split(r"[\n,;]", text) if name.strip()]


def _window(given: Given) -> dict[str, Any] | None:
    start, until = given.get("window_from", "").strip(), given.get("window_until", "").strip()
    days = [day for day in DAYS if day in given.getlist("window_day")]
    zone = given.get("window_zone", "").strip() or "UTC"
    if not start and not until and not days and zone == "UTC":
        return None
    return {"from": start, "until": until, "days": days or None, "zone": zone}


def _whole(given: Given, name: str, words: str) -> int | None:
    try:
        return parse_whole(given.get(name, ""), words)
    except InputInvalid as error:
        raise InputInvalid(str(error), field=name) from None


def _number(given: Given, name: str, words: str) -> float | None:
    text = given.get(name, "").strip()
    if text and not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
        raise InputInvalid(f"{words} must be a number, not {text!r}.", field=name)
    return float(text) if text else None


def _yes(value: object) -> str:
    return "1" if value else ""


def describe_selection(selector: Mapping[str, Any]) -> list[str]:
    """The selector of a rollout in words."""
    words = [position.replace("_", " ") for position in selector.get("positions", ())]
    words += [f"{name}={value}" if value else name for name, value in _labels_of(selector)]
    if ids := selector.get("ids"):
        words.append(f"{len(ids):,} selected databases")
    for name, template in (
        ("owner_id", "of account {}"),
        ("current", "at {}"),
        ("search", "with “{}” in the name or address"),
        ("strategy", "with the strategy {}"),
    ):
        if value := selector.get(name):
            words.append(template.format(value))
    words += [name for name in ("drifted", "pinned") if selector.get(name)]
    return words or ["all of the project"]


def _labels_of(selector: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(selector.get("labels", {}).items())
