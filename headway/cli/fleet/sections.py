"""One thing of a fleet, in sections, as a person reads it. What is not set is left out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from headway.cli.output import counted, echo, print_table, text

Row = Mapping[str, Any]
Lines = Sequence[tuple[str, object]]
Sections = tuple[str, Mapping[str, Lines]]
"""A heading, and the lines of each section: their name and their value."""

OPENED = {"wave": "by rollouts", "on_open": "when it is opened"}
UNITS = ("bytes", "KB", "MB", "GB", "TB")
STEP = 1024
EMPTY: tuple[object, ...] = (None, "", [], {})


def stage_word(stage: str) -> str:
    """The stage of a rollout as people read it: the API has `pending` for a draft."""
    return "draft" if stage == "pending" else stage


def print_sections(shown: Sections) -> None:
    """Print them on a terminal; elsewhere the same, tab between a name and its value."""
    heading, sections = shown
    echo(heading)
    for title, lines in sections.items():
        if given := [(name, _words(value)) for name, value in lines if value not in EMPTY]:
            echo()
            echo(title)
            print_table(("", ""), given)


def project(row: Row) -> Sections:
    """A project: where its scripts are and whether they can be read."""
    return f"{row['name']} (project {row['id']})", {
        "State": [
            ("State", row["state"]),
            ("Problem", row["problem"]),
            ("Heads", row["heads"]),
            ("Scripts read", time_text(row["loaded_at"])),
            ("Last refreshed", time_text(row["refreshed_at"])),
        ],
        "Scripts": [
            ("Location", row["location"]),
            ("Configuration", row["ini"]),
            ("env.py", (row["environment"] or {}).get("why")),
            ("-x arguments", row["x"]),
        ],
        "Settings": [
            ("Notes", row["notes"]),
            ("Refreshed every", _seconds(row["refresh_seconds"])),
            ("Rollouts", "need an approval" if row["requires_approval"] else None),
            ("Created", time_text(row["created_at"])),
            ("Changed", time_text(row["updated_at"])),
        ],
    }


def database(row: Row) -> Sections:
    """A database: where it stands, where it is, whose it is."""
    checked, answered = time_text(row["drift_at"]), row["milliseconds"]
    pinned = (
        f"until {time_text(row['pin_until'])}: {row['pin_reason']}" if row["pin_until"] else None
    )
    return f"{row['project']}/{row['name']} (database {row['id']})", {
        "Where it stands": [
            ("Position", row["position"]),
            ("Revision", row["current"].replace("+", ", ")),
            ("Pending revisions", row["pending"] or None),
            ("Reason", row["reason"]),
            ("Differences", f"{row['drift']} (checked {checked})" if checked else "never checked"),
            ("In rollout", row["rollout_id"]),
            ("Pinned", pinned),
            ("Looked at", time_text(row["asked_at"])),
            ("Last answered", time_text(row["seen_at"])),
            ("Retired", time_text(row["retired_at"])),
        ],
        "Where it is": [
            ("Address", row["address"]),
            ("Reference", row["reference"]),
            ("Server", row["server"]),
            ("Size", _size(row["size_bytes"])),
            ("Answers within", None if answered is None else f"{answered:.1f} ms"),
        ],
        "About it": [
            ("Owner", row["owner"]),
            ("Labels", row["labels"]),
            ("-x arguments", row["x"]),
            ("Migrated", OPENED.get(row["strategy"], row["strategy"])),
            ("Notes", row["notes"]),
            ("Registered", time_text(row["created_at"])),
            ("Changed", time_text(row["updated_at"])),
        ],
    }


def rollout(row: Row) -> Sections:
    """A rollout: how far it is, what it does to which databases, and how carefully."""
    sizes, gate, window = row["sizes"], row["gate"], row["window"]
    to = f" to {row['target']}" if row["target"] else ""
    percent = gate.get("failures_percent")
    allowed = f"{gate.get('failures', 0)}"
    check = {"drift": "its schema is what its revisions make", "sql": gate.get("sql")}
    operation = f"{row['kind']}{to}"
    return f"Rollout {row['id']}: {row['title'] or operation}", {
        "Where it stands": [
            ("Stage", stage_word(row["stage"])),
            ("Reason", row["reason"]),
            ("Wave", f"{row['wave']} of {len(sizes)}" if sizes else None),
            ("Databases", f"{sum(sizes):,}" if sizes else None),
            ("Created", f"{time_text(row['created_at'])} by {row['by_name']}"),
            ("Started", time_text(row["started_at"])),
            ("Finished", time_text(row["finished_at"])),
            ("Expires", time_text(row.get("expires_at"))),
        ],
        "What it does": [
            ("Operation", operation),
            ("Project", row["project_id"]),
            ("Databases with", {k: v for k, v in row["selector"].items() if k != "project_id"}),
        ],
        "How": [
            ("Waves", row["waves"]),
            ("Allowed failures", f"{allowed} or {percent:g} %" if percent else allowed),
            ("After each database", check.get(gate.get("check"))),
            ("Between waves", _seconds(gate.get("soak_seconds"))),
            ("Each further wave", "needs an approval" if gate.get("approval") else None),
            ("Window", _window(window) if window else None),
            ("At most", f"{counted(row['concurrency'], 'worker')}, {row['per_server']} a server"),
            ("Longest run", _seconds(row["timeout_seconds"])),
            ("Snapshot before each run", "yes" if row["snapshot"] else "no"),
            ("A failed first wave", "is undone" if row["retreat"] else "stays as it is"),
        ],
    }


def run(row: Row) -> Sections:
    """A run: what it did to its database, and what came of it."""
    way = " → ".join(text(row[end]).replace("+", ", ") or "base" for end in ("before", "after"))
    problem = row["problem"]
    return f"Run {row['id']}: {row['kind']} of {row['database']}", {
        "Result": [
            ("State", row["state"]),
            ("Error", row["error"]),
            ("What to do", f"/problems/{problem}" if problem else None),
            ("Revisions", way if row["after"] is not None else row["before"]),
            ("Target", row["aim"]),
            ("Applied", row["applied"]),
            ("How", "its recorded SQL was sent" if row["replayed"] else None),
            ("Backup", row["snapshot"]),
            ("Differences", row.get("differences")),
        ],
        "When": [
            ("Attempt", row["attempt"]),
            ("Next attempt", time_text(row["retry_at"])),
            ("Took", _seconds(row["seconds"])),
            ("Started", time_text(row["started_at"])),
            ("Finished", time_text(row["finished_at"])),
            ("Created", time_text(row["created_at"])),
        ],
        "Where": [
            ("Rollout", row["rollout_id"]),
            ("Wave", row["wave"]),
            ("Undoes run", row["undoes"]),
            ("Tried again by run", row["replaced_by"] or None),
            ("Worker", row["worker"]),
            ("Server", row["server"]),
        ],
    }


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name}={','.join(map(str, one)) if isinstance(one, list) else _flat(one)}"
            for name, one in sorted(value.items())
        )
    return " ".join(text(value).split("\n")) if isinstance(value, str) else text(value)


def _flat(value: object) -> str:
    return _words(value) if isinstance(value, Mapping) else text(value)


def time_text(value: object) -> str | None:
    """A time, which the API answers as text."""
    if not value:
        return None
    return text(datetime.fromisoformat(value) if isinstance(value, str) else value)


def _seconds(value: float | None) -> str | None:
    return f"{f'{value:,.2f}'.rstrip('0').rstrip('.')} s" if value else None


def _size(value: int | None) -> str | None:
    if value is None:
        return None
    size, unit = float(value), 0
    while size >= STEP and unit < len(UNITS) - 1:
        size, unit = size / STEP, unit + 1
    return f"{size:,.0f} {UNITS[unit]}" if unit == 0 else f"{size:,.1f} {UNITS[unit]}"


def _window(window: Mapping[str, Any]) -> str:
    days = f" on {', '.join(window['days'])}" if window.get("days") else ""
    return f"{window['from']} to {window['until']} {window.get('zone') or 'UTC'}{days}"
