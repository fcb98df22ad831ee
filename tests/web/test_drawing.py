"""A history drawn: rows in order, lines that meet, stretches that are folded."""

import random
import time

import pytest

from app.fleet.reports.revision_chart import Chart, Stand
from app.web.revision_graph import MIDDLE, MOST_BESIDE, STEP, Drawing, draw
from headway.plan.graph import Node

Parents = dict[str, tuple[str, ...]]


def chart_of(parents: Parents, at: dict[str, int] | None = None, **more: object) -> Chart:
    """A history of these revisions, with so many databases at some."""
    needs: Parents = more.get("needs", {})  # type: ignore[assignment]
    nodes = {
        name: Node(id=name, parents=of, depends_on=needs.get(name, ()))
        for name, of in parents.items()
    }
    below = {one for of in parents.values() for one in of}
    stands: dict[str, tuple[Stand, ...]] = {}
    for current, count in (at or {}).items():
        for name in current.split("+"):
            stands[name] = (
                *stands.get(name, ()),
                Stand(current=current, positions={"behind": count}),
            )
    return Chart(
        nodes=nodes,
        heads=frozenset(parents) - below,
        gone=frozenset(more.get("gone", ())),  # type: ignore[call-overload]
        stands=stands,
    )


def chain(count: int) -> Parents:
    return {f"r{n:03}": (f"r{n - 1:03}",) if n > 1 else () for n in range(1, count + 1)}


def names(drawing: Drawing) -> list[tuple[str, ...]]:
    return [row.revisions for row in drawing.rows]


