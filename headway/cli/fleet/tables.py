"""Lists and records of a fleet as a person reads them. Rows are values as the API answers them."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from headway.cli.output import echo, on_terminal, print_json, print_table, text

Row = Mapping[str, Any]
LONGEST_ERROR = 80


class Listing(NamedTuple):
    """A kind of list: its columns, and the cells of a row where they are not its values."""

    columns: tuple[str, ...]
    cells: Callable[[Row], dict[str, Any]]


def _project_cells(row: Row) -> dict[str, Any]:
    return {"heads": ", ".join(row["heads"])}


def _rollout_cells(row: Row) -> dict[str, Any]:
    sizes = row["sizes"]
    wave = f"{row['wave']} of {len(sizes)}" if sizes else ""
    return {"wave": wave, "databases": f"{sum(sizes):,}" if sizes else "", "by": row["by_name"]}


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


PROJECTS = Listing(("id", "name", "state", "heads", "location"), _project_cells)
DATABASES = Listing(
    ("id", "project", "name", "position", "current", "labels", "address"), _database_cells
)
UNWELL = Listing((*DATABASES.columns, "reason"), _database_cells)
"""Databases, with the reason why nothing more is known of them."""
ROLLOUTS = Listing(
    ("id", "title", "kind", "target", "stage", "wave", "databases", "by"), _rollout_cells
)
RUNS = Listing(
    ("id", "rollout", "database", "kind", "state", "before", "after", "seconds", "error"),
    _run_cells,
)


def databases_at(positions: Sequence[str]) -> Listing:
    """The list of databases at these positions."""
    return UNWELL if {"unreachable", "torn"} & set(positions) else DATABASES


def print_page(
    listing: Listing, rows: Sequence[Row], following: int | None, *, as_json: bool
) -> None:
    """Print a page of a list, and where the next one begins."""
    if as_json:
        print_json({"items": rows, "next": following})
        return
    print_table(
        listing.columns,
        [[_cell({**row, **listing.cells(row)}[name]) for name in listing.columns] for row in rows],
    )
    if following:
        echo(f"More: --after {following}", err=True)


def print_row(row: Row, *, as_json: bool, without: Sequence[str] = ()) -> None:
    """One thing: a line for each of its values but those `without`, or JSON."""
    if as_json:
        print_json(row)
        return
    shown = [(name, _cell(_time(name, value))) for name, value in row.items()]
    print_table(("", ""), [one for one in shown if one[0] not in without])


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    flat = not isinstance(value, dict) or all(isinstance(one, str) for one in value.values())
    return text(value) if flat and not isinstance(value, bool) else json.dumps(value)


def _time(name: str, value: object) -> object:
    """A time, if the API answered one as text."""
    if isinstance(value, str) and name.endswith(("_at", "_until")):
        return datetime.fromisoformat(value)
    return value
