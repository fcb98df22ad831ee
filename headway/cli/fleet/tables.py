"""Lists and records of a fleet as a person reads them. Rows are values as the API answers them."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headway.cli.fleet import sections
from headway.cli.fleet.sections import Row, Sections, print_sections
from headway.cli.output import on_terminal, print_json, print_list, text

LONGEST_ERROR = 80


class Kind(NamedTuple):
    """A kind of things: how a list and one of them are shown."""

    columns: tuple[str, ...]
    """Of a list."""
    cells: Callable[[Row], dict[str, Any]]
    """The cells of a row of it that are not the row's values."""
    fields: tuple[str, ...]
    """All values of one thing."""
    sections: Callable[[Row], Sections]
    """One thing, as a person reads it."""


def _project_cells(row: Row) -> dict[str, Any]:
    return {"heads": ", ".join(row["heads"])}


def _rollout_cells(row: Row) -> dict[str, Any]:
    sizes = row["sizes"]
    wave = f"{row['wave']} of {len(sizes)}" if sizes else ""
    return {
        "stage": sections.stage_word(row["stage"]),
        "wave": wave,
        "databases": f"{sum(sizes):,}" if sizes else "",
        "by": row["by_name"],
    }


def _run_cells(row: Row) -> dict[str, Any]:
    error = " ".join((row["error"] or "").split())
    seconds = row["seconds"]
    return {
        "rollout": row["rollout_id"],
        "seconds": None if seconds is None else f"{seconds:.2f}",
        "error": error[:LONGEST_ERROR] if on_terminal() else error,
    }


def _database_cells(row: Row) -> dict[str, Any]:
    labels = ",".join(f"{name}={value}" for name, value in row["labels"].items())
    return {"labels": labels, "reason": " ".join((row["reason"] or "").split())}


PROJECTS = Kind(
    ("id", "name", "state", "heads", "location"),
    _project_cells,
    (
        *("id", "name", "location", "ini", "x", "notes", "state", "problem", "heads"),
        *("environment", "loaded_at", "refresh_seconds", "refresh_asked_at", "refreshed_at"),
        *("requires_approval", "version", "created_at", "updated_at"),
    ),
    sections.project,
)
DATABASES = Kind(
    ("id", "project", "name", "position", "current", "labels", "address"),
    _database_cells,
    (
        *("id", "project_id", "project", "name", "notes", "address", "reference", "dialect"),
        *("server", "owner_id", "owner", "labels", "x", "strategy", "pin_reason", "pin_until"),
        *("rollout_id", "position", "current", "pending", "size_bytes", "milliseconds", "reason"),
        *("asked_at", "seen_at", "drift", "drift_at", "retired_at"),
        *("version", "created_at", "updated_at"),
    ),
    sections.database,
)
UNWELL = DATABASES._replace(columns=(*DATABASES.columns, "reason"))
"""Databases, with the reason why nothing more is known of them."""
ROLLOUTS = Kind(
    ("id", "title", "kind", "target", "stage", "wave", "databases", "by"),
    _rollout_cells,
    (
        *("id", "project_id", "title", "kind", "target", "selector", "waves", "sizes", "gate"),
        *("window", "concurrency", "per_server", "timeout_seconds", "snapshot", "retreat"),
        *("stage", "reason", "wave", "by_id", "by_name"),
        *("created_at", "started_at", "finished_at", "expires_at"),
    ),
    sections.rollout,
)
RUNS = Kind(
    ("id", "rollout", "database", "kind", "state", "before", "after", "seconds", "error"),
    _run_cells,
    (
        *("id", "rollout_id", "database_id", "database", "kind", "wave", "attempt", "server"),
        *("state", "worker", "retry_at", "started_at", "finished_at", "seconds", "before", "aim"),
        *("after", "applied", "replayed", "error", "problem", "snapshot"),
        *("differences", "replaced_by"),
        *("undoes", "created_at"),
    ),
    sections.run,
)


def databases_at(positions: Sequence[str]) -> Kind:
    """The list of databases at these positions."""
    return UNWELL if {"unreachable", "torn"} & set(positions) else DATABASES


def print_page(kind: Kind, rows: Sequence[Row], following: int | None, *, as_json: bool) -> None:
    """Print a page of a list, and where the next one begins."""
    cells = [[_cell({**row, **kind.cells(row)}[name]) for name in kind.columns] for row in rows]
    print_list(rows, following, kind.columns, cells, as_json=as_json)


def print_row(kind: Kind, row: Row, *, as_json: bool) -> None:
    """One thing in sections for people, or JSON with all of its values."""
    if as_json:
        print_json(row)
        return
    print_sections(kind.sections(row))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    if isinstance(value, dict):
        value = dict(sorted(value.items()))
        flat = all(isinstance(one, str) for one in value.values())
        return text(value) if flat else json.dumps(value)
    return json.dumps(value) if isinstance(value, bool) else text(value)
