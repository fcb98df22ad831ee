"""What databases differ in: kept, grouped, accepted with a reason, mended with the SQL given."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.engine import URL

from app import errors
from app.extensions import db
from app.fleet import databases, drift, projects, rollouts, runs, webhooks, workers
from app.fleet.drift import groups
from app.models import Database, Delivery, Difference, Event, Project, Role
from headway import Project as Scripts
from tests.fleet.conftest import ROOT, at_once, person, ready_project
from tests.fleet.fleets import ME, drain, move
from tests.migrator.making import run, send
from tests.migrator.scripts import write_project

INDEX = ("extra index t1.ix_more", "DROP INDEX ix_more;")
COLUMN = ("extra column t1.rogue", "ALTER TABLE t1 DROP COLUMN rogue;")
ODD = ("other identity of a column", None)


@pytest.fixture
def shop(fleet_anywhere: Flask, tmp_path: Path) -> int:
    return ready_project(write_project(tmp_path / "scripts", 2))


def member(project_id: int, folder: Path, name: str) -> Database:
    made, _ = databases.register_database(
        ROOT, {"project_id": project_id, "name": name, "url": f"sqlite:///{folder}/{name}.db"}
    )
    return made


def drift_of(database: Database) -> int | None:
    db.session.rollback()
    return db.session.get_one(Database, database.id, populate_existing=True).drift


def told(project_id: int, **which: bool) -> list[tuple[str, int]]:
    found, _ = drift.list_groups(ROOT, project_id, limit=50, **which)  # type: ignore[arg-type]
    return [(one.says, one.databases) for one in found]


def test_databases_that_share_a_difference_are_one_group(shop: int, tmp_path: Path) -> None:
    assert told(shop) == []
    some = [member(shop, tmp_path, f"d{number}") for number in range(4)]
    assert drift.store_differences(some[0], []) == 0
    assert drift.store_differences(some[1], [INDEX]) == 1
    assert drift.store_differences(some[2], [INDEX, COLUMN]) == 2
    assert drift.store_differences(some[3], [INDEX, ODD, COLUMN]) == 3
    assert told(shop) == [
        ("extra index t1.ix_more", 3),
        ("extra column t1.rogue", 2),
        ("other identity of a column", 1),
    ]
    found, after = drift.list_groups(ROOT, shop, limit=2)
    assert [one.mends[0].sql for one in found] == [INDEX[1], COLUMN[1]]
    assert found[0].mends[0].dialect == "sqlite"
    rest, end = drift.list_groups(ROOT, shop, limit=2, after=after)
    assert [(one.says, one.mends, end) for one in rest] == [(ODD[0], (), None)]
    shared, _ = drift.list_differences(ROOT, limit=50, project_id=shop, digest=found[1].digest)
    assert [one.database_id for one in shared] == [some[2].id, some[3].id]


def test_the_next_check_takes_the_place_of_the_last(shop: int, tmp_path: Path) -> None:
    one = member(shop, tmp_path, "d")
    version = one.version
    drift.store_differences(one, [INDEX, COLUMN])
    assert drift_of(one) == 2
    drift.store_differences(one, [COLUMN])
    assert drift_of(one) == 1
    assert told(shop) == [("extra column t1.rogue", 1)]
    drift.store_differences(one, [])
    assert (drift_of(one), told(shop)) == (0, [])
    seen = db.session.get_one(Database, one.id)
    assert seen.drift_at
    assert seen.version == version


def test_what_is_ignored_does_not_count(shop: int, tmp_path: Path) -> None:
    some = [member(shop, tmp_path, f"d{number}") for number in range(3)]
    drift.store_differences(some[0], [INDEX])
    drift.store_differences(some[1], [INDEX, COLUMN])
    digest = drift.digest_of(INDEX[0])
    kept = drift.ignore(ROOT, shop, digest[:8], "  made by the DBA  ")
    assert (kept.says, kept.reason, kept.by_name) == (INDEX[0], "made by the DBA", "test")
    assert [drift_of(one) for one in some] == [0, 1, None]
    assert drift.store_differences(some[2], [INDEX]) == 0
    assert told(shop, ignored=False) == [(COLUMN[0], 1)]
    assert told(shop, ignored=True) == [(INDEX[0], 3)]
    assert drift.ignore(ROOT, shop, digest, "another reason").id == kept.id
    drift.unignore(ROOT, shop, digest)
    assert [drift_of(one) for one in some] == [1, 2, 1]
    with pytest.raises(errors.DifferenceNotFound, match="not ignored"):
        drift.unignore(ROOT, shop, digest)
    db.session.rollback()
    actions = db.session.scalars(select(Event.action).where(Event.action.startswith("drift.")))
    assert list(actions) == ["drift.ignored", "drift.ignored", "drift.unignored"]


def test_ignored_in_one_project_is_not_in_another(shop: int, tmp_path: Path) -> None:
    other = ready_project(tmp_path / "scripts", "other")
    one, two = member(shop, tmp_path, "a"), member(other, tmp_path, "b")
    drift.store_differences(one, [INDEX])
    drift.store_differences(two, [INDEX])
    drift.ignore(ROOT, shop, drift.digest_of(INDEX[0]), "here only")
    assert (drift_of(one), drift_of(two)) == (0, 1)


def test_two_who_ignore_the_same_at_once(fleet_anywhere: Flask, shop: int, tmp_path: Path) -> None:
    drift.store_differences(member(shop, tmp_path, "a"), [INDEX])
    digest = drift.digest_of(INDEX[0])
    found = at_once(fleet_anywhere, *[lambda: drift.ignore(ROOT, shop, digest, "why not").id] * 4)
    assert len(set(found)) == 1, found


def test_a_difference_is_named_by_what_no_other_shares(shop: int, tmp_path: Path) -> None:
    drift.store_differences(member(shop, tmp_path, "a"), [INDEX, COLUMN])
    for wrong in ("", "nope", "%"):
        with pytest.raises(errors.DifferenceNotFound):
            drift.ignore(ROOT, shop, wrong, "because")
    with pytest.raises(errors.InputInvalid, match="why"):
        drift.ignore(ROOT, shop, drift.digest_of(INDEX[0]), "  ")


def test_a_viewer_may_look_and_not_ignore(shop: int, tmp_path: Path) -> None:
    drift.store_differences(member(shop, tmp_path, "a"), [INDEX])
    _, viewer = person(Role.VIEWER)
    _, operator = person(Role.OPERATOR)
    assert drift.list_groups(viewer, shop, limit=5)[0]
    digest = drift.digest_of(INDEX[0])
    with pytest.raises(errors.RoleInsufficient):
        drift.ignore(viewer, shop, digest, "because")
    with pytest.raises(errors.RoleInsufficient):
        drift.unignore(viewer, shop, digest)
    assert drift.ignore(operator, shop, digest, "because").by_name == "operator"


def test_drift_is_announced_when_it_is_new(shop: int, tmp_path: Path) -> None:
    webhooks.create_webhook(
        ROOT, {"name": "w", "url": "https://example.org/hook", "events": ["drift.found"]}
    )
    one = member(shop, tmp_path, "a")

    def sent() -> list[list[str]]:
        db.session.rollback()
        rows = db.session.scalars(select(Delivery).order_by(Delivery.id))
        return [row.body["new"] for row in rows]

    drift.store_differences(one, [])
    assert sent() == []
    drift.store_differences(one, [INDEX])
    assert sent() == [[INDEX[0]]]
    drift.store_differences(one, [INDEX])
    assert sent() == [[INDEX[0]]]
    drift.store_differences(one, [INDEX, COLUMN])
    assert sent() == [[INDEX[0]], [COLUMN[0]]]
    drift.ignore(ROOT, shop, drift.digest_of(INDEX[0]), "ok")
    drift.store_differences(one, [])
    drift.store_differences(one, [INDEX])
    assert len(sent()) == 2
    body = db.session.scalars(select(Delivery.body).order_by(Delivery.id)).first() or {}
    assert body["database"] == {"id": one.id, "name": "a"}
    assert body["project"] == {"id": shop, "name": "shop"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_a_real_database_is_compared_grouped_and_mended(
    kind: str, fleet_here: Flask, tmp_path: Path, fresh_url: Callable[..., URL]
) -> None:
    shop = ready_project(write_project(tmp_path / "scripts", 2))
    scripts = projects.scripts_of(db.session.get_one(Project, shop))
    urls = [fresh_url(kind) for _ in range(2)]
    found = []
    for number, url in enumerate(urls):
        move(scripts.at(url))
        run(url, "CREATE INDEX ix_more ON t1 (extra)")
        made, _ = databases.register_database(
            ROOT,
            {
                "project_id": shop,
                "name": f"d{number}",
                "url": url.render_as_string(hide_password=False),
            },
        )
        found.append(drift.compare_and_store(made, scripts.at(url)))
    assert found == [1, 1]
    (group,), _ = drift.list_groups(ROOT, shop, limit=5)
    assert (group.says, group.databases) == ("extra index t1.ix_more", 2)
    for number, url in enumerate(urls):
        send(url, group.mends[0].sql)
        assert (
            drift.compare_and_store(databases.find_database(ROOT, f"d{number}"), scripts.at(url))
            == 0
        )
    assert db.session.scalar(select(func.count()).select_from(Difference)) == 0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_a_failure_that_names_an_object_is_explained(
    kind: str, fleet_here: Flask, tmp_path: Path, fresh_url: Callable[..., URL]
) -> None:
    """The database is compared at once, whatever it is: what is there, and how much of it."""
    shop = ready_project(write_project(tmp_path / "scripts", 2))
    scripts = Scripts.load(tmp_path / "scripts")
    workers.register(ME, "embedded")
    made = []
    ways = ("CREATE TABLE t2 (x INTEGER)", "ALTER TABLE t1 ADD COLUMN extra INTEGER", "SELECT 1")
    for number, statement in enumerate(ways):
        url = fresh_url(kind)
        scripts.at(url).upgrade("r001")
        run(url, statement)
        if "t2" in statement:
            run(url, "INSERT INTO t2 VALUES (1), (2), (3)")
        text = url.render_as_string(hide_password=False)
        asked = {"project_id": shop, "name": f"d{number}", "url": text}
        made.append(databases.register_database(ROOT, asked)[0])
    values = {"project_id": shop, "waves": ["100%"], "gate": {"failures": 2}}
    rollout, _ = rollouts.create_rollout(ROOT, values)
    rollouts.start_rollout(ROOT, rollout.id)
    drain()
    found = {one.database_id: one for one in runs.list_runs(ROOT, limit=9)[0]}
    table, column, well = (found[one.id] for one in made)
    cause = "Compared at once: table t2 is there, and no revision made it (3 rows)."
    assert (table.error or "").endswith(f"\n{cause}")
    assert f"{cause}\n" in (table.log or "")
    assert well.error is None
    if kind == "mariadb":  # half of the revision is there: that is no drift
        assert "Compared at once" not in (column.error or "")
        return
    assert "column t1.extra is there, and no revision made it (0 values)" in (column.error or "")
    (difference,) = drift.differences_of(ROOT, made[0].id)
    assert difference.says == "extra table t2"
    assert difference.warning == (
        "drops table t2 with all its rows: 3 rows when it was last compared"
    )


def test_what_a_fix_destroys_is_said() -> None:
    at = "when it was last compared"
    assert groups.fix_warning("extra index t1.ix_more", None) is None
    assert groups.fix_warning("missing table t1", 0) is None
    assert groups.fix_warning("extra table t1", None) == "drops table t1 with all its rows"
    assert groups.fix_warning("extra column t1.x", 1) == (
        f"drops column t1.x with all its values: 1 value {at}"
    )
    assert groups.fix_warning("extra table t1", 10_001) == (
        f"drops table t1 with all its rows: more than 10,000 rows {at}"
    )
