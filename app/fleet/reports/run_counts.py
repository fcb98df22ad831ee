"""Counts and durations of runs, without counting all of them each time.

A run that has ended does not change. So runs are counted in blocks of ids, and a block in which
all have ended is counted only once in a process.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from threading import Lock

from flask import current_app
from sqlalchemy import Integer, case, func, literal_column, select

from app.extensions import db
from app.models import UNENDED, Run

BLOCK = 10_000
NEWEST = 2
"""The newest blocks are counted each time, because rows may still appear in them."""
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""The buckets of a histogram, in seconds."""
# A literal: PostgreSQL does not recognise that two parameters are the same.
BLOCK_OF = Run.id // literal_column(str(BLOCK), Integer)


@dataclass
class Tally:
    """Counts that can be added."""

    states: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    """Kind -> the total of seconds."""
    timed: Counter[tuple[str, float]] = field(default_factory=Counter)
    """(kind, bound) -> the number of runs that took no longer than the bound."""

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        self.states.update(other.states)
        self.seconds.update(other.seconds)
        self.timed.update(other.timed)

    @property
    def kinds(self) -> list[str]:
        """The kinds of which a run has ended."""
        return sorted(self.seconds)


@dataclass
class Tallies:
    """The counts that this process has cached."""

    blocks: dict[int, Tally] = field(default_factory=dict)
    unsettled: set[int] = field(default_factory=set)
    """Blocks that may have changed since they were counted."""
    lock: Lock = field(default_factory=Lock)

    def count(self) -> Tally:
        """Count all runs."""
        with self.lock:
            last = db.session.scalar(select(func.max(Run.id)))
            if last is None:
                return Tally()
            newest = last // BLOCK
            unsettled = self._unsettled(newest)
            for block in self.unsettled | unsettled:  # and those that have settled since
                self.blocks.pop(block, None)
            self.unsettled = unsettled
            missing = [block for block in range(newest + 1) if block not in self.blocks]
            for first, end in _ranges(missing):
                self.blocks.update(_counted(first, end))
            total = Tally()
            for tally in self.blocks.values():
                total.add(tally)
            return total

    def _unsettled(self, newest: int) -> set[int]:
        still_open = select(BLOCK_OF).where(Run.state.in_(UNENDED)).distinct()
        return set(range(newest - NEWEST + 1, newest + 1)) | set(db.session.scalars(still_open))


def runs() -> Tally:
    """The number of runs in each state, and the durations of those that have ended."""
    known = current_app.extensions.setdefault("headway.tallies", Tallies())
    return known.count()  # type: ignore[no-any-return]


def _ranges(blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The first and last number of each sequence of consecutive numbers."""
    for _, row in groupby(enumerate(blocks), lambda pair: pair[1] - pair[0]):
        together = [block for _, block in row]
        yield together[0], together[-1]


def _counted(first: int, last: int) -> dict[int, Tally]:
    """Count these blocks with one query."""
    found = {block: Tally() for block in range(first, last + 1)}
    within = [func.sum(case((Run.seconds <= bound, 1), else_=0)) for bound in BOUNDS]
    query = (
        select(BLOCK_OF, Run.kind, Run.state, func.count(), func.count(Run.seconds))
        .add_columns(func.sum(Run.seconds), *within)
        .where(Run.id >= first * BLOCK, Run.id < (last + 1) * BLOCK)
        .group_by(BLOCK_OF, Run.kind, Run.state)
    )
    for block, kind, state, number, timed, seconds, *counts in db.session.execute(query):
        tally = found[block]
        tally.states[state] += number
        if timed:
            tally.seconds[kind] += seconds
            tally.timed[kind, float("inf")] += timed
            for bound, count in zip(BOUNDS, counts, strict=True):
                tally.timed[kind, bound] += int(count)
    return found