def lane(x: int) -> int:
    return (x - STEP // 2) // STEP


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_a_merge_and_its_branches_are_joined_by_lines() -> None:
    merge, first, second, root = draw(chart_of(DIAMOND)).rows
    assert [row.revisions for row in (merge, first, second, root)] == [
        ("d",),
        ("b",),
        ("c",),
        ("a",),
    ]
    assert [lane(row.x) for row in (merge, first, second, root)] == [0, 0, 1, 0]
    left, right = STEP // 2, STEP // 2 + STEP
    assert set(merge.lines) == {(left, 50, left, 100), (left, 50, right, 100)}
    assert set(first.lines) == {(left, 0, left, 50), (left, 50, left, 100), (right, 0, right, 100)}
    assert set(second.lines) == {
        (left, 0, left, 100),
        (right, 0, right, 50),
        (right, 50, right, 100),
    }
    assert set(root.lines) == {(left, 0, left, 50), (right, 0, left, 50)}


def test_the_longest_history_is_the_trunk() -> None:
    drawing = draw(chart_of({**chain(6), "x": ("r002",)}), fold=False)
    assert [lane(row.x) for row in drawing.rows] == [0, 0, 0, 0, 1, 0, 0]
    assert names(drawing)[0] == ("r006",)


def test_what_nobody_stands_on_is_folded() -> None:
    drawing = draw(chart_of(chain(500), {"r100": 7, "r101": 2}))
    assert [(row[0], row[-1]) for row in names(drawing)] == [
        ("r500", "r500"),
        ("r499", "r102"),
        ("r101", "r101"),
        ("r100", "r100"),
        ("r099", "r002"),
        ("r001", "r001"),
    ]
    assert [row.is_folded for row in drawing.rows] == [False, True, False, False, True, False]
    assert drawing.most == 7


def test_two_are_no_stretch() -> None:
    assert all(not row.is_folded for row in draw(chart_of(chain(4))).rows)
    assert draw(chart_of(chain(5))).rows[1].is_folded


def test_a_branch_a_label_or_a_need_is_never_folded() -> None:
    parents = {**chain(20), "x": ("r010",)}
    single = {row[0] for row in names(draw(chart_of(parents))) if len(row) == 1}
    assert single == {"r020", "x", "r010", "r001"}
    single = {
        row[0] for row in names(draw(chart_of(parents, needs={"x": ("r005",)}))) if len(row) == 1
    }
    assert "r005" in single


def test_of_many_that_are_stood_on_those_with_the_most_stay() -> None:
    everywhere = {name: number for number, name in enumerate(chain(300), 1)}
    drawing = draw(chart_of(chain(300), everywhere), stood_on=10)
    assert len(drawing.rows) == 12
    assert drawing.rows[10].revisions[0] == "r290"
    assert drawing.most == sum(range(2, 291))


def test_pages_of_a_long_history_join() -> None:
    chart = chart_of(chain(50))
    whole = draw(chart, fold=False)
    first = draw(chart, fold=False, limit=20)
    assert len(first.left) == 30
    second = draw(chart, fold=False, limit=20, after=first.rows[-1].revisions[-1])
    assert names(first) + names(second) == names(whole)[:40]
    assert len(second.left) == 10
    assert first.width == second.width == whole.width


def test_nothing_is_drawn_of_nothing() -> None:
    drawing = draw(chart_of({}))
    assert (drawing.rows, drawing.most, drawing.left) == ((), 0, ())


def test_two_releases_that_contradict_each_other_end_too() -> None:
    drawing = draw(chart_of({"a": ("b",), "b": ("a",), "c": ()}))
    assert sorted(names(drawing)) == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize("seed", range(40))
def test_any_history_has_every_revision_once_and_lines_that_arrive(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.revision_graph.MOST_BESIDE", 100)  # no two lines lie on each other
    dice = random.Random(seed)
    parents: Parents = {}
    for number in range(dice.randrange(1, 60)):
        known = list(parents)
        count = min(len(known), dice.choice([0, 1, 1, 1, 1, 1, 2, 2, 3]))
        parents[f"n{number}"] = tuple(dice.sample(known[-8:], min(count, len(known[-8:]))))
    at = {name: 1 for name in parents if dice.random() < 0.2}
    chart = chart_of(parents, at)
    for fold in (True, False):
        drawing = draw(chart, fold=fold)
        seen = [name for row in drawing.rows for name in row.revisions]
        assert sorted(seen) == sorted(parents)
        place = {name: n for n, name in enumerate(seen)}
        assert all(place[name] < place[one] for name, of in parents.items() for one in of)
        assert edges(drawing) == edges_of(parents, drawing)


def edges(drawing: Drawing) -> set[tuple[int, int]]:
    """Which row leads to which, as the lines say when they are followed downwards."""
    found = set()
    for start, row in enumerate(drawing.rows):
        for line in row.lines:
            if line[1] == MIDDLE:
                found |= {(start, end) for end in follow(drawing, start + 1, line[2])}
    return found


def follow(drawing: Drawing, number: int, x: int) -> set[int]:
    row = drawing.rows[number]
    found: set[int] = set()
    for from_x, from_y, to_x, to_y in row.lines:
        if (from_x, from_y) == (x, 0):
            found |= {number} if to_y == MIDDLE else follow(drawing, number + 1, to_x)
    assert found, "a line that ends in the air"
    return found


def edges_of(parents: Parents, drawing: Drawing) -> set[tuple[int, int]]:
    row_of = {name: n for n, row in enumerate(drawing.rows) for name in row.revisions}
    found = {(row_of[name], row_of[one]) for name, of in parents.items() for one in of}
    return {(above, below) for above, below in found if above != below}


def test_very_many_branches_stay_narrow() -> None:
    parents: Parents = {"root": (), **{f"b{n}": ("root",) for n in range(100)}}
    assert draw(chart_of(parents)).width == (MOST_BESIDE + 1) * STEP + STEP // 2


def test_five_thousand_revisions_are_drawn_in_no_time() -> None:
    chart = chart_of(chain(5000), {f"r{n:03}": n for n in range(1, 5000, 50)})
    began = time.perf_counter()
    assert len(draw(chart).rows) == 200
    assert time.perf_counter() - began < 1
