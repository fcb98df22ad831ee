"""Databases and drift in a browser without a script: found, registered, acted on, compared."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import databases, drift, projects, rollouts
from app.fleet.core import places
from app.models import Database, Difference, Ignored, Label, PositionCount, Role, Rollout, Run
from tests.fleet.fleets import ROOT, Fleet, fresh
from tests.migrator.making import run
from tests.web.browser import FORGERY, Browser

NAMED = re.compile(r'<a href="/databases/\d+">([^<]+)</a>')
INDEX = ("extra index t1.ix_more", "DROP INDEX ix_more;")
COLUMN = ("missing column t1.name", "ALTER TABLE t1 ADD COLUMN name VARCHAR(50);")


@pytest.fixture(autouse=True)
def nothing_kept(fleet: Fleet) -> Iterator[None]:
    """Each test begins with no database, and with no file of one."""
    yield
    fresh()
    with db.engine.begin() as connection:
        for model in (Run, Rollout, Difference, Ignored, Label, PositionCount, Database):
            connection.execute(sa.delete(model))
    fresh()
    for file in fleet.folder.glob("*.db*"):
        file.unlink()


@pytest.fixture
def operator(fleet: Fleet) -> Browser:
    return Browser(fleet)


@pytest.fixture
def admin(fleet: Fleet) -> Browser:
    return Browser(fleet, Role.ADMIN)


def names(page: str) -> list[str]:
    """Of the databases that a list shows, in its order."""
    return NAMED.findall(page)


def retaken(member: Database) -> Database:
    fresh()
    return databases.get_database(ROOT, member.id)


def test_a_list_is_searched_filtered_and_sorted_by_links(fleet: Fleet, operator: Browser) -> None:
    for name, at, tier in (("b", "r001", "gold"), ("c", "r003", "gold"), ("a", "r001", "free")):
        fleet.add(name, at, labels={"tier": tier})
    page = operator.get("/databases/").text
    assert names(page) == ["b", "c", "a"]
    assert "3 databases" in page
    assert names(operator.get("/databases/?order=name").text) == ["a", "b", "c"]
    assert names(operator.get("/databases/?order=name&down=1").text) == ["c", "b", "a"]
    assert 'aria-sort="descending"' in operator.get("/databases/?order=name&down=1").text
    assert names(operator.get("/databases/?label=tier%3Dgold").text) == ["b", "c"]
    assert names(operator.get("/databases/?label=tier").text) == ["b", "c", "a"]
    assert names(operator.get("/databases/?position=behind&order=name").text) == ["a", "b"]
    assert names(operator.get("/databases/?search=C.DB").text) == ["c"]
    fleet.add("hers", owner_id=operator.actor.id)
    page = operator.get(f"/databases/?owner={operator.actor.id}").text
    assert names(page) == ["hers"]
    assert f"owner {operator.actor.name} <" in page
    nothing = operator.get("/databases/?position=behind&label=tier%3Dtin").text
    assert "No database matches" in nothing
    assert 'href="/databases/?position=behind"' in nothing  # each filter is taken away by its link
    for wrong in ("order=size", "owner=x", "after=x", "position=nowhere", "project=x"):
        assert operator.get(f"/databases/?{wrong}").status_code == 422, wrong


def test_pages_go_on_in_their_order(
    fleet: Fleet, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.databases.PAGE", 2)
    for name in "dbace":
        fleet.register(name, f"sqlite:///{fleet.folder}/{name}.db")
    found, where = [], "/databases/?order=name"
    while where:
        page = operator.get(where.replace("&amp;", "&")).text
        found += names(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        where = following[1] if following else ""
    assert found == [*"abcde"]


def test_an_empty_fleet_says_what_to_do(fleet: Fleet, operator: Browser) -> None:
    assert "Register databases" in operator.get("/databases/").text
    assert "flask databases register" in operator.get("/databases/").text
    viewer = Browser(fleet, Role.VIEWER, "vera")
    assert "Register databases</a>" not in viewer.get("/databases/").text


def test_one_is_registered_by_its_url(fleet: Fleet, operator: Browser) -> None:
    fleet.file("acme")
    form = {"from": "one", "project": fleet.project_id, "labels": "tier=gold\nregion=eu"}
    made = operator.post(
        "/databases/new", **form, url=f"sqlite:///{fleet.folder}/acme.db", notes="<i>first</i>"
    )
    page = operator.get(made.location).text
    assert "Registered. A worker checks it." in page
    for said in ("acme", "tier=gold", "region=eu", "&lt;i&gt;first", "Its status is not known yet"):
        assert said in page
    again = operator.post("/databases/new", **form, url=f"sqlite:///{fleet.folder}/acme.db")
    assert again.status_code == 409
    assert "already" in again.text
    assert "region=eu</textarea>" in again.text, "what was typed is still there"
    secret = operator.post("/databases/new", **form, url="postgresql://u:s3cret@h")
    assert secret.status_code == 422
    assert "s3cret" not in secret.text


def test_a_password_in_any_field_is_not_shown_again(fleet: Fleet, operator: Browser) -> None:
    secret = "postgresql://u:s3cr3tpw@h/x"
    whole = {"project": fleet.project_id}
    one = whole | {"from": "one"}
    for wrong in (
        one | {"url": secret, "reference": secret},
        one | {"url": "nonsense s3cr3tpw"},
        one | {"name": secret, "url": f"sqlite:///{fleet.folder}/a.db"},
        one | {"owner": secret, "url": f"sqlite:///{fleet.folder}/a.db"},
        one | {"labels": secret, "url": f"sqlite:///{fleet.folder}/a.db"},
        one | {"notes": secret},
        whole | {"from": "list", "text": secret},
        whole | {"from": "list", "text": f"ann,{secret}"},
        whole | {"from": "files", "pattern": secret},
        whole | {"from": "files", "pattern": f"{fleet.folder}/*", "expression": f"({secret}"},
        whole | {"from": "server", "url": "nonsense s3cr3tpw", "names": secret},
        whole | {"from": "schemas", "url": "postgresql://u:s3cr3tpw@h/", "names": secret},
    ):
        answer = operator.post("/databases/new", at=f"/databases/new?from={wrong['from']}", **wrong)
        assert answer.status_code >= 400, wrong
        assert "s3cr3tpw" not in answer.text, wrong
    page = operator.post(
        "/databases/new", at="/databases/new", **whole, **{"from": "list"}, text=secret
    )
    assert "The first line has to name the columns: name,url,…" in page.text
    member = fleet.add("acme")
    wrong = {"version": member.version + 7, "name": secret, "notes": secret, "url": secret}
    assert "s3cr3tpw" not in operator.post(f"/databases/{member.id}/change", **wrong).text


def test_one_is_made_at_head(fleet: Fleet, operator: Browser) -> None:
    form = {"from": "one", "project": fleet.project_id, "url": f"sqlite:///{fleet.folder}/new.db"}
    made = operator.post("/databases/new", **form, make="1")
    page = operator.get(made.location).text
    assert "Started the creation of new." in page
    new = databases.find_database(ROOT, "new")
    page = operator.get(f"/databases/{new.id}").text
    assert f'It is being created by <a href="{made.location}">' in page
    fleet.drain()
    page = operator.get(f"/databases/{new.id}").text
    assert "at head</span>" in page
    assert "No pending revisions: the database is at head." in page
    assert ">create</a> in" in page
    assert "succeeded" in operator.get(made.location).text
    assert (fleet.folder / "new.db").exists()


def test_files_are_shown_before_they_are_registered(fleet: Fleet, operator: Browser) -> None:
    for name in ("eu-a", "us-b"):
        fleet.file(name)
    (fleet.folder / "no.db").write_text("this is no database")
    form = {"from": "files", "project": fleet.project_id, "pattern": f"{fleet.folder}/*-*.db"}
    page = operator.post("/databases/new", **form, expression="/(?P<region>eu|us)-").text
    assert "Register 2 databases?" in page
    assert "region=us" in page
    assert names(operator.get("/databases/").text) == []
    fleet.file("eu-later")  # came after what was shown
    done = send_what_was_shown(operator, page)
    assert names(operator.get(done.location).text) == ["us-b", "eu-a"]
    again = operator.post("/databases/new", **form).text
    assert "Register 1 database?" in again
    assert "2 of the databases found are registered already." in again
    none = operator.post("/databases/new", **form | {"pattern": f"{fleet.folder}/nothing*.db"})
    assert f"No SQLite file matches {fleet.folder}/nothing*.db." in none.text
    outside = operator.post("/databases/new", **form | {"pattern": "/etc/*"})
    assert f"/etc lies outside the allowed folders ({fleet.folder})." in outside.text
    assert (outside.status_code, "HEADWAY_DATA_ROOTS" in outside.text) == (422, True)


def test_schemas_are_shown_before_they_are_registered(
    fleet: Fleet, operator: Browser, postgresql_url: URL
) -> None:
    run(postgresql_url, *(f"CREATE SCHEMA {name}" for name in ("gold_a", '"free_<b>"', "other")))
    empty = operator.get(f"/databases/new?from=schemas&project={fleet.project_id}").text
    assert "All schemas of a database" in empty
    form = {"from": "schemas", "project": fleet.project_id, "names": "*_*"}
    form["url"] = postgresql_url.set(password="s3cret").render_as_string(hide_password=False)
    page = operator.post("/databases/new", **form, expression="(?P<tier>[a-z]+)_").text
    assert "Register 2 databases?" in page
    assert "tier=gold" in page
    assert "schema=gold_a" in page
    assert "s3cret" not in page
    done = send_what_was_shown(operator, page)
    assert names(operator.get(done.location).text) == ["gold_a", "free_&lt;b&gt;"]
    again = operator.post("/databases/new", **form).text
    assert "2 of the databases found are registered already." in again
    none = operator.post("/databases/new", **form | {"names": "tenant_*"})
    assert "No schema of this database matches tenant_*." in none.text
    nameless = operator.post("/databases/new", **form | {"url": "postgresql://u:s3cret@h"})
    assert "This URL names no database." in nameless.text
    assert "s3cret" not in nameless.text


def send_what_was_shown(browser: Browser, page: str) -> object:
    sealed = re.search(r'name="sealed" value="([^"]+)"', page)
    forgery = FORGERY.search(page)
    assert sealed
    assert forgery
    data = {"csrf_token": forgery[1], "sealed": sealed[1]}
    return browser.client.post("/databases/new", data=data)


def test_a_list_is_uploaded_and_its_passwords_are_never_shown(
    fleet: Fleet, operator: Browser
) -> None:
    lines = (
        "name,url,label.tier\n"
        f"ann,sqlite:///{fleet.folder}/ann.db,gold\n"
        "bob,postgresql://u:s3cret@127.0.0.1/bob,free\n"
        "eve,nonsense,free\n"
    )
    page = operator.post(
        "/databases/new",
        at="/databases/new?from=list",
        **{"from": "list", "project": fleet.project_id},
        file=(io.BytesIO(lines.encode()), "list.csv"),
    ).text
    assert "Register 2 databases?" in page
    assert "://u:***@127.0.0.1/bob" in page
    assert "s3cret" not in page
    assert re.search(r'<td class="n">4</td><td class="why"[^>]*>.*URL', page)
    done = send_what_was_shown(operator, page).text  # type: ignore[attr-defined]
    assert "Registered 2 databases" in done
    assert "1 could not be registered" in done
    assert "s3cret" not in operator.get("/databases/").text
    late = operator.post("/databases/new", sealed="made up")
    assert (late.status_code, "too old" in late.text) == (422, True)


def test_a_page_tells_all_of_one(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme", notes="<script>alert(1)</script>")
    page = operator.get(f"/databases/{member.id}").text
    for said in (
        "2 revisions to",
        "revision r002",
        "CREATE TABLE t2",
        "Its schema has not been compared",
    ):
        assert said in page
    assert "<script" not in page.replace('<script src="/assets/headway.js" defer></script>', "")
    drift.store_differences(member, [INDEX, COLUMN])
    page = operator.get(f"/databases/{member.id}").text
    for said in (
        "extra index ix_more",
        "missing column name",
        "DROP INDEX ix_more;",
        "<h3>t1</h3>",
    ):
        assert said in page
    viewer = Browser(fleet, Role.VIEWER, "vera")
    assert "/upgrade" not in viewer.get(f"/databases/{member.id}").text
    assert operator.get("/databases/99999").status_code == 404


def test_where_it_stands_comes_with_what_to_do(fleet: Fleet, operator: Browser) -> None:
    with sa.create_engine(f"sqlite:///{fleet.folder}/old.db").begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t1 (id INTEGER)")
    member = fleet.register("old", f"sqlite:///{fleet.folder}/old.db")
    page = operator.get(f"/databases/{member.id}").text
    assert f"flask migrate adopt --scripts {fleet.scripts} --url {member.address}" in page
    assert "It is unstamped." in operator.get(f"/databases/{member.id}/upgrade").text
    (fleet.folder / "away.db").write_text("This is no database. " * 99)
    away = fleet.register("away", f"sqlite:///{fleet.folder}/away.db")
    page = operator.get(f"/databases/{away.id}").text
    assert "unreachable</span>" in page
    assert "Check the URL and the server." in page


def test_what_is_not_known_is_not_said(fleet: Fleet, operator: Browser) -> None:
    """Of one that never answered."""
    form = {"from": "one", "project": fleet.project_id, "url": f"sqlite:///{fleet.folder}/no.db"}
    here = operator.post("/databases/new", **form).location
    assert "not known yet" in operator.get(here).text
    member = fleet.register("never", "postgresql://u:p@127.0.0.1:1/never")
    page = operator.get(f"/databases/{member.id}").text
    assert "unknown: it never answered" in page
    assert "Unknown: it never answered." in page
    assert "revision r002" not in page
    overview = operator.get("/").text
    assert "Position unknown: " in overview
    assert "At no revision" not in overview


def test_copies_of_a_file_are_not_offered_on_a_server(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme")
    here = f"/databases/{member.id}"
    operator.post(f"{here}/upgrade", target="r003", snapshot="1")
    fleet.drain()
    assert "Restore" in operator.get(here).text
    form = {"version": retaken(member).version, "name": "acme"}
    operator.post(f"{here}/change", **form, url="postgresql://u:p@127.0.0.1:1/acme")
    assert "postgresql" in operator.get(here).text
    assert "Restore" not in operator.get(here).text


def test_the_overview_offers_those_that_are_behind(fleet: Fleet, operator: Browser) -> None:
    fleet.add("one")
    fleet.add("two")
    page = operator.get("/").text
    link = re.search(r'href="([^"]+)">Roll out to the 2 that are behind</a>', page)
    assert link
    form = operator.get(link[1].replace("&amp;", "&")).text
    assert re.search(r'value="behind"\s+checked', form)
    fleet.start()
    assert "that are behind" not in operator.get("/").text


def test_it_is_upgraded_taken_back_and_its_copy_restored(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme")
    here = f"/databases/{member.id}"
    page = operator.get(f"{here}/upgrade").text
    assert "2 revisions are applied" in page
    assert "CREATE TABLE t3" in page
    done = operator.post(f"{here}/upgrade", target="r003", current="r001", snapshot="1")
    assert done.location.startswith("/rollouts/")
    fleet.drain()
    assert fleet.at(member) == "r003"
    page = operator.get(here).text
    assert "No pending revisions: the database is at head." in page
    copy = re.search(r'target=([^"&]+snapshot)"', page)
    assert copy
    page = operator.get(f"{here}/downgrade?target=r002").text
    assert "drops t3 with all its rows" in page
    operator.post(f"{here}/downgrade", target="r002", current="r003")
    fleet.drain()
    assert fleet.at(member) == "r002"
    assert copy[1] in operator.get(f"{here}/restore?target={copy[1]}").text
    operator.post(f"{here}/restore", target=copy[1], current="r002")
    fleet.drain()
    assert fleet.at(member) == "r001"
    stamp = operator.get(f"{here}/stamp").text
    assert "No revision is run." in stamp
    run = db.session.scalar(sa.select(Run.id).where(Run.database_id == member.id).limit(1))
    page = operator.get(f"{here}/runs/{run}").text
    assert "CREATE TABLE t2" in page
    assert "r002" in page


def test_what_has_moved_since_it_was_shown_is_left_alone(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme")
    here = f"/databases/{member.id}"
    answer = operator.post(f"{here}/upgrade", target="r003", current="r000", back=here)
    assert answer.location == here
    assert "it has changed since" in operator.get(here).text
    assert retaken(member).rollout_id is None
    head = fleet.add("head", "r003")
    page = operator.get(f"/databases/{head.id}/upgrade").text
    assert "It is already at r003." in page
    assert "<button class" not in page.partition("<main")[2]


def sent(page: str, **typed: str) -> dict[str, str]:
    """The hidden fields of a page's form, and what was typed."""
    form = page.partition("<main")[2]
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)) | typed


