"""The fleet on the history of its project: who stands where, and what is known of a revision."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import projects, rollouts
from app.fleet.projects import scripts
from app.fleet.reports import overview, revision_chart
from app.models import Database, Project
from tests.fleet.conftest import ROOT
from tests.fleet.fleets import Fleet, broken, fleet_on, fresh, mended
from tests.migrator.scripts import write_revision


def test_databases_stand_at_their_revisions(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.add("high", "r003")
    fleet.add("none", None)
    found = revision_chart.chart(ROOT, fleet.project_id)
    assert list(found.nodes) == ["r001", "r002", "r003"]
    assert (found.heads, found.gone) == ({"r003"}, set())
    at = {name: [dict(one.positions) for one in of] for name, of in found.stands.items()}
    assert at == {"r001": [{"behind": 2}], "r003": [{"at_head": 1}]}
    assert [(one.current, one.databases) for one in found.nowhere] == [("", 1)]
    assert [found.databases_with(f"r{n:03}") for n in (1, 2, 3)] == [3, 1, 1]
    assert found.databases_at(found.nodes) == 3


def test_a_database_with_two_heads_stands_at_both_and_is_one(fleet: Fleet) -> None:
    write_revision(fleet.scripts, "x003", "r002")
    fleet.load()
    fleet.add("both", "heads")
    found = revision_chart.chart(ROOT, fleet.project_id)
    assert found.heads == {"r003", "x003"}
    assert [one.current for one in found.stands["x003"]] == ["r003+x003"]
    assert found.stands["r003"] == found.stands["x003"]
    assert found.databases_at(["r003", "x003"]) == 1
    assert found.databases_with("r001") == 1


def test_a_revision_that_is_gone_is_there_while_a_database_stands_on_it(fleet: Fleet) -> None:
    fleet.add("newer", "r003")
    file = fleet.scripts / "versions" / "r003.py"
    file.unlink()
    fleet.load()
    found = revision_chart.chart(ROOT, fleet.project_id)
    assert (found.heads, found.gone) == ({"r002"}, {"r003"})
    assert dict(found.stands["r003"][0].positions) == {"ahead": 1}
    assert [row.revision for row in revision_chart.missing(ROOT, fleet.project_id, limit=9)] == [
        "r003"
    ]
    db.session.execute(sa.update(Database).values(current="zzz"))
    standing = "UPDATE standing SET current = 'zzz'"
    db.session.execute(sa.text(standing))
    db.session.commit()
    found = revision_chart.chart(ROOT, fleet.project_id)
    assert list(found.nodes) == ["r001", "r002"]
    assert [one.current for one in found.nowhere] == ["zzz"]


def test_who_brought_a_revision_and_how_often_it_was_edited(fleet: Fleet) -> None:
    fleet.add("one")
    rollout = fleet.start(target="r002")
    fleet.drain()
    write_revision(fleet.scripts, "r003", "r002", message="edited")
    fleet.load()
    found = revision_chart.details_of(ROOT, fleet.project_id, ["r001", "r002", "r003", "nobody"])
    assert list(found) == ["r001", "r002", "r003"]
    assert (found["r002"].row.rollout_id, found["r002"].by_name) == (rollout.id, "test")
    assert found["r001"].by_name is None
    assert [found[name].texts for name in found] == [1, 1, 2]
    assert found["r003"].row.message == "edited"
    assert revision_chart.edited(ROOT, fleet.project_id) == ["r003"]
    assert revision_chart.missing(ROOT, fleet.project_id, limit=9) == []


def test_a_script_that_was_edited_has_an_origin_of_its_own(fleet: Fleet) -> None:
    fleet.add("one")
    fleet.start(target="r003")
    fleet.drain()
    write_revision(fleet.scripts, "r003", "r002", message="edited")
    fleet.load()
    assert revision_chart.details_of(ROOT, fleet.project_id, ["r003"])["r003"].by_name is None
    fleet.add("two")
    second = fleet.start()
    fleet.drain()
    fresh()
    assert (
        revision_chart.details_of(ROOT, fleet.project_id, ["r003"])["r003"].row.rollout_id
        == second.id
    )


def test_what_was_known_stays_while_the_scripts_cannot_be_used(fleet: Fleet) -> None:
    fleet.add("one")
    (fleet.scripts / "versions" / "r003.py").write_text("revision = 'r003'\nraise ValueError")
    assert scripts.load(fleet.project_id).state == "broken"
    fresh()
    assert len(revision_chart.chart(ROOT, fleet.project_id).nodes) == 3
    assert revision_chart.details_of(ROOT, fleet.project_id, ["r001"])["r001"].texts == 1


def test_nothing_is_known_of_scripts_that_nobody_has_read(fleet: Fleet) -> None:
    made, _ = projects.create_project(ROOT, {"name": "new", "location": str(fleet.scripts)})
    found = revision_chart.chart(ROOT, made.id)
    assert (dict(found.nodes), found.nowhere) == ({}, ())
    assert revision_chart.details_of(ROOT, made.id, ["r001"]) == {}


def test_what_failed_is_told_until_something_succeeds(fleet: Fleet) -> None:
    members = fleet.add_many(2)
    broken(fleet, members[1])
    rollout = fleet.start()
    fleet.drain()
    found = overview.failed_lately(ROOT, limit=5)
    assert [(one.database, one.rollout_id) for one in found] == [("d001", rollout.id)]
    assert "already exists" in (found[0].error or "")
    assert overview.failed_lately(ROOT, limit=5, project_id=fleet.project_id + 1) == []
    mended(members[1])
    db.session.rollback()

    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    fresh()
    assert overview.failed_lately(ROOT, limit=5) == []


def test_a_project_whose_scripts_moved_keeps_what_databases_stand_on(
    fleet: Fleet, tmp_path: Path
) -> None:
    from tests.migrator.scripts import write_project

    fleet.add("one", "r003")
    shorter = write_project(tmp_path / "shorter", 1)
    project = db.session.get_one(Project, fleet.project_id)
    projects.change_project(ROOT, project.id, {"location": str(shorter)}, version=project.version)
    fleet.load()
    found = revision_chart.chart(ROOT, fleet.project_id)
    assert found.gone == {"r002", "r003"}
    assert found.heads == {"r001"}


def test_every_catalog_answers_alike(migrated_url: URL, tmp_path: Path) -> None:
    with fleet_on(migrated_url, tmp_path) as fleet:
        members = fleet.add_many(2)
        broken(fleet, members[1])
        rollout = fleet.start(title="once")
        fleet.drain()
        assert fleet.stage(rollout) == "halted"  # its canary went back once, not again and again
        write_revision(fleet.scripts, "r002", "r001", message="edited")
        (fleet.scripts / "versions" / "r003.py").unlink()
        fleet.load()
        found = revision_chart.chart(ROOT, fleet.project_id)
        assert (found.positions_at(found.nodes), found.nowhere) == ({"behind": 2}, ())
        assert revision_chart.edited(ROOT, fleet.project_id) == ["r002"]
        missing = revision_chart.missing(ROOT, fleet.project_id, limit=9)
        assert [row.revision for row in missing] == ["r003"]
        entries = revision_chart.details_of(ROOT, fleet.project_id, ["r001", "r002"])
        assert (entries["r002"].texts, entries["r002"].row.message) == (2, "edited")
        failed = overview.failed_lately(ROOT, limit=5)
        assert [(one.database, one.rollout_id) for one in failed] == [("d001", rollout.id)]
        told = overview.overview(ROOT, project_id=fleet.project_id)
        assert (told.databases, told.drifted, told.pinned, told.retired) == (2, 1, 0, 0)
