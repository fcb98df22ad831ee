"""Export runs row by row: JSON lines with all columns, or CSV for a spreadsheet."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from app.fleet.core.permissions import Actor
from app.fleet.runs import queries

RunRow = Mapping[str, Any]

LONG = ("log", "sql")
"""Columns that are too long for a spreadsheet."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would evaluate a cell that begins with one of these."""


def rows(
    actor: Actor, *, rollout_id: int | None = None, database_id: int | None = None
) -> Iterator[RunRow]:
    """All runs, oldest first, with SQL and log; waves are counted from 1."""
    found = queries.export(actor, rollout_id=rollout_id, database_id=database_id)
    return ({**row, "wave": wave_of(row["wave"])} for row in found)


def wave_of(number: int) -> int | None:
    """The wave counted from 1; None for a rehearsal."""
    return number + 1 if number >= 0 else None


def as_json_lines(found: Iterable[RunRow]) -> Iterator[str]:
    """One line of JSON per row."""
    for row in found:
        yield json.dumps(row, default=_iso, ensure_ascii=False) + "\n"


def as_csv(found: Iterable[RunRow]) -> Iterator[str]:
    """CSV (RFC 4180) with a header, without SQL and log. Formulas are escaped."""
    names = [name for name in COLUMNS if name not in LONG]
    yield _line(names)
    for row in found:
        yield _line([_cell(row[name]) for name in names])


COLUMNS = ("database", "rollout", "by", *(column.key for column in queries.EXPORTED), "sql")


FORMS: dict[str, Callable[[Iterable[RunRow]], Iterator[str]]] = {
    "jsonl": as_json_lines,
    "csv": as_csv,
}


def _line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerow(values)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    if isinstance(value, list):
        value = " ".join(value)
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(FORMULAS) else text


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
