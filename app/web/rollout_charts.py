"""Geometry of the charts of a rollout, which the templates draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from math import ceil, sqrt
from typing import Any

from app.fleet.reports.run_states import RunStates
from app.fleet.rollouts.rules.gates import Check
from app.models import Rollout
from app.web.template_filters import lasted

STATES = ("succeeded", "running", "lost", "failed", "cancelled", "pending")
"""The states in the order of a bar."""
WIDTH = 1000
GATE = 26
"""The space of a gate between two waves."""
A_WHILE = 120
"""Seconds from which a time is shown in minutes."""
ACROSS = 4
"""The ratio of width to height of a grid."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A wave, as wide as its share of the databases."""

    number: int
    size: int
    x: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid with a cell for every database."""

    columns: int
    rows: int
    paths: dict[str, str]
    """State -> the SVG path of its cells, in units of a cell."""
    counts: dict[str, int]
    each: int


@dataclass(frozen=True, kw_only=True)
class Column:
    """A rollout that has begun: as high as it took long, and what of it failed."""

    rollout: Rollout
    x: float
    width: float
    y: float
    height: float
    failed: float
    """The height of the part that failed."""
    seconds: float
    says: str


COLUMNS = (600.0, 100.0)
"""Width and height of the chart of rollouts."""
LOWEST = 4.0


def columns(found: Sequence[Rollout], failed: Mapping[int, int]) -> list[Column]:
    """The rollouts that have begun, the oldest first, beside each other.

    Heights go with the root of the duration, so that one of an hour leaves those of minutes seen.
    """
    begun = [one for one in reversed(found) if one.started_at is not None]
    if not begun:
        return []
    now = datetime.now(UTC)
    took = [((one.finished_at or now) - (one.started_at or now)).total_seconds() for one in begun]
    width, height = COLUMNS
    each, longest = width / max(len(begun), 12), sqrt(max(*took, 1.0))
    made = []
    for place, (one, seconds) in enumerate(zip(begun, took, strict=True)):
        high = max(LOWEST, height * sqrt(max(seconds, 0.0)) / longest)
        number, total = failed.get(one.id, 0), sum(one.sizes)
        name = f"{one.id}: {one.title or one.kind}"
        lost = f", {number:,} of {total:,} failed" if number else ""
        made.append(
            Column(
                rollout=one,
                x=place * each + each * 0.1,
                width=each * 0.8,
                y=height - high,
                height=high,
                failed=max(LOWEST, high * number / total) if number and total else 0.0,
                seconds=seconds,
                says=f"{name}, {one.stage}, {lasted(seconds)}{lost}",
            )
        )
    return made


def bars(sizes: Sequence[int]) -> list[Bar]:
    """Waves of these sizes side by side, with space for a gate between; each has a least width."""
    room = WIDTH - GATE * (len(sizes) - 1)
    least = room / (3 * len(sizes)) if sizes else 0
    total = sum(sizes) or 1
    found, x = [], 0.0
    for number, size in enumerate(sizes, 1):
        width = least + (room - least * len(sizes)) * size / total
        found.append(Bar(number=number, size=size, x=round(x, 1), width=round(width, 1)))
        x += width + GATE
    return found


def gate_words(gate: dict[str, Any]) -> list[str]:
    """The conditions of a gate in words."""
    conditions = []
    failures, percent = gate.get("failures") or 0, gate.get("failures_percent")
    some = f"{failures:,}" if failures else "none"
    conditions.append(
        f"{some} may fail" + (f", or {percent:g} % of those begun" if percent else "")
    )
    if check := gate.get("check"):
        conditions.append(
            "each database is checked for drift"
            if check == Check.DRIFT
            else "a query checks each database"
        )
    if seconds := gate.get("soak_seconds"):
        while_ = lasted(seconds) if seconds >= A_WHILE else f"{seconds:g} s"
        conditions.append(f"a wait of {while_}")
    if gate.get("approval"):
        conditions.append("the approval of another account")
    return conditions


def gate_marks(gate: dict[str, Any]) -> list[str]:
    """The names of the symbols that are drawn for a gate."""
    given = {
        "check": gate.get("check"),
        "soak": gate.get("soak_seconds"),
        "approval": gate.get("approval"),
    }
    return [mark for mark, value in given.items() if value]


def grid(run_states: RunStates) -> Grid:
    """The cells in rows; all cells of one state are one path."""
    columns = max(1, ceil(sqrt(len(run_states.states) * ACROSS)))
    paths: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    start = 0
    for state, row in groupby(run_states.states):
        end = start + len(list(row))
        paths.setdefault(state, []).extend(_outline(start, end, columns))
        counts[state] = counts.get(state, 0) + end - start
        start = end
    return Grid(
        columns=columns,
        rows=ceil(len(run_states.states) / columns),
        paths={state: "".join(paths[state]) for state in STATES if state in paths},
        counts=counts,
        each=run_states.each,
    )


def _outline(start: int, end: int, columns: int) -> list[str]:
    """Consecutive cells as at most three rectangles: rest of a row, whole rows, start of a row."""
    found = []
    while start < end:
        y, x = divmod(start, columns)
        if x or end - start < columns:
            wide, high = min(columns - x, end - start), 1
        else:
            wide, high = columns, (end - start) // columns
        found.append(f"M{x} {y}h{wide}v{high}h-{wide}z")
        start += wide * high
    return found
