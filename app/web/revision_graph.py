"""Draw a revision graph as rows with lines beside them, the newest revision on top.

A stretch of revisions without branches, merges and databases is folded into one row, so that
five hundred of them can be read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.fleet.reports.revision_chart import Chart

STEP = 16
"""Pixels between two parallel lines."""
MOST_BESIDE = 10
"""The most parallel lines; further ones are drawn in the last place."""
FEWEST_FOLDED = 3
MIDDLE = 50
BOTTOM = 100

Line = tuple[int, int, int, int]
"""x and y of its start and end: x in pixels, y in percent of the row's height, which only the
browser knows."""


@dataclass(frozen=True, kw_only=True)
class GraphRow:
    """A row: one revision, or several folded ones from the newest to the oldest."""

    revisions: tuple[str, ...]
    x: int
    """The position of its dot."""
    lines: tuple[Line, ...]

    @property
    def is_folded(self) -> bool:
        """True for a stretch of revisions."""
        return len(self.revisions) > 1


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The rows of a revision graph on one page."""

    rows: tuple[GraphRow, ...]
    width: int
    """The width of the lines in pixels, the same for every row."""
    most: int
    """The largest number of databases of a row, the scale of the bars."""
    left: tuple[str, ...] = ()
    """The revisions after the last row: older ones, or on other branches."""


def draw(
    chart: Chart, *, fold: bool = True, stood_on: int = 100, after: str = "", limit: int = 200
) -> Drawing:
    """Draw at most `limit` rows, after the row of the revision `after`.

    The `stood_on` revisions with the most databases are never folded.
    """
    found = _in_order(chart)
    stretches = _folded(chart, found, _kept(chart, stood_on)) if fold else [(one,) for one in found]
    rows = _with_lines(chart, stretches)
    seen = next((n + 1 for n, row in enumerate(rows) if after in row.revisions), 0)
    shown, rest = rows[seen : seen + limit], rows[seen + limit :]
    return Drawing(
        rows=tuple(shown),
        width=max((x for row in rows for line in row.lines for x in line[::2]), default=0) + STEP,
        most=max((chart.databases_at(row.revisions) for row in rows), default=0),
        left=tuple(name for row in rest for name in row.revisions),
    )


def _in_order(chart: Chart) -> list[str]:
    """All revisions, each before its parents, and branch after branch."""
    above = {name: len(chart.children.get(name, ())) for name in chart.nodes}
    height = _heights(chart)
    todo = sorted((name for name in above if not above[name]), key=lambda name: height[name])
    found: dict[str, None] = {}
    while todo:
        name = todo.pop()
        found[name] = None
        for below in reversed(_known(chart, chart.nodes[name].parents + _needs(chart, name))):
            above[below] -= 1
            if not above[below]:
                todo.append(below)
    # Releases may contradict each other and so make a cycle: add what is left.
    return [*found, *(name for name in chart.nodes if name not in found)]


def _heights(chart: Chart) -> Mapping[str, int]:
    """Revision -> the length of its longest path to a base: the longest branch is the trunk."""
    below = {name: _known(chart, node.parents) for name, node in chart.nodes.items()}
    lacking = {name: len(parents) for name, parents in below.items()}
    found = dict.fromkeys(chart.nodes, 0)
    todo = [name for name, count in lacking.items() if not count]
    for name in todo:
        found[name] = 1 + max((found[one] for one in below[name]), default=0)
        for above in chart.children.get(name, ()):
            if name in below[above]:
                lacking[above] -= 1
                if not lacking[above]:
                    todo.append(above)
    return found


def _needs(chart: Chart, name: str) -> tuple[str, ...]:
    """The dependencies of a revision that are not parents too."""
    node = chart.nodes[name]
    return tuple(one for one in node.depends_on if one not in node.parents)


def _known(chart: Chart, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in chart.nodes]


def _kept(chart: Chart, stood_on: int) -> set[str]:
    """The revisions that are never folded: heads, labelled ones, and those with many databases."""
    populous = sorted(chart.stands, key=lambda name: -chart.databases_at([name]))[:stood_on]
    named = (name for name, node in chart.nodes.items() if node.labels)
    return {*chart.heads, *populous, *named}


def _folded(chart: Chart, names: Sequence[str], kept: set[str]) -> list[tuple[str, ...]]:
    """The revisions in order, with uneventful stretches as one tuple."""

    def is_plain(name: str) -> bool:
        node = chart.nodes[name]
        alone = len(_known(chart, node.parents)) == len(chart.children.get(name, ())) == 1
        return alone and not node.depends_on and name not in kept

    def goes_on(name: str, below: str) -> bool:
        together = (name in chart.gone) == (below in chart.gone)
        return together and is_plain(below) and chart.nodes[name].parents == (below,)

    found: list[list[str]] = []
    for name in names:
        last = found[-1][-1] if found else None
        if last is not None and is_plain(last) and goes_on(last, name):
            found[-1].append(name)
        else:
            found.append([name])
    return [
        stretch
        for several in found
        for stretch in (
            [tuple(several)] if len(several) >= FEWEST_FOLDED else [(one,) for one in several]
        )
    ]


# --- lines ----------------------------------------------------------------------------------


@dataclass
class _Lanes:
    """The revision to which each line leads, from left to right."""

    to: list[str | None] = field(default_factory=list)

    def take(self, revision: str) -> int:
        """Assign the first free lane to a revision."""
        if None not in self.to:
            self.to.append(None)
        lane = self.to.index(None)
        self.to[lane] = revision
        return lane

    def arrive(self, revision: str) -> list[int]:
        """Free the lanes that lead to a revision, and return them."""
        found = [lane for lane, to in enumerate(self.to) if to == revision]
        for lane in found:
            self.to[lane] = None
        return found

    def running(self) -> list[int]:
        return [lane for lane, to in enumerate(self.to) if to is not None]


def _with_lines(chart: Chart, stretches: Iterable[tuple[str, ...]]) -> list[GraphRow]:
    lanes = _Lanes()
    found = []
    for names in stretches:
        came = lanes.arrive(names[0])
        beside = lanes.running()
        lane = came[0] if came else lanes.take(names[0])
        lanes.arrive(names[0])  # nothing leads to a head
        leave = _leave(lanes, lane, _known(chart, chart.nodes[names[-1]].parents))
        lines = [
            *(_line(other, 0, other, BOTTOM) for other in beside),
            *(_line(other, 0, lane, MIDDLE) for other in came),
            *(_line(lane, MIDDLE, other, BOTTOM) for other in leave),
        ]
        found.append(GraphRow(revisions=names, x=_x(lane), lines=tuple(dict.fromkeys(lines))))
    return found


def _leave(lanes: _Lanes, lane: int, parents: Sequence[str]) -> list[int]:
    """The lanes to the parents; the first parent gets the same lane."""
    found: list[int] = []
    for parent in parents:
        if not found:
            lanes.to[lane] = parent
            found.append(lane)
        elif parent in lanes.to:
            found.append(lanes.to.index(parent))
        else:
            found.append(lanes.take(parent))
    return found


def _line(lane: int, y: int, other: int, until: int) -> Line:
    return _x(lane), y, _x(other), until


def _x(lane: int) -> int:
    return STEP // 2 + STEP * min(lane, MOST_BESIDE)