def test_a_target_that_was_changed_is_shown_before_it_is_done(
    fleet: Fleet, operator: Browser
) -> None:
    member = fleet.add("acme")
    for verb, target in (("upgrade", "r002"), ("stamp", "nonsense"), ("downgrade", "base")):
        there = f"/databases/{member.id}/{verb}"
        form = sent(operator.get(f"{there}?target=r001").text, target=target)
        answer = operator.client.post(there, data=form)
        assert answer.location == f"{there}?target={target}", verb
        page = operator.get(answer.location).text
        assert "You changed the target. This is the new plan." in page
        assert f'name="target" value="{target}"' in page
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Rollout)) == 0
    there = f"/databases/{member.id}/upgrade"
    form = sent(operator.get(there).text, target="r002")
    looked = operator.client.post(there, data=form | {"look": "1"})
    page = operator.get(looked.location).text
    assert "You changed the target" not in page
    operator.client.post(there, data=sent(page, target="r002"))
    fleet.drain()
    assert fleet.at(member) == "r002"


def test_errors_of_its_history_are_told_in_full(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme")
    with db.engine.begin():
        engine = sa.create_engine(f"sqlite:///{fleet.folder}/acme.db")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t2 (x)")
        engine.dispose()
    operator.post(f"/databases/{member.id}/upgrade", target="r003")
    fleet.drain()
    page = operator.get(f"/databases/{member.id}").text
    assert "table t2 already exists" in page
    assert "/problems/migration-failed" in page
    run = re.search(rf'"(/databases/{member.id}/runs/\d+)"', page)
    assert run
    assert "table t2 already exists" in operator.get(run[1]).text
    other = fleet.add("other")
    assert operator.get(run[1].replace(str(member.id), str(other.id), 1)).status_code == 422
    rollout = db.session.scalars(sa.select(Rollout)).one()
    rollouts.retry_rollout(operator.actor, rollout.id)
    fleet.drain()
    page = operator.get(f"/databases/{member.id}").text
    assert page.count("table t2 already exists") >= 2
    assert re.search(rf'{run[1]}".*?tried again: run \d+', page, re.DOTALL), "it is still told"


def test_it_is_pinned_and_unpinned(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme")
    here = f"/databases/{member.id}"
    past = operator.post(f"{here}/pin", reason="audit", until="2020-01-31")
    assert "Choose a day after today." in past.text
    wrong = operator.post(f"{here}/pin", reason="audit", until="soon")
    assert wrong.status_code == 422
    assert 'value="audit"' in wrong.text
    assert operator.post(f"{here}/pin", reason="audit", until="2090-01-31").location == here
    page = operator.get(here).text
    assert "Pinned, so rollouts leave it out: audit" in page
    assert f'href="{here}/unpin"' in page
    assert names(operator.get("/databases/?pinned=1").text) == ["acme"]
    operator.post(f"{here}/unpin")
    assert retaken(member).pin_until is None


def test_what_is_kept_of_it_is_changed(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme", labels={"tier": "gold", "old": "1"})
    here = f"/databases/{member.id}"
    form = {"name": "acme2", "labels": "tier=free", "notes": "n", "strategy": "on_open"}
    assert "old=1" in operator.get(f"{here}/change").text
    version = member.version
    assert operator.post(f"{here}/change", **form, version=version).location == here
    now = retaken(member)
    assert (now.name, now.notes, now.strategy) == ("acme2", "n", "on_open")
    assert {label.name: label.value for label in now.labels} == {"tier": "free"}
    stale = operator.post(f"{here}/change", **form | {"name": "acme3"}, version=version)
    assert stale.status_code == 409
    assert 'value="acme3"' in stale.text
    bad = operator.post(f"{here}/change", **form | {"labels": "!=1"})
    assert (bad.status_code, "not a valid name of a label" in bad.text) == (422, True)


@pytest.fixture
def with_arguments(fleet: Fleet) -> Iterator[None]:
    """The project has -x arguments for as long as the test; then its scripts are read again."""
    given = {"x": {"a": "0", "n": "{name}"}}
    projects.change_project(ROOT, fleet.project_id, given, version=None)
    yield
    projects.change_project(ROOT, fleet.project_id, {"x": {}}, version=None)
    fleet.load()


@pytest.mark.usefixtures("with_arguments")
def test_its_arguments_for_env_py_are_shown_and_changed(fleet: Fleet, operator: Browser) -> None:
    fleet.file("acme")
    form = {"from": "one", "project": fleet.project_id, "url": f"sqlite:///{fleet.folder}/acme.db"}
    wrong = operator.post("/databases/new", **form, x="tenant")
    assert (wrong.status_code, "has no =" in wrong.text) == (422, True)
    here = operator.post("/databases/new", **form, x="tenant={label.t}\na=<1>").location
    for said in ("-x tenant={label.t}</code> (its own)", "-x a=&lt;1&gt;", "-x n={name}"):
        assert said in operator.get(here).text, "a value is missing"
    page = operator.get(f"{here}/change").text
    assert "tenant={label.t}\na=&lt;1&gt;\n</textarea>" in page
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version
    given = {"name": "acme", "strategy": "wave", "version": version[1]}
    bad = operator.post(f"{here}/change", **given, x="tenant={nobody}")
    assert (bad.status_code, "which is not a placeholder" in bad.text) == (422, True)
    assert "tenant={nobody}</textarea>" in bad.text, "what was typed is still there"
    assert operator.post(f"{here}/change", **given, x="b=2").location == here
    text = operator.get(here).text
    assert "-x b=2</code> (its own)" in text
    assert "-x n=acme</code>" in text
    assert "-x tenant" not in text


def test_labels_are_given_to_those_that_were_ticked(fleet: Fleet, operator: Browser) -> None:
    one, two, three = (fleet.add(name, labels={"tier": "gold"}) for name in "abc")
    both = f"database={one.id}&database={two.id}"
    ticked = operator.get(f"/databases/?to=label&{both}").location
    assert ticked.startswith("/databases/label?ticked=1&")
    rollout = operator.get(f"/databases/?to=rollout&{both}").location
    assert rollout.startswith("/rollouts/new?ticked=1&")
    for to, words in (("rollout", "Roll out to all"), ("label", "Label all")):
        none = operator.get(f"/databases/?to={to}&label=tier%3Dgold&order=name")
        assert f"Select at least one database, or use {words}." in none.text
        assert (none.status_code, names(none.text)) == (422, ["a", "b", "c"])
    assert "Label 2 databases" in operator.get(ticked).text
    done = operator.post(ticked, labels="wave=late", gone="tier")
    assert done.location.startswith("/databases/")
    labels = [{x.name: x.value for x in retaken(m).labels} for m in (one, two, three)]
    assert labels == [{"wave": "late"}, {"wave": "late"}, {"tier": "gold"}]
    assert operator.get("/databases/label?ticked=1").status_code == 422
    assert operator.post(ticked).status_code == 422  # nothing to change
    operator.post("/databases/label?label=tier%3Dgold", strategy="on_open")
    assert [retaken(m).strategy for m in (one, three)] == ["wave", "on_open"]


def test_retired_and_dropped_are_gone_as_was_said(fleet: Fleet, admin: Browser) -> None:
    one, two = fleet.add("one"), fleet.add("two")
    page = admin.get(f"/databases/{one.id}/retire").text
    assert "itself is not changed" in page
    admin.post(f"/databases/{one.id}/retire", version=one.version)
    page = admin.get(f"/databases/{one.id}").text
    assert "<h1>one, retired</h1>" in page
    assert "/upgrade" not in page
    for verb in ("upgrade", "restore"):
        page = admin.get(f"/databases/{one.id}/{verb}").text
        assert "It is retired. Register it again first." in page
        assert "<button" not in page.partition("<main")[2]
    refused = admin.post(f"/databases/{one.id}/upgrade", target="r003")
    assert "It is retired. Register it again first." in refused.text
    assert (fleet.folder / "one.db").exists()
    assert "Retired" in admin.get(f"/databases/{one.id}").text
    assert names(admin.get("/databases/").text) == ["two"]
    here = f"/databases/{two.id}/drop"
    assert 'name="confirm"' not in admin.get(here).text  # asked twice
    assert 'name="confirm"' in admin.get(f"{here}?sure=1").text
    wrong = admin.post(here, at=f"{here}?sure=1", confirm="one")
    assert wrong.status_code == 422
    assert (fleet.folder / "two.db").exists()
    form = {"project": fleet.project_id, "from": "files", "pattern": f"{fleet.folder}/*.db"}
    with places.REACHING.take():
        busy = [admin.post(here, at=f"{here}?sure=1", confirm="two")]
        busy.append(admin.post("/databases/new", at="/databases/new?from=files", **form))
    assert [each.status_code for each in busy] == [503, 503]
    assert all("Try again in a few seconds." in each.text for each in busy)
    answer = admin.post(here, at=f"{here}?sure=1", confirm="two")
    assert "Its snapshot is" in admin.get(answer.location).text
    assert not (fleet.folder / "two.db").exists()
    (copy,) = fleet.folder.glob("two.db.*.snapshot")
    page = admin.get(answer.location).text
    assert "Dropped by admin, " in page
    assert f"A copy is at <code>{copy}</code>" in page


def test_drop_is_for_admins(fleet: Fleet, operator: Browser) -> None:
    member = fleet.add("acme")
    assert operator.get(f"/databases/{member.id}/drop").status_code == 403
    answer = operator.post(f"/databases/{member.id}/drop", at="/databases/", confirm="acme")
    assert answer.status_code == 403
    assert fleet.file("acme", None).exists()


@pytest.mark.parametrize(
    "verb", ["upgrade", "downgrade", "stamp", "check", "snapshot", "restore", "pin", "change"]
)
def test_a_viewer_does_nothing(fleet: Fleet, verb: str) -> None:
    member = fleet.add("acme")
    viewer = Browser(fleet, Role.VIEWER, "vera")
    for answer in (
        viewer.get(f"/databases/{member.id}/{verb}"),
        viewer.post(f"/databases/{member.id}/{verb}", at="/databases/"),
    ):
        assert answer.status_code == 403
    assert retaken(member).version == member.version


def test_drift_is_grouped_ignored_and_counted_again(fleet: Fleet, operator: Browser) -> None:
    some = [fleet.add(name) for name in "abc"]
    assert "Nothing was compared yet" in operator.get("/drifts/").text
    drift.store_differences(some[0], [INDEX, COLUMN])
    drift.store_differences(some[1], [INDEX])
    page = operator.get("/drifts/").text
    assert "2 of 3 databases were compared" in page
    assert page.index(INDEX[0]) < page.index(COLUMN[0])
    digest = drift.digest_of(INDEX[0])
    here = f"/drifts/{fleet.project_id}-{digest}"
    assert f"/drifts/{fleet.project_id}-{digest[:12]}" in page
    page = operator.get(here).text
    assert "<strong>2 databases</strong>" in page
    assert "DROP INDEX ix_more;" in page
    assert operator.post(f"{here}/ignore", at=here, reason=" ").status_code == 422
    assert operator.post(f"{here}/ignore", at=here, reason="for the report").status_code == 302
    assert INDEX[0] not in operator.get("/drifts/").text
    assert "for the report" in operator.get("/drifts/?ignored=1").text
    assert "for the report" in operator.get(f"/databases/{some[0].id}").text
    operator.post(f"{here}/unignore", at=here)
    assert INDEX[0] in operator.get("/drifts/").text
    viewer = Browser(fleet, Role.VIEWER, "vera")
    assert "Ignore it" not in viewer.get(here).text
    assert viewer.post(f"{here}/ignore", at="/drifts/", reason="x").status_code == 403
    for gone in ("/drifts/1-ffff", "/drifts/99-ffff"):
        assert operator.get(gone).status_code == 404


def test_a_check_that_finds_drift_says_what_it_found(fleet: Fleet, operator: Browser) -> None:
    assert operator.get("/drift/").location.endswith("/drifts/")
    member = fleet.add("acme")
    here = f"/databases/{member.id}"
    answer = operator.post(f"{here}/check")
    assert answer.status_code == 302, answer.text.partition("<main")[2]
    fleet.drain()
    page = operator.get(here).text
    assert "no difference" in page.partition('id="history"')[2]
    assert ">drifted</a>" not in page
    engine = sa.create_engine(f"sqlite:///{fleet.folder}/acme.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX ix_by_hand ON t1 (name)")
    engine.dispose()
    assert operator.post(f"{here}/check").status_code == 302
    fleet.drain()
    page = operator.get(here).text
    assert "1 difference" in page.partition('id="history"')[2]
    assert ">drifted</a>" in page.partition("<dl>")[0]


def test_what_an_error_quotes_is_shown_as_code(fleet: Fleet, operator: Browser) -> None:
    form = {"from": "one", "project": fleet.project_id, "reference": "<b>", "notes": "x"}
    neither = operator.post("/databases/new", **form | {"reference": ""})
    assert "Give either a URL (<code>url</code>)" in neither.text
    assert "<b>" not in operator.post("/databases/new", **form).text


def test_a_page_of_many_stays_small(fleet: Fleet, operator: Browser, tmp_path: Path) -> None:
    rows = (
        {"name": f"customer-{n}", "url": f"sqlite:///{fleet.folder}/customer-{n}.db"}
        for n in range(60)
    )
    databases.register_many(ROOT, fleet.project_id, rows)
    answer = operator.get("/databases/?order=name")
    assert "60 databases" in answer.text
    assert len(answer.data) < 100_000
