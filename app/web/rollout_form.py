"""The form of a new rollout: its values, and how they are filled in and read."""

import re
from collections.abc import Mapping
from typing import Any

from werkzeug.datastructures import MultiDict

from app.errors import InputInvalid
from app.fleet import accounts, databases
from app.fleet.core.permissions import Actor
from app.fleet.core.validation import Mistakes, parse_whole
from app.fleet.rollouts import CONCURRENCY, PER_SERVER, TIMEOUT
from app.fleet.rollouts.request import new_rollout
from app.fleet.rollouts.rules.gates import Check
from app.fleet.rollouts.rules.waves import DEFAULT
from app.fleet.rollouts.rules.windows import DAYS
from app.models import Rollout
from app.web.filters import labels_in
from headway.errors import HeadwayError

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
USUAL = (
    *("waves", "failures", "failures_percent", "soak", "approval", "check", "sql"),
    *("window_from", "window_until", "window_zone", "window_day"),
    *("concurrency", "per_server", "timeout", "snapshot", "stay"),
)
"""The fields in which a new rollout is like the last one of its project."""
FIELDS = {
    "labels": "label",
    "soak_seconds": "soak",
    "timeout_seconds": "timeout",
    "window": "window_from",
}
"""A field of a request -> the field of the form, if it has another name."""


def empty(chosen: Given, usual: Rollout | None = None) -> Given:
    """The form with the values of a link: a project, filters, databases.

    The settings of `usual`, a rollout that was run before, come before the defaults of Headway.
    """
    given: Given = MultiDict(FILLED)
    before: Given = like(usual) if usual else MultiDict()
    for name in USUAL:
        if name in before:
            given.setlist(name, before.getlist(name))
    for name in chosen:  # a link wins over what is usual
        given.setlist(name, chosen.getlist(name))
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
    """The values of a new rollout from a form.

    Raises InputInvalid with all that is wrong, or the error of the one field that is wrong.
    """
    mistakes = Mistakes()

    def whole(name: str, words: str) -> int | None:
        with mistakes.gathered(name):
            return parse_whole(given.get(name, ""), words)
        return None

    def number(name: str, words: str) -> float | None:
        with mistakes.gathered(name):
            return _number(given.get(name, ""), words)
        return None

    project_id = whole("project", "The project")
    gate = {
        "failures": whole("failures", "Allowed failures"),
        "failures_percent": number("failures_percent", "The percentage that may fail"),
        "soak_seconds": number("soak", "The time to wait"),
        "approval": bool(given.get("approval")),
        "check": given.get("check") or None,
        "sql": given.get("sql", "").strip() or None,
    }
    values = {
        "project_id": project_id,
        "kind": given.get("kind") or None,
        "target": given.get("target", "").strip() or None,
        "title": given.get("title", "").strip() or None,
        "selector": _selector(actor, given, project_id, mistakes),
        "waves": given.get("waves", "").replace(",", " ").split() or None,
        "gate": {name: value for name, value in gate.items() if value is not None},
        "window": _window(given),
        "concurrency": whole("concurrency", "Runs at once"),
        "per_server": whole("per_server", "Runs at once on one server"),
        "timeout_seconds": number("timeout", "The longest time of a run"),
        "snapshot": bool(given.get("snapshot")),
        "retreat": not given.get("stay"),
    }
    if mistakes:  # and what else is wrong with the rest
        with mistakes.gathered():
            new_rollout(actor, values)
    mistakes.refuse()
    return values


def errors_of(error: HeadwayError) -> dict[str, str]:
    """What is wrong with each field of the form; "" for what is of no field."""
    several: Any = error.context.get("errors")
    if several:
        said = [(one["pointer"].lstrip("/"), one["detail"]) for one in several]
    else:
        said = [(str(error.context.get("field") or ""), str(error))]
    return {FIELDS.get(name, name): words for name, words in said}


def _selector(
    actor: Actor, given: Given, project_id: int | None, mistakes: Mistakes
) -> dict[str, Any]:
    names = [*given.getlist("database"), *_lines(given.get("names", ""))]
    owner = given.get("owner", "").strip()
    ids = owner_id = None
    with mistakes.gathered("names"):
        ids = databases.ids_of(actor, project_id, names) if names else None
    with mistakes.gathered("owner"):
        owner_id = accounts.find_account(actor, owner).id if owner else None
    chosen = {
        "ids": ids,
        "labels": labels_in(", ".join(given.getlist("label"))) or None,
        "owner_id": owner_id,
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


def _number(text: str, words: str) -> float | None:
    text = text.strip()
    if text and not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
        raise InputInvalid(f"{words} must be a number, not {text!r}.")
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
