"""Who may change what of a project: every operation that changes something, by everybody."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from app.extensions import db
from app.fleet import accounts, databases, drift, projects
from app.fleet.projects import grants
from app.models import Event, Scope
from headway.pytest_plugin import DatabaseTemplate
from tests.api.conftest import assert_problem
from tests.api.test_access import api_rules
from tests.fleet.fleets import ROOT
from tests.fleet.two_projects import PEOPLE, WORD, Side, Two, token_of, two_projects
from tests.web.furnished import rows
from tests.web.walking import forget

VOLATILE = frozenset({"token.last_used_at", "standing.databases"})
ORDER = ("member", "viewer", "operator", "admin")
FLEET = {"/accounts", "/tokens", "/sign-in", "/webhooks"}
"""What is of no project: `tests/api/test_access.py` has it."""


@dataclass
class Operation:
    """What changes something of a project, and the role that it needs there."""

    method: str
    path: str
    needs: str
    body: dict[str, Any] | None = field(default_factory=dict)
    of_fleet: bool = False
    """True if the role has to be one in the fleet."""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {' '.join(self.body or ())}"


OPERATIONS = [
    Operation("POST", "/databases", "operator", {"project_id": "{p}", "url": "{new}"}),
    Operation("POST", "/databases/create", "operator", {"project_id": "{p}", "url": "{new}"}),
    Operation("POST", "/databases/import", "operator", {"project_id": "{p}", "csv": "name,url\n"}),
    Operation("PATCH", "/databases/{d}", "operator", {"notes": "mine"}),
    Operation("DELETE", "/databases/{d}", "operator"),
    Operation(
        "POST", "/databases/{d}/pin", "operator", {"reason": "x", "until": "2099-01-01T00:00:00Z"}
    ),
    Operation("DELETE", "/databases/{d}/pin", "operator"),
    Operation("POST", "/databases/{d}/drop", "admin", {"confirm": "not its name"}),
    Operation("POST", "/databases/{d}/runs", "operator", {"kind": "check"}),
    Operation("POST", "/databases/{d}/open", "operator"),
    Operation("POST", "/rollouts", "operator", {"project_id": "{p}"}),
    Operation(
        *("POST", "/rollouts", "admin"),
        {"project_id": "{p}", "gate": {"check": "sql", "sql": "SELECT 1"}},
    ),
    Operation("POST", "/rollouts/preview", "viewer", {"project_id": "{p}"}),
    *(
        Operation("POST", f"/rollouts/{{r}}/{verb}", "operator")
        for verb in ("start", "rehearse", "pause", "resume", "retry", "undo", "approve", "cancel")
    ),
    Operation("PATCH", "/projects/{p}", "admin", {"notes": "mine"}),
    Operation("PATCH", "/projects/{p}", "admin", {"requires_approval": False}),
    Operation("PATCH", "/projects/{p}", "admin", {"x": {"a": "b"}}, of_fleet=True),
    Operation("PATCH", "/projects/{p}", "admin", {"location": "/elsewhere"}, of_fleet=True),
    Operation("DELETE", "/projects/{p}", "admin", of_fleet=True),
    Operation("POST", "/projects/{p}/refresh", "operator"),
    Operation(
        *("POST", "/drifts/ignored", "operator"),
        {"project_id": "{p}", "digest": "{digest}", "reason": "x"},
    ),
    Operation("DELETE", "/drifts/ignored/{p}/{digest}", "operator"),
    Operation(
        *("POST", "/grants", "admin"), {"project_id": "{p}", "account": "{who}", "role": "viewer"}
    ),
    Operation("DELETE", "/grants/{p}/{who}", "admin"),
    Operation("POST", "/projects", "admin", {"name": "n", "location": "/elsewhere"}, of_fleet=True),
]


@pytest.fixture(scope="module")
def two(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("fleet")
    with template("sqlite").copy() as url, two_projects(url, folder) as found:
        yield found


def ask(two: Two, who: str, operation: Operation, side: Side, token: str = "") -> TestResponse:
    """The operation on this project, as someone."""
    digest = drift.digest_of(f"column {WORD if side is two.b else 'plain'}")
    values = {
        "p": side.id,
        "d": side.members[2].id,
        "r": side.rollouts["pending"].id,
        "digest": digest,
        "who": two.ids["somebody"],
        "new": f"sqlite:///{side.fleet.folder}/new.db",
    }
    forget()
    return two.a.fleet.app.test_client().open(
        "/api/v1" + operation.path.format(**values),
        method=operation.method,
        headers={"Authorization": f"Bearer {token or two.tokens[who]}", "If-Match": "*"},
        json=_filled(operation.body, values) if operation.method in ("POST", "PATCH") else None,
    )


def _filled(body: Any, values: dict[str, Any]) -> Any:
    if isinstance(body, dict):
        return {name: _filled(value, values) for name, value in body.items()}
    if body == "{p}":
        return values["p"]
    return body.format(**values) if isinstance(body, str) and body.startswith("{") else body


def role_in(two: Two, who: str, side: Side) -> str:
    """The role of a person in a project, by the table of people alone."""
    fleet, in_a, in_b = PEOPLE[who]
    granted = in_a if side is two.a else in_b
    return max(fleet, granted or "member", key=ORDER.index)


def may(two: Two, who: str, operation: Operation, side: Side) -> bool:
    role = PEOPLE[who][0] if operation.of_fleet else role_in(two, who, side)
    return ORDER.index(role) >= ORDER.index(operation.needs)


def test_the_table_of_rights_has_every_operation_that_changes_something(two: Two) -> None:
    def kind(method: str, path: str) -> tuple[str, str]:
        return method, re.sub(r"\{\w+\}|/1\b|<\w+:?\w*>", "/1", path).replace("//", "/")

    there = {
        kind(method, path.removeprefix("/api/v1"))
        for method, path in api_rules(two.a.fleet.app)
        if method != "GET"
    }
    known = {kind(one.method, one.path) for one in OPERATIONS}
    rest = {
        (method, path)
        for method, path in there - known
        if not any(path.startswith(prefix) for prefix in FLEET)
    }
    assert rest - {("DELETE", "/drifts/ignored/1/1"), ("PATCH", "/databases")} == set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_rights_of_those_who_may_not_change_nothing(two: Two, operation: Operation) -> None:
    forget()
    before = dict(rows(VOLATILE))
    for who in PEOPLE:
        for side in (two.a, two.b):
            if may(two, who, operation, side):
                continue
            answer = ask(two, who, operation, side)
            sees = role_in(two, who, side) != "member"
            role = "role-insufficient"
            if answer.status_code == 404:
                assert not sees, (who, answer.text)
                assert WORD not in answer.text
            else:
                assert_problem(answer, 403, role)
                anywhere = "{p}" not in f"{operation.path}{operation.body}"
                anywhere |= ORDER.index(max(PEOPLE[who][0], *_grants(who), key=ORDER.index)) < (
                    ORDER.index(operation.needs)
                )
                assert sees or anywhere or operation.of_fleet, (who, answer.text)
    forget()
    after = dict(rows(VOLATILE))
    assert [name for name in before if before[name] != after[name]] == []


def _grants(who: str) -> list[str]:
    return [role or "member" for role in PEOPLE[who][1:]]


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_rights_of_those_who_may_are_there(two: Two, operation: Operation) -> None:
    """Whatever else is in the way: last, for what they do is done."""
    for who in ("viewer-a", "operator-a", "admin-a", "viewer+a", "operator", "admin"):
        if may(two, who, operation, two.a) and operation.method != "DELETE":
            answer = ask(two, who, operation, two.a)
            assert answer.status_code in (200, 201, 202, 409, 422), (who, answer.text)
            assert answer.status_code != 403
            if answer.status_code == 422:
                assert "role" not in answer.get_json()["detail"]
    if operation.of_fleet:
        forget()
        two.a.fleet.load()  # other arguments: its scripts wait to be read


def test_a_scope_caps_what_a_grant_gives(two: Two) -> None:
    for name, scope, least in (
        ("admin-a", Scope.READ, "viewer"),
        ("admin-a", Scope.OPERATE, "operator"),
    ):
        forget()
        token = token_of(two.ids[name], scope)
        for operation in OPERATIONS:
            if ORDER.index(operation.needs) > ORDER.index(least):
                answer = ask(two, name, operation, two.a, token)
                assert_problem(answer, 403, "role-insufficient")
        wall = Operation("PATCH", "/projects/{p}", "admin", {"notes": "x"})
        assert ask(two, name, wall, two.b, token).status_code in (403, 404)


def change_many(two: Two, who: str, selector: dict[str, Any]) -> TestResponse:
    forget()
    return two.a.fleet.app.test_client().patch(
        "/api/v1/databases",
        headers={"Authorization": f"Bearer {two.tokens[who]}"},
        json={"selector": selector, "labels": {"touched": who}},
    )


def touched() -> list[int]:
    forget()
    found = db.session.execute(sa.text("SELECT database_id FROM label WHERE name = 'touched'"))
    return sorted(found.scalars())


def test_rights_to_change_many_hold_for_every_project_that_a_selector_reaches(two: Two) -> None:
    answer = change_many(two, "viewer+a", {})
    body = assert_problem(answer, 403, "role-insufficient")
    assert f"{WORD}-shop" in str(body["detail"])
    assert "Nothing was changed" in str(body["detail"])
    assert touched() == []
    assert_problem(change_many(two, "viewer-a", {}), 403)
    answer = change_many(two, "operator-a", {"ids": [two.b.members[0].id]})
    assert answer.get_json() == {"databases": 0}
    answer = change_many(two, "operator-a", {"project_id": two.b.id})
    assert answer.get_json() == {"databases": 0}
    assert touched() == []
    answer = change_many(two, "operator-a", {"labels": {"tier": ""}})
    forget()
    mine = databases.count_databases(ROOT, databases_of(two.a))
    assert answer.get_json() == {"databases": mine}
    assert len(touched()) == mine


def databases_of(side: Side) -> Any:
    from app.fleet.core.selectors import Selector

    return Selector(project_id=side.id, labels={"tier": ""})


def test_rights_that_are_given_and_taken_are_in_the_trail_and_hold_at_once(two: Two) -> None:
    app = two.a.fleet.app
    forget()
    asked = {"name": "newcomer", "email": "new@example.org", "role": "member"}
    account, _ = accounts.create_account(ROOT, asked)
    newcomer = account.id
    two.tokens["newcomer"] = token_of(newcomer)

    def send(method: str, path: str, who: str = "admin-a", **more: Any) -> TestResponse:
        forget()
        headers = {"Authorization": f"Bearer {two.tokens[who]}"}
        return app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **more)

    grant = {"project_id": two.a.id, "account": "New@Example.org", "role": "operator"}
    assert send("GET", f"/projects/{two.a.id}", "newcomer").status_code == 404
    given = send("POST", "/grants", json=grant)
    assert given.status_code == 200, given.text
    assert given.get_json() | {"created_at": ""} == {
        "account": "newcomer",
        "account_id": newcomer,
        "project": "shop",
        "project_id": two.a.id,
        "role": "operator",
        "created_at": "",
    }
    assert send("GET", f"/projects/{two.a.id}", "newcomer").status_code == 200
    assert send("POST", f"/projects/{two.a.id}/refresh", "newcomer", json={}).status_code == 202
    mine = send("GET", f"/grants?account_id={newcomer}", "newcomer").get_json()
    assert [(one["project"], one["role"]) for one in mine["items"]] == [("shop", "operator")]
    again = send("POST", "/grants", json=grant | {"role": "viewer"})
    assert again.get_json()["role"] == "viewer"
    refused = send("POST", f"/projects/{two.a.id}/refresh", "newcomer", json={})
    assert_problem(refused, 403, "role-insufficient")
    path = f"/grants/{two.a.id}/{newcomer}"
    assert send("DELETE", path).status_code == 204
    assert_problem(send("DELETE", path), 404, "grant-not-found")
    assert send("GET", f"/projects/{two.a.id}", "newcomer").status_code == 404
    assert_problem(send("POST", "/grants", json=grant | {"account": "9999"}), 422, "input-invalid")
    assert_problem(send("POST", "/grants", json=grant | {"role": "member"}), 422)
    forget()
    told = db.session.scalars(
        sa.select(Event)
        .where(Event.action.like("project.grant_%"))
        .order_by(Event.id.desc())
        .limit(3)
    )
    assert [(one.action, one.detail["role"]) for one in told] == [
        ("project.grant_taken", ["viewer", None]),
        ("project.grant_given", ["operator", "viewer"]),
        ("project.grant_given", [None, "operator"]),
    ]


def test_a_grant_goes_with_its_account_and_with_its_project(two: Two) -> None:
    forget()
    made, _ = accounts.create_account(ROOT, {"name": "short", "role": "member"})
    scripts = two.a.fleet.scripts
    project, _ = projects.create_project(ROOT, {"name": "short", "location": str(scripts)})
    grants.give_grant(ROOT, project.id, made.id, "viewer")
    projects.delete_project(ROOT, project.id, version=None)
    assert grants.list_grants(ROOT, limit=9, account_id=made.id) == ([], None)
    grants.give_grant(ROOT, two.a.id, made.id, "admin")
    accounts.delete_account(ROOT, made.id, version=None)
    found, _ = grants.list_grants(ROOT, limit=99, project_id=two.a.id)
    assert made.id not in [one.account_id for one in found]


def test_texts_of_errors_are_for_operators_of_the_project(two: Two) -> None:
    texts = {}
    for who in ("viewer-a", "viewer", "operator-a", "viewer+a", "operator"):
        forget()
        answer = two.a.fleet.app.test_client().get(
            f"/api/v1/runs?state=failed&rollout_id={two.a.rollouts['halted'].id}",
            headers={"Authorization": f"Bearer {two.tokens[who]}"},
        )
        (run,) = answer.get_json()["items"]
        texts[who] = "already exists" in run["error"]
    assert texts == {
        "viewer-a": False,
        "viewer": False,
        "operator-a": True,
        "viewer+a": True,
        "operator": True,
    }


def test_rights_cost_no_query_of_their_own(two: Two) -> None:
    """A request of a viewer and of an operator of single projects reads the account once."""
    counts = {}
    for who in ("viewer", "viewer+a", "operator", "admin"):
        seen: list[str] = []

        def count(
            _c: object, _d: object, statement: str, *_: object, into: list[str] = seen
        ) -> None:
            into.append(statement)

        sa.event.listen(db.engine, "before_cursor_execute", count)
        try:
            ask(two, who, Operation("GET", "/projects/{p}", "viewer"), two.a)  # notes the use
            seen.clear()
            ask(two, who, Operation("GET", "/projects/{p}", "viewer"), two.a)
        finally:
            sa.event.remove(db.engine, "before_cursor_execute", count)
        queries = [one for one in seen if one.startswith("SELECT")]
        counts[who] = len(queries)
        assert sum("project_grant" in one for one in queries) == 1
        assert all("project.id IN" not in one for one in queries)
    assert set(counts.values()) == {2}
