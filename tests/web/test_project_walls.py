"""What a member of one project is told of another: nothing, on no page and by no operation."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.fleet import databases, drift, projects, runs
from app.http import event_stream
from app.models import State
from headway.pytest_plugin import DatabaseTemplate
from tests.fleet.fleets import ROOT
from tests.fleet.two_projects import WORD, Side, Two, two_projects
from tests.web import walking
from tests.web.furnished import rows
from tests.web.walking import Visitor, forget

MEMBERS = ("viewer-a", "admin-a")
CONVERTED = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>|\{(\w+)\}")
NOT_THEIRS = re.compile(r"/(accounts|webhooks|events|workers|service|audit|tokens)\b")
"""Of the fleet and not of a project: refused as a whole, or one's own."""


@pytest.fixture(scope="module")
def two(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("fleet")
    once = pytest.MonkeyPatch()
    with template("sqlite").copy() as url, two_projects(url, folder) as found, once.context() as m:
        m.setattr(event_stream, "SECONDS", 0.01)  # one look each
        m.setattr(event_stream, "POLL_SECONDS", 0.01)
        for side in (found.a, found.b):
            side.parameters = parameters(side)
        yield found


def parameters(side: Side) -> dict[str, list[Any]]:
    """What is of this project, by the name of the parameter that would take it."""
    rollouts = [one.id for one in side.rollouts.values()]
    digests = [one.digest for one in drift.list_differences(ROOT, limit=9, project_id=side.id)[0]]
    found = [run for one in rollouts for run in runs.list_runs(ROOT, limit=99, rollout_id=one)[0]]
    failed = [run.id for run in found if run.state == State.FAILED]
    return {
        "project_id": [side.id],
        "project": [side.id, side.fleet.app.name, f"{WORD}-shop"],
        "in_project": [side.id],
        "database_id": [one.id for one in side.members],
        "database": [one.id for one in side.members],
        "rollout_id": rollouts,
        "like": rollouts,
        "run_id": [*failed, found[0].id],
        "revision": ["r001", "r003"],
        "digest": [digests[0], digests[0][:12]],
        "search": [WORD, WORD[:5]],
        "name": [WORD],
        "label": [f"tier={WORD}"],
        "owner": [one.owner_id for one in side.members[:1]],
        "owner_id": [one.owner_id for one in side.members[:1]],
        "by": ["owner", "label.tier"],
        "state": ["failed", "succeeded"],
        "stage": ["waiting", "halted"],
        "current": ["r001", "r002"],
        "position": ["behind"],
        "drifted": ["1", "true"],
        "ignored": ["1", "true"],
        "pinned": ["1", "true"],
        "replaced": ["1", "true"],
        "part": ["live"],
        "all": ["1"],
        "verb": ["upgrade", "restore", "retire", "drop", "undo", "approve", "cancel", "start"],
        "kind": ["upgrade"],
        "account_id": [one.owner_id for one in side.members[:1]],
        "token_id": [1],
        "webhook_id": [1],
        "slug": ["project-not-found"],
    }


def filled(path: str, values: dict[str, list[Any]]) -> list[str]:
    """A path with each of the values that fit its first place, and the first of the others."""
    names = [one or other for one, other in CONVERTED.findall(path)]
    if not names:
        return [path]
    found = [path]
    for name in names:
        fits = values[name]
        found = [CONVERTED.sub(str(value), one, count=1) for one in found for value in fits]
    return found


def gets(two: Two) -> list[tuple[str, list[str]]]:
    """Every operation that reads, of the API's description, and its parameters."""
    described = Visitor(two.a.fleet.app).get("/api/v1/openapi.json").get_json()
    return [
        (path, [one["name"] for one in whole["get"].get("parameters", ()) if one["in"] == "query"])
        for path, whole in described["paths"].items()
        if "get" in whole and path.startswith("/api/v1")
    ]


def pages(two: Two) -> list[str]:
    """Every page's rule."""
    return [
        rule.rule.replace("<any(upgrade,downgrade,stamp,check,snapshot,restore):verb>", "<verb>")
        for rule in two.a.fleet.app.url_map.iter_rules()
        if rule.endpoint.startswith("web.")
        and rule.endpoint not in walking.NOT_PAGES
        and "GET" in (rule.methods or ())
        and "oidc" not in rule.endpoint
    ]


def api(two: Two, who: str, path: str, method: str = "GET", **more: Any) -> TestResponse:
    forget()
    headers = {"Authorization": f"Bearer {two.tokens[who]}", "If-Match": "*"}
    return two.a.fleet.app.test_client().open(path, method=method, headers=headers, **more)


def asked(two: Two) -> Iterator[str]:
    """Every way to ask the API, for all there is and for what is of either project."""
    for path, queries in gets(two):
        for side in (two.a, two.b):
            values = side.parameters
            for one in filled(path, values):
                yield one
                for name in queries:
                    for value in values.get(name, ()):
                        yield f"{one}?{name}={value}"


@pytest.mark.parametrize("who", ["stranger", *MEMBERS])
def test_no_operation_that_reads_tells_a_member_of_another_project(two: Two, who: str) -> None:
    told = []
    for path in asked(two):
        answer = api(two, who, path)
        assert answer.status_code < 500, (path, answer.text)
        echoed = answer.status_code == 404 or WORD in path
        if WORD in answer.text and not (echoed and WORD not in _but_the_request(answer, path)):
            told.append((path, answer.text))
    assert told == []


def _but_the_request(answer: TestResponse, path: str) -> str:
    """The answer without what repeats the request."""
    text = answer.text
    for part in re.split(r"[/?&=,]", path):
        if WORD in part:
            text = text.replace(part, "")
    return text


def test_whoever_sees_the_fleet_is_told_by_nearly_all_of_them(two: Two) -> None:
    """Or the walk above would prove nothing."""
    silent = set()
    for path, queries in gets(two):
        if NOT_THEIRS.search(path) or path.endswith(("/me", "openapi.json")):
            continue
        ids = [f"?project_id={two.b.id}"] if "project_id" in queries else []
        ways = [one + more for one in filled(path, two.b.parameters) for more in ("", *ids)]
        found = [api(two, "viewer", one) for one in ways]
        if not any(WORD in answer.text for answer in found):
            silent.add(path)
    assert (
        silent
        == {
            "/api/v1/rollouts/{rollout_id}/preview",  # revisions and numbers
            "/api/v1/rollouts/{rollout_id}/undo/preview",
            "/api/v1/databases/{database_id}/plan",
            "/api/v1/projects/find",  # of a name, which is not given here
            "/api/v1/databases/find",
            "/api/v1/projects/{project_id}/revisions/{revision}",
        }
        & silent
    )


@pytest.mark.parametrize("who", ["stranger", *MEMBERS])
def test_what_is_of_another_project_is_not_there(two: Two, who: str) -> None:
    for path, _ in gets(two):
        if "{" not in path or NOT_THEIRS.search(path):
            continue
        for one in filled(path, two.b.parameters):
            assert api(two, who, one).status_code == 404, one
    for name in ("project_id",):
        for path, queries in gets(two):
            if name in queries:
                answer = api(two, who, f"{path}?{name}={two.b.id}")
                empty = answer.status_code == 404 or not answer.get_json().get("items")
                assert empty, (path, answer.text)


@pytest.mark.parametrize("who", ["stranger", *MEMBERS])
def test_nor_is_it_found_by_a_name(two: Two, who: str) -> None:
    ids = two.b.parameters
    for path, name in (
        ("projects", f"{WORD}-shop"),
        ("projects", ids["project_id"][0]),
        ("databases", ids["database_id"][0]),
    ):
        way = f"/api/v1/{path}/find?name={name}"
        assert api(two, "viewer", way).status_code == 200
        assert api(two, who, way).status_code == 404


def test_a_member_has_its_own_project_as_a_viewer_of_the_fleet_has_it(two: Two) -> None:
    """The filter takes nothing away of what is theirs."""
    for path, _ in gets(two):
        if NOT_THEIRS.search(path) or "{" not in path:
            continue
        for one in filled(path, two.a.parameters):
            mine, theirs = api(two, "viewer-a", one), api(two, "viewer", one)
            assert mine.status_code == theirs.status_code, one
            assert mine.get_json(silent=True) == theirs.get_json(silent=True), one
    found = api(two, "viewer-a", "/api/v1/overview").get_json()
    assert [one["name"] for one in found["projects"]] == ["shop"]
    assert found["databases"] == len(two.a.members)
    listed = api(two, "viewer-a", "/api/v1/databases").get_json()["items"]
    assert [one["id"] for one in listed] == [one.id for one in two.a.members]


def test_exports_have_the_runs_of_ones_projects(two: Two) -> None:
    mine = [run.database_id for run in _all_runs(two.a)]
    lines = api(two, "viewer-a", "/api/v1/runs.jsonl").text.splitlines()
    assert [json.loads(line)["database_id"] for line in lines] == mine
    assert api(two, "stranger", "/api/v1/runs.jsonl").text == ""
    rows = api(two, "viewer-a", "/api/v1/runs.csv").text.splitlines()
    assert len(rows) == len(mine) + 1


def _all_runs(side: Side) -> list[Any]:
    forget()
    found = [run for one in side.rollouts.values() for run in side.fleet.runs_of(one)]
    return sorted(found, key=lambda run: run.id)


@pytest.mark.parametrize("who", ["stranger", "admin-a"])
def test_no_page_tells_a_member_of_another_project(two: Two, who: str) -> None:
    visitor = Visitor(two.a.fleet.app, two.tokens[who])
    for path, text in walking.walk(visitor, of_a_kind=3).items():
        assert WORD not in text, path
    values, told, there = two.b.parameters, [], []
    for rule in pages(two):
        for path in filled(rule, values):
            answer = visitor.get(path)
            assert answer.status_code < 500, path
            if WORD in answer.text:
                told.append(path)
            fine = (403, 404, 422) if "verb" in rule else (403, 404)  # 422: no such verb
            if answer.status_code not in fine and _is_a_thing(rule):
                there.append((path, answer.status_code))
            for name in ("project", "search", "database", "like", "owner", "label", "part"):
                for value in values[name] if "<" not in rule else ():
                    answer = visitor.get(f"{path}?{name}={value}")
                    assert answer.status_code < 500, (path, name, value)
                    if WORD in _but_the_request(answer, f"{path}?{name}={value}"):
                        told.append(f"{path}?{name}={value}")
    assert told == []
    assert there == []


def _is_a_thing(rule: str) -> bool:
    """True for a page of something that is of a project, and is not refused for its verb alone."""
    return bool(re.search(r"<int:(project|database|rollout|run)_id>|in_project", rule))


def test_the_pages_tell_whoever_sees_the_fleet(two: Two) -> None:
    visitor = Visitor(two.a.fleet.app, two.tokens["viewer"])
    found = walking.walk(visitor, of_a_kind=3)
    telling = {walking.endpoint_of(two.a.fleet.app, path) for path in found if WORD in found[path]}
    assert len(telling) > 10
    for rule in pages(two):
        if _is_a_thing(rule) and "verb" not in rule and "events" not in rule:
            answers = [visitor.get(path) for path in filled(rule, two.b.parameters)]
            seen = any(WORD in answer.text for answer in answers)
            assert seen or {answer.status_code for answer in answers} <= {403}, rule


@pytest.mark.parametrize("who", ["stranger", "admin-a", "viewer+a"])
def test_the_forms_of_another_project_are_sent_in_vain(two: Two, who: str) -> None:
    app = two.a.fleet.app
    admin = walking.walk(Visitor(app, two.tokens["admin"]), of_a_kind=100)
    found = [form for path, text in admin.items() for form in walking.forms(path, text)]
    theirs = {form.action: form for form in found if _is_of_b(two, form)}
    kinds = {walking.kind_of(app, action, "POST") for action in theirs}
    assert len(kinds) > 15
    visitor = Visitor(app, two.tokens[who])
    token = visitor.forgery()
    before = dict(rows(frozenset({"token.last_used_at"})))
    for action, form in theirs.items():
        answer = visitor.send(action, form.data(token, but=("back",)))
        expected = 404 if who != "viewer+a" else 403
        assert answer.status_code in (403, expected), (action, answer.status_code)
        assert who == "viewer+a" or WORD not in answer.text, action
    after = dict(rows(frozenset({"token.last_used_at"})))
    assert [name for name in before if before[name] != after[name]] == []


def _is_of_b(two: Two, form: walking.Form) -> bool:
    ids = {
        "projects": [two.b.id],
        "drifts": [two.b.id],
        "databases": [one.id for one in two.b.members],
        "rollouts": [one.id for one in two.b.rollouts.values()],
    }
    found = re.match(r"/(\w+)/(\d+)", form.action)
    return bool(found and int(found[2]) in ids.get(found[1], ()))


def test_a_member_is_shown_no_button_that_is_refused(two: Two) -> None:
    """Of a project in which it may only read, and of one that an account of the fleet runs."""
    for who in ("viewer-a", "viewer+a"):
        visitor = Visitor(two.a.fleet.app, two.tokens[who])
        for path, text in walking.walk(visitor, of_a_kind=3).items():
            for form in walking.forms(path, text):
                if form.action.startswith(("/sign-out", "/tokens")):
                    continue
                assert who == "viewer+a", form
                assert not _is_of_b(two, form), form


def test_an_admin_of_a_project_gives_roles_and_changes_it_on_its_page(two: Two) -> None:
    app, page = two.a.fleet.app, f"/projects/{two.a.id}"
    boss, somebody = Visitor(app, two.tokens["admin-a"]), two.ids["somebody"]
    given = {"account": str(somebody), "role": "viewer", walking.FORGERY: boss.forgery(page)}
    assert boss.send(f"{page}/grants", given).status_code == 302
    assert "somebody has the role viewer in shop." in boss.get(page).text
    root = Visitor(app, two.tokens["admin"])
    assert f'viewer of <a href="{page}">shop</a>' in root.get(f"/accounts/{somebody}").text
    wrong = boss.send(f"{page}/grants", given | {"account": "nobody", "back": page})
    assert wrong.location == page
    assert "There is no account nobody." in boss.get(page).text
    taking = f"{page}/grants/{somebody}/take"
    assert taking in boss.get(page).text
    assert boss.send(taking, {walking.FORGERY: given[walking.FORGERY]}).status_code == 302
    assert taking not in boss.get(page).text
    found = walking.forms(f"{page}/change", boss.get(f"{page}/change").text)
    (form,) = [one for one in found if "sign-out" not in one.action]
    assert not {"location", "ini", "x"} & {name for name, _ in form.fields}
    sent = form.data(boss.forgery(page)) | {"requires_approval": "1", "notes": "mine"}
    slipped_in = sent | {"location": "/elsewhere", "x": "a=b"}
    assert boss.send(f"{page}/change", slipped_in).status_code == 302
    forget()
    project = projects.get_project(ROOT, two.a.id)
    assert (project.requires_approval, project.notes, project.x) == (True, "mine", {})
    assert "only after another account has approved" in boss.get(page).text
    forget()
    values = {"requires_approval": False, "notes": "plain notes"}
    projects.change_project(ROOT, two.a.id, values, version=None)


def test_what_waits_before_it_begins_is_approved_on_its_page(two: Two) -> None:
    app = two.b.fleet.app
    forget()
    projects.change_project(ROOT, two.b.id, {"requires_approval": True}, version=None)
    asks, other = (Visitor(app, two.tokens[who]) for who in ("admin-b", "operator-b"))
    member = two.b.members[1].id
    act = f"/databases/{member}/stamp"
    forms = list(walking.forms(act, asks.get(f"{act}?target=r001").text))
    answer = asks.send(
        act, forms[-1].data(asks.forgery()) | {"target": "r003", "planned": "r003", "shown": "r003"}
    )
    assert answer.status_code == 302, answer.text
    page = answer.location
    assert "started." not in asks.get(page).text  # what was said once
    assert "approve before it begins" in asks.get(page).text
    assert "asked for this. Sign in as another operator to approve it." in asks.get(page).text
    assert "asked for this, so another account" in asks.get(f"{page}/approve").text
    text = other.get(f"{page}/approve").text
    assert "With your approval it begins: 1 database waits." in text
    (form,) = [one for one in walking.forms(page, text) if "sign-out" not in one.action]
    assert other.send(f"{page}/approve", form.data(other.forgery())).status_code == 302
    assert "Beginning approved" in asks.get(page).text
    forget()
    two.b.fleet.drain()
    assert two.b.fleet.at(two.b.members[1]) == "r003"
    projects.change_project(ROOT, two.b.id, {"requires_approval": False}, version=None)


def test_a_followed_rollout_ends_for_whom_the_grant_was_taken(two: Two) -> None:
    path = f"/api/v1/rollouts/{two.b.rollouts['halted'].id}/events"
    assert api(two, "operator-b", path).status_code == 200
    assert api(two, "operator-a", path).status_code == 404
    visitor = Visitor(two.a.fleet.app, two.tokens["operator-a"])
    assert visitor.get(f"/rollouts/{two.b.rollouts['halted'].id}/events").status_code == 404


def test_a_database_of_another_project_is_no_more_than_taken(two: Two) -> None:
    other = two.b.members[0]
    url = other.address
    asked = {"project_id": two.a.id, "name": "mine", "url": url}
    answer = api(two, "operator-a", "/api/v1/databases", "POST", json=asked)
    assert answer.status_code == 409
    assert other.name not in answer.text
    many = {"project_id": two.a.id, "csv": f"name,url\nmine,{url}\n"}
    answer = api(two, "operator-a", "/api/v1/databases/import", "POST", json=many)
    refused = [{"line": 2, "why": "It is registered in another project."}]
    assert answer.get_json() == {"added": 0, "known": 0, "refused": refused}
    answer = api(two, "viewer+a", "/api/v1/databases/import", "POST", json=many)
    assert f"registered in project {two.b.id}" in answer.get_json()["refused"][0]["why"]
    move = {"url": url}
    path = f"/api/v1/databases/{two.a.members[1].id}"
    answer = api(two, "operator-a", path, "PATCH", json=move)
    assert answer.status_code == 409
    assert other.name not in answer.text
    forget()
    assert databases.get_database(ROOT, other.id).project_id == two.b.id


def test_a_query_of_tables_is_refused_and_not_left_open(two: Two) -> None:
    import sqlalchemy as sa

    from app.extensions import db
    from app.models import Project

    api(two, "operator-a", "/api/v1/me")  # the test's context is that of the request
    with pytest.raises(TypeError, match="narrowed"):
        db.session.execute(sa.select(Project.__table__))
    forget()
    assert len(db.session.execute(sa.select(Project.__table__)).all()) == 2
