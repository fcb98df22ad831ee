"""The overview, projects and revisions in a browser without a script."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.fleet import drift, projects, workers
from app.fleet.core.transactions import writing
from app.fleet.counts import positions
from app.models import (
    Database,
    Difference,
    Event,
    PositionCount,
    Project,
    Revision,
    Role,
    Rollout,
    Run,
    Worker,
)
from tests.fleet.fleets import ME, ROOT, Fleet, broken, fresh
from tests.migrator.scripts import write_project, write_revision
from tests.web.browser import Browser

ROW = re.compile(r'<li id="at-\d+-([^"]+)">(.*?)</li>', re.DOTALL)
TAG = re.compile(r"<[^>]+>")


@pytest.fixture(autouse=True)
def only_the_shop(fleet: Fleet) -> Iterator[None]:
    """Each test begins with one project of three revisions, and no database."""
    yield
    fresh()
    with db.engine.begin() as connection:
        for model in (Run, Rollout, Difference, PositionCount, Database):
            connection.execute(sa.delete(model))
        connection.execute(sa.delete(Project).where(Project.id != fleet.project_id))
        connection.execute(sa.delete(Revision))
        connection.execute(sa.update(Worker).values(stopped_at=None))
    fresh()
    for file in (*fleet.folder.glob("*.db*"), *(fleet.scripts / "versions").glob("*.py")):
        file.unlink()
    write_project(fleet.scripts, 3)
    fleet.load()
    workers.beat(ME)


@pytest.fixture
def admin(fleet: Fleet) -> Browser:
    return Browser(fleet, Role.ADMIN)


@pytest.fixture
def viewer(fleet: Fleet) -> Browser:
    return Browser(fleet, Role.VIEWER)


def rows(page: str) -> dict[str, str]:
    """The first revision of each row of a drawing, and what the row says in words."""
    return {name: " ".join(TAG.sub(" ", text).split()) for name, text in ROW.findall(page)}


def at(fleet: Fleet) -> str:
    return f"/projects/{fleet.project_id}"


# --- overview -------------------------------------------------------------------------------


def test_the_fleet_is_drawn_on_its_revisions(fleet: Fleet, viewer: Browser) -> None:
    fleet.add_many(2)
    fleet.add("high", "r003")
    fleet.add("none", None)
    page = viewer.get("/").text
    assert "4 databases" in page
    assert list(rows(page)) == ["r003", "r002", "r001"]
    assert rows(page)["r003"] == "r003 revision r003 head 1 database"
    assert rows(page)["r002"] == "r002 revision r002"
    assert rows(page)["r001"] == "r001 revision r001 2 databases"
    assert page.count('<svg class="rail"') == 3
    link = f'href="/databases/?project={fleet.project_id}&amp;current=r001"'
    assert link in page
    shown = viewer.get(f"/databases/?project={fleet.project_id}&current=r001").text
    assert ("d000" in shown, "d001" in shown, "high" in shown) == (True, True, False)
    assert re.search(r'At no revision: <a [^>]*position=empty">', page)


def test_branches_and_merges_are_drawn_and_said(fleet: Fleet, viewer: Browser) -> None:
    write_revision(fleet.scripts, "x1", "r001", message="a branch", labels=("side",))
    write_revision(fleet.scripts, "m1", ("r003", "x1"), message="together again")
    write_revision(fleet.scripts, "y1", "m1", depends_on=("r002",))
    fleet.load()
    found = rows(viewer.get("/").text)
    assert list(found) == ["y1", "m1", "r003", "r002", "x1", "r001"]
    assert found["m1"] == "m1 together again merges r003 , x1"
    assert found["x1"] == "x1 a branch side"
    assert found["r002"] == "r002 revision r002 on r001"
    assert found["y1"] == "y1 revision y1 head needs r002"


def test_five_hundred_revisions_stay_readable(fleet: Fleet, viewer: Browser) -> None:
    for number in range(4, 500):
        write_revision(fleet.scripts, f"r{number:03}", f"r{number - 1:03}")
    fleet.load()
    fleet.add("low", "r002")
    page = viewer.get("/").text
    assert rows(page) == {
        "r499": "r499 revision r499 head",
        "r498": "… 496 revisions … r498 to r003",
        "r002": "r002 revision r002 1 database",
        "r001": "r001 revision r001",
    }
    folded = viewer.get(f"{at(fleet)}?all=1&after=r499").text
    assert list(rows(folded))[:2] == ["r498", "r497"]
    assert len(rows(folded)) == 200
    assert "298 older revisions" in folded
    assert "Fold revisions without databases" in folded
    assert next(iter(rows(viewer.get(f"{at(fleet)}?all=1&after=r299").text))) == "r298"


def test_what_is_wrong_is_on_the_first_page(fleet: Fleet, viewer: Browser) -> None:
    members = fleet.add_many(2)
    broken(fleet, members[1])
    rollout = fleet.start(waves=["100%"], title="to the third")
    fleet.drain()
    drift.store_differences(members[0], [("extra index t1.ix", "DROP INDEX ix;")])
    fresh()
    page = viewer.get("/").text
    assert "halted" in page
    assert f"{rollout.id}: to the third" in page
    words = " ".join(TAG.sub(" ", page).split())
    assert "1 of 2 done, 1 failed , wave 1 of 1" in words
    failed = page.partition("Recent failures")[2]
    assert "d001" in failed
    assert "A revision failed (migration-failed)." in failed
    assert "already exists" not in page, "what a database says is for operators"
    assert "No later run on these databases succeeded" in failed
    assert re.search(r'href="/drifts/[^"]*"><span class="badge warn"[^>]*>drifted</span> 2<', page)
    assert 'http-equiv="refresh"' in page
    part = viewer.get("/?part=live").text
    assert "<html" not in part
    assert 'data-stage="1" data-says="1 active rollout."' in part
    assert all(f'id="live-{name}" data-part' in part for name in ("stand", "now", "failed"))


def test_one_project_or_all(fleet: Fleet, viewer: Browser, tmp_path: Path) -> None:
    fleet.add("mine")
    scripts = write_project(fleet.folder / "other", 1)
    other, _ = projects.create_project(ROOT, {"name": "other", "location": str(scripts)})
    page = viewer.get("/").text
    assert "All projects" in page
    assert "A worker reads its scripts in a moment" in page
    assert set(rows(page)) == {"r001", "r002", "r003"}
    only = viewer.get(f"/?project={other.id}").text
    assert "0 databases" in only
    assert rows(only) == {}
    assert viewer.get("/?project=99").status_code == 404
    assert viewer.get("/?project=x").status_code == 422


def test_of_many_projects_some_are_drawn_and_others_named(fleet: Fleet, viewer: Browser) -> None:
    fleet.add("mine")
    for number in range(50):
        asked = {"name": f"p{number:02}", "location": str(fleet.scripts)}
        projects.create_project(ROOT, asked)
    page = viewer.get("/").text
    assert len(re.findall(r'<h2 id="project-', page)) == 6
    assert ">shop</a>" in page
    assert page.count('<tr><th scope="row"><a id="project-link-') == 40
    assert ">5 more</a>" in page


def test_who_has_nothing_yet_is_told_what_to_do(
    fleet: Fleet, admin: Browser, viewer: Browser
) -> None:
    with db.engine.begin() as connection:
        connection.execute(sa.delete(Project))
        connection.execute(sa.update(Worker).values(stopped_at=sa.func.now()))
    try:
        page = admin.get("/").text
        assert 'href="/projects/new"' in page
        assert "flask projects create shop path/to/migrations" in page
        assert "flask workers run" in page
        assert "Only an admin can do this" in viewer.get("/").text
        for path in ("/projects/new", "/databases/new", "/rollouts/new"):
            assert f'class="button{" primary" * (path == "/projects/new")}" href="{path}"' in page
        page = admin.get("/databases/new").text
        assert "New project</a>" in page
        assert "<form" not in page.partition("<main")[2]
        assert "There is no project yet" in viewer.get("/projects/").text
    finally:
        asked = {"name": "shop", "location": str(fleet.scripts)}
        fleet.project_id = projects.create_project(ROOT, asked)[0].id
    page = admin.get("/").text
    assert (
        f"flask databases import --project shop --files &#39;{fleet.folder}/*.db"
        in page.replace("'", "&#39;")
    )
    page = admin.get(f"/projects/{fleet.project_id}").text
    assert 'class="button primary" href="/databases/new' in page
    page = admin.get("/").text
    assert 'href="/databases/new"' in page


# --- projects -------------------------------------------------------------------------------


def test_a_project_is_made_read_changed_and_deleted(fleet: Fleet, admin: Browser) -> None:
    scripts = write_project(fleet.folder / "made", 2)
    form = {"name": "made", "location": str(scripts), "refresh_seconds": "60"}
    more = {"x": "tenant=one\nplain=\n", "notes": "of the tests"}
    made = admin.post("/projects/new", **form, **more)
    assert made.status_code == 302
    place = made.location
    page = admin.get(place).text
    assert "A worker is reading its scripts" in page
    assert 'http-equiv="refresh"' in page
    project = db.session.scalars(sa.select(Project).where(Project.name == "made")).one()
    assert (project.x, project.refresh_seconds) == ({"tenant": "one", "plain": ""}, 60)
    from app.fleet.projects import scripts as projects_scripts

    projects_scripts.load(project.id)
    page = admin.get(place).text
    assert list(rows(page)) == ["r002", "r001"]
    assert "captured" in page
    assert "-x tenant=one" in page
    assert "no script was edited after it was first read" in page
    seen = project.version
    changed = admin.post(f"{place}/change", **form | {"name": "renamed"}, version=seen)
    assert changed.location == place
    assert "renamed" in admin.get(place).text
    old = admin.post(f"{place}/change", **form, version=seen)
    assert old.status_code == 409
    assert "Read it again" in old.text
    page = admin.get(f"{place}/delete").text
    assert "are not changed" in page
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version
    gone = admin.post(f"{place}/delete", version=version[1])
    assert gone.location == "/projects/"
    assert admin.get(place).status_code == 404
    assert (scripts / "env.py").exists()


@pytest.mark.parametrize(
    ("wrong", "said", "field"),
    [
        ({"name": "shop"}, "A project with this name already exists", None),
        ({"name": "7"}, "cannot be a number", "name"),
        ({"location": "/etc"}, "HEADWAY_PROJECT_ROOTS", None),
        ({"location": " "}, "Give the location of the scripts", "location"),
        ({"location": "nowhere"}, "There is no script directory", "location"),
        ({"refresh_seconds": "often"}, "a number of seconds", "refresh_seconds"),
        ({"refresh_seconds": "999999"}, "The refresh interval is 0", "refresh_seconds"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_typed_is_lost(
    fleet: Fleet, admin: Browser, wrong: dict[str, str], said: str, field: str | None
) -> None:
    form = {"name": "new", "location": str(fleet.scripts), "refresh_seconds": "5", "notes": "keep"}
    if wrong.get("location") == "nowhere":
        wrong = {"location": str(fleet.folder / "nowhere")}
    answer = admin.post("/projects/new", **form | wrong)
    assert answer.status_code in (403, 409, 422)
    assert said in answer.text
    assert ">keep</textarea>" in answer.text
    if field:
        assert re.search(rf'name="{field}"[^>]*aria-invalid="true"', answer.text)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Project)) == 1


def test_only_an_admin_makes_and_changes_projects(fleet: Fleet) -> None:
    operator = Browser(fleet, Role.OPERATOR)
    page = operator.get(at(fleet)).text
    assert "/change" not in page
    assert "/delete" not in page
    assert "/projects/new" not in operator.get("/projects/").text
    form = {"name": "x", "location": str(fleet.scripts), "refresh_seconds": "5", "version": "1"}
    for path in ("/projects/new", f"{at(fleet)}/change", f"{at(fleet)}/delete"):
        assert operator.get(path).status_code == 403, path
        assert operator.post(path, at="/", **form).status_code == 403, path
    assert "x" not in [one.name for one in projects.list_projects(ROOT, limit=9)[0]]


def test_a_project_with_a_history_is_kept_and_says_why(fleet: Fleet, admin: Browser) -> None:
    fleet.add("one")
    version = db.session.get_one(Project, fleet.project_id).version
    path = f"{at(fleet)}/delete"
    answer = admin.post(path, version=version, back=at(fleet))
    assert answer.location == at(fleet)
    assert "has databases: one" in admin.get(at(fleet)).text


def test_all_databases_are_looked_at_when_asked(fleet: Fleet, viewer: Browser) -> None:
    fleet.add("one")
    operator = Browser(fleet, Role.OPERATOR)
    assert "Check all its databases" in operator.get(at(fleet)).text
    assert "Check all its databases" not in viewer.get(at(fleet)).text
    before = db.session.get_one(Project, fleet.project_id).refresh_asked_at
    assert operator.post(f"{at(fleet)}/refresh", at=at(fleet)).location == at(fleet)
    fresh()
    after = db.session.get_one(Project, fleet.project_id).refresh_asked_at
    assert after
    assert before is None or after > before
    assert viewer.post(f"{at(fleet)}/refresh", at="/").status_code == 403


def test_the_list_says_where_each_project_stands(fleet: Fleet, viewer: Browser) -> None:
    fleet.add("one")
    page = viewer.get("/projects/").text
    assert "ready" in page
    assert f'<a href="/databases/?project={fleet.project_id}">1</a>' in page
    assert f'href="{at(fleet)}/revisions/r003"' in page
    assert "No project matches" in viewer.get("/projects/?search=zzz").text
    assert "shop" in viewer.get("/projects/?search=HO").text


def test_scripts_that_cannot_be_used_say_why_and_what_was_known_stays(
    fleet: Fleet, viewer: Browser, admin: Browser
) -> None:
    fleet.add("one")
    write_revision(fleet.scripts, "r004", "r003", head="\nimport nowhere_at_all\n")
    from app.fleet.projects import scripts as projects_scripts

    assert projects_scripts.load(fleet.project_id).state == "broken"
    fresh()
    page = viewer.get(at(fleet)).text
    assert "Read again" not in page
    assert "when the scripts have been read" not in page
    assert "Read again" in admin.get(at(fleet)).text
    assert projects_scripts.due() == []
    asked = admin.post(f"{at(fleet)}/refresh", at=at(fleet))
    assert "A worker reads its scripts again now." in admin.get(asked.location).text
    assert projects_scripts.due() == [fleet.project_id]
    projects_scripts.load(fleet.project_id)
    assert projects_scripts.due() == []
    page = viewer.get(at(fleet)).text
    assert "No module named &#39;nowhere_at_all&#39;" in page
    assert "flask projects load shop" in page
    assert list(rows(page)) == ["r003", "r002", "r001"]
    assert "Its scripts cannot be used" in viewer.get("/").text


def test_folders_of_scripts_are_offered(fleet: Fleet, admin: Browser) -> None:
    scripts = write_project(fleet.folder / "offered" / "migrations", 1)
    page = admin.get("/projects/new").text
    assert "Script directories without a project in <code>" in page
    form = {"name": "offered", "refresh_seconds": "60"}
    above = admin.post("/projects/new", **form, location=str(scripts.parent))
    assert above.status_code == 422
    assert f"There is no env.py in {scripts.parent}, but there is one in {scripts}." in above.text
    wrong = admin.post("/projects/new", **form, location=str(scripts), x="garbage")
    assert wrong.status_code == 422
    assert "&#39;garbage&#39; has no =." in wrong.text
    offered = re.search(r'class="chip" href="([^"]+)">' + re.escape(str(scripts)), page)
    assert offered
    filled = admin.get(html.unescape(offered[1])).text
    assert f'name="location" required maxlength="1024" value="{scripts}"' in filled
    assert 'maxlength="64" value="offered"' in filled
    assert f">{fleet.scripts}</a>" not in page


# --- revisions ------------------------------------------------------------------------------


def test_a_revision_shows_its_text_its_sql_and_who_has_it(fleet: Fleet, viewer: Browser) -> None:
    fleet.add_many(3)
    rollout = fleet.start(target="r002", selector={"ids": [1]}, waves=["100%"])
    first = db.session.scalars(sa.select(Database.id).order_by(Database.id)).first()
    fresh()
    with db.engine.begin() as connection:
        connection.execute(sa.update(Run).values(database_id=first))
    fleet.drain()
    page = viewer.get(f"{at(fleet)}/revisions/r002").text
    words = " ".join(TAG.sub(" ", page).split())
    assert "r002 revision r002" in words
    assert "Parents r001 Next r003" in words
    assert "op.create_table(&#34;t2&#34;" in page
    assert "ALTER TABLE t1 ADD COLUMN extra INTEGER" in page
    assert "CREATE TABLE t2" in page
    assert "drops t2 with all its rows" in page
    assert "id SERIAL NOT NULL" in page
    assert "AUTO_INCREMENT" in page
    assert db.session.get_one(Rollout, rollout.id).by_name in words
    assert viewer.get(f"{at(fleet)}/revisions/none").status_code == 404
    assert viewer.get("/projects/99/revisions/r002").status_code == 404


def test_how_many_databases_have_a_revision(fleet: Fleet, viewer: Browser) -> None:
    fleet.add_many(2)
    fleet.add("high", "r003")
    words = " ".join(TAG.sub(" ", viewer.get(f"{at(fleet)}/revisions/r002").text).split())
    assert (
        "Databases at this revision no database Databases that have it applied 1 of 3 databases"
        in words
    )
    words = " ".join(TAG.sub(" ", viewer.get(f"{at(fleet)}/revisions/r001").text).split())
    assert (
        "Databases at this revision 2 databases Databases that have it applied 3 of 3 databases"
        in words
    )


def test_an_edited_script_is_seen_and_shown_beside_the_one_before(
    fleet: Fleet, viewer: Browser
) -> None:
    path = fleet.scripts / "versions" / "r002.py"
    path.write_text(path.read_text().replace("sa.String(50)", "sa.String(99)"))
    fleet.load()
    page = viewer.get(at(fleet)).text
    assert "1 was edited after it was first read" in page
    assert "edited" in rows(page)["r002"]
    assert "edited" not in rows(page)["r001"]
    page = viewer.get(f"{at(fleet)}/revisions/r002").text
    assert re.search(r"^-.*sa\.String\(50\)", page, re.MULTILINE)
    assert re.search(r"^\+.*sa\.String\(99\)", page, re.MULTILINE)
    assert "unchanged since it was first read" not in page
    assert "unchanged since it was first read" in viewer.get(f"{at(fleet)}/revisions/r001").text


def test_a_revision_of_another_release_is_marked_and_can_be_read(
    fleet: Fleet, viewer: Browser
) -> None:
    fleet.add("newer", "r003")
    (fleet.scripts / "versions" / "r003.py").unlink()
    fleet.load()
    page = viewer.get(at(fleet)).text
    assert rows(page)["r003"].startswith("r003 revision r003 not in the scripts")
    assert "ahead 1" in rows(page)["r003"]
    assert " head " in rows(page)["r002"]
    told = viewer.get(f"{at(fleet)}/revisions/r003").text
    assert "It is not in the scripts of" in told
    assert "CREATE TABLE t3" in told
    assert "Roll out this revision" not in told
    (fleet.scripts / "versions" / "r002.py").unlink()
    fleet.load()
    with writing() as session:
        session.execute(sa.update(Database).values(current="r001"))
        positions.recount(session, [fleet.project_id])
    page = viewer.get(at(fleet)).text
    assert list(rows(page)) == ["r001"]
    assert "2 revisions that only other releases have" in page


def test_what_a_script_says_is_text(fleet: Fleet, viewer: Browser) -> None:
    write_revision(fleet.scripts, "r004", "r003", message="<script>alert(1)</script>")
    fleet.load()
    for path in ("/", at(fleet), f"{at(fleet)}/revisions/r004"):
        page = viewer.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_what_was_done_to_a_project_is_in_the_trail(fleet: Fleet, admin: Browser) -> None:
    form = {"name": "traced", "location": str(fleet.scripts), "refresh_seconds": "0"}
    admin.post("/projects/new", **form)
    event = db.session.scalars(sa.select(Event).order_by(Event.id.desc())).first()
    assert event
    assert (event.action, event.actor_name) == ("project.created", "admin")
