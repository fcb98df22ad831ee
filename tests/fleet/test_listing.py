"""Lists in an order of one's choice, what an import would do, what a plan of one says."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app import errors
from app.extensions import db
from app.fleet import databases, drift
from app.fleet.core.selectors import Selector
from app.fleet.databases import Order, count_databases, foresee, register_many, sorted_databases
from app.models import Kind
from app.web import encrypted_form
from tests.fleet.conftest import ROOT, person, project_at
from tests.fleet.fleets import Fleet, fleet_on
from tests.migrator.scripts import write_project

NAMES = ("c", "a", "Z", "b:1", "d")


def walked(**how: Any) -> list[str]:
    """Every name, in pages of two."""
    found: list[str] = []
    after = None
    while True:
        page, after = sorted_databases(ROOT, Selector(), limit=2, after=after, **how)
        found += [one.name for one in page]
        if after is None:
            return found


def test_each_order_goes_on_where_the_page_ended(fleet_anywhere: Flask, tmp_path: Path) -> None:
    shop = project_at(write_project(tmp_path / "scripts", 1))
    for name in NAMES:
        values = {"project_id": shop, "name": name, "url": f"sqlite:///{tmp_path}/{name}.db"}
        made, _ = databases.register_database(ROOT, values)
        made.position = "behind" if name in "ad" else "at_head"
        db.session.commit()
    by_name = ["Z", "a", "b:1", "c", "d"]
    by_position = ["c", "Z", "b:1", "a", "d"]
    for order, names in (
        (Order.REGISTERED, [*NAMES]),
        (Order.NAME, by_name),
        (Order.POSITION, by_position),
    ):
        assert walked(order=order) == names
        assert walked(order=order, backwards=True) == names[::-1]
    for after in ("x", "1", "x:7"):
        with pytest.raises(errors.InputInvalid, match="no such page"):
            sorted_databases(ROOT, Selector(), limit=2, order=Order.NAME, after=after)
    assert count_databases(ROOT, Selector()) == 5
    assert count_databases(ROOT, Selector(positions=("unknown",))) == 5  # as it is counted
    assert count_databases(ROOT, Selector(search="b:")) == 1
    assert count_databases(ROOT, Selector(), retired=True) == 0


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("order", list(Order))
def test_a_page_is_found_without_sorting_all(
    fleet_here: Flask, order: Order, backwards: bool
) -> None:
    sent: list[Any] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *told: sent.append(told[2:4]))
    sorted_databases(ROOT, Selector(), limit=2, order=order, backwards=backwards, after=None)
    (listed,) = [told for told in sent if "LIMIT" in told[0]]
    steps = db.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {listed[0]}", listed[1])
    assert "TEMP B-TREE" not in str(steps.all())


def test_what_an_import_would_do_is_what_it_does(fleet_here: Flask, tmp_path: Path) -> None:
    shop = project_at(write_project(tmp_path / "scripts", 1))

    def row(line: int, name: str, **more: Any) -> dict[str, Any]:
        return {"line": line, "name": name, "url": f"sqlite:///{tmp_path}/{name}.db", **more}

    register_many(ROOT, shop, [row(1, "old")])
    rows = [row(1, "old"), row(2, "new"), row(3, "new", url=f"sqlite:///{tmp_path}/other.db")]
    rows += [{"line": 4, "wrong": "It is no JSON."}, row(5, "more"), row(6, "x", url="nonsense")]
    told, fresh = foresee(ROOT, shop, rows)
    assert [draft.name for draft in fresh] == ["new", "more"]
    assert [line for line, _ in told.refused] == [3, 4, 6]
    assert count_databases(ROOT, Selector()) == 1
    done = register_many(ROOT, shop, rows)
    assert (told.added, told.known, told.refused) == (done.added, done.known, done.refused)
    with pytest.raises(errors.ProjectNotFound):
        foresee(ROOT, 99, rows)


def test_what_is_sealed_is_the_ones_who_was_given_it(
    fleet_here: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ada = person("operator", "ada")  # type: ignore[arg-type]
    _, bob = person("operator", "bob")  # type: ignore[arg-type]
    text = encrypted_form.encrypt_values(ada, {"url": "postgresql://u:secret@h/n"})
    assert "secret" not in text
    assert encrypted_form.decrypt_values(ada, text) == {"url": "postgresql://u:secret@h/n"}
    for actor, given in ((bob, text), (ada, text[:-4] + "AAAA"), (ada, ""), (ada, "é")):
        with pytest.raises(errors.InputInvalid, match="too old"):
            encrypted_form.decrypt_values(actor, given)
    with pytest.raises(errors.InputInvalid, match="too many"):
        encrypted_form.encrypt_values(ada, [hash(("x", number)) for number in range(100_000)])
    monkeypatch.setattr(encrypted_form, "LASTS", -1)
    with pytest.raises(errors.InputInvalid, match="too old"):
        encrypted_form.decrypt_values(ada, text)


@pytest.fixture
def fleet(template_copy: Any, tmp_path: Path) -> Any:
    with fleet_on(template_copy, tmp_path) as made:
        yield made


def test_a_plan_of_one_says_what_would_be_done(fleet: Fleet) -> None:
    one = fleet.add("one")
    plan = databases.plan_of(ROOT, one, Kind.UPGRADE)
    assert (plan.target, plan.ends, plan.more, plan.why_not) == ("r003", "r003", 0, None)
    assert [step.revision.revision for step in plan.steps] == ["r002", "r003"]
    assert "CREATE TABLE t2" in (plan.steps[0].sql or "")
    down = databases.plan_of(ROOT, one, Kind.DOWNGRADE, "base")
    assert (down.ends, [risk.says for risk in down.steps[0].risks]) == (
        "",
        ["drops t1 with all its rows"],
    )
    assert databases.below(ROOT, fleet.add("two", "r003")) == ["r002", "r001", "base"]
    assert databases.below(ROOT, fleet.add("empty", None)) == []
    assert "nonsense" in str(databases.plan_of(ROOT, one, Kind.UPGRADE, "nonsense").why_not)
    head = fleet.add("head", "r003")
    assert databases.plan_of(ROOT, head, Kind.UPGRADE).why_not == "It is already at r003."
    assert databases.plan_of(ROOT, head, Kind.CHECK).why_not is None


def test_the_snapshots_that_are_there(fleet: Fleet) -> None:
    one = fleet.add("one")
    fleet.start(selector={"ids": [one.id]}, snapshot=True)
    fleet.drain()
    fleet.start(kind="snapshot", selector={"ids": [one.id]})
    fleet.drain()
    found = databases.list_snapshots(ROOT, one.id)
    assert [(copy.current, copy.run.kind) for copy in found] == [
        ("r003", "snapshot"),
        ("r001", "upgrade"),
    ]
    assert all(copy.size_bytes for copy in found)
    (fleet.folder / found[0].name).unlink()
    assert [copy.name for copy in databases.list_snapshots(ROOT, one.id)] == [found[1].name]


def test_differences_of_one_and_how_many_were_looked_at(fleet: Fleet) -> None:
    one, two = fleet.add("one"), fleet.add("two")
    fleet.add("three")
    drift.store_differences(
        one, [("extra index t1.ix", "DROP INDEX ix;"), ("missing column t1.name", None)]
    )
    drift.store_differences(two, [])
    drift.ignore(ROOT, fleet.project_id, drift.digest_of("extra index t1.ix"), "wanted")
    assert [(d.says, d.fix_sql, d.ignored) for d in drift.differences_of(ROOT, one.id)] == [
        ("extra index t1.ix", "DROP INDEX ix;", "wanted"),
        ("missing column t1.name", None, None),
    ]
    told = drift.drift_coverage(ROOT, fleet.project_id)
    assert (told.databases, told.checked, told.drifted) == (3, 2, 1)
    everywhere, _ = drift.list_groups(ROOT, None, limit=9)
    assert {(one.says, one.project_id) for one in everywhere} == {
        ("extra index t1.ix", fleet.project_id),
        ("missing column t1.name", fleet.project_id),
    }
    found, _ = drift.list_groups(ROOT, None, limit=9, digest=everywhere[0].digest)
    assert found == everywhere[:1]
