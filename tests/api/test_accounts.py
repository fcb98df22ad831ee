"""`/api/v1/accounts`."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.engine import URL

from app import create_app
from app.errors import AccountChanged, EmailTaken, LastAdmin, TokenRefused
from app.extensions import db
from app.fleet import accounts as fleet
from app.fleet.accounts import tokens
from tests.api.conftest import ROOT, Call, assert_problem
from tests.conftest import settings_for


def test_create_shows_what_was_made(call: Call) -> None:
    body = {"name": "Zoë", "email": " Zoe@Example.org".strip(), "birthdate": "1990-02-28"}
    response = call("operator", "POST", "/accounts", json=body)
    made = response.get_json()
    assert response.status_code == 201
    assert made["email"] == "zoe@example.org"
    assert made["role"] == "viewer"
    assert made["ip_source"] == "127.0.0.1"
    assert response.headers["Location"] == f"/api/v1/accounts/{made['id']}"
    assert response.headers["ETag"] == f'"{made["id"]}-1"'
    assert call("viewer", "GET", f"/accounts/{made['id']}").get_json() == made


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 129},
        {"name": "a\x00b"},
        {"name": 7},
        {"name": "x", "unknown": 1},
        {"name": "x", "email": "no address"},
        {"name": "x", "email": "a" * 120 + "@example.org"},
        {"name": "x", "birthdate": "1990-02-30"},
        {"name": "x", "role": "king"},
        {"name": "x", "description": "x" * 201},
        [],
        "x",
    ],
)
def test_what_cannot_be_used_is_refused_with_pointers(call: Call, body: object) -> None:
    problem = assert_problem(call("operator", "POST", "/accounts", json=body), 422, "input-invalid")
    assert problem["errors"]


def test_a_body_that_is_no_json_is_refused(call: Call) -> None:
    response = call("operator", "POST", "/accounts", data="{", content_type="application/json")
    assert_problem(response, 400)


def test_a_body_of_another_type_is_refused(call: Call) -> None:
    response = call("operator", "POST", "/accounts", data="name=x", content_type="text/plain")
    assert_problem(response, 415)


def test_a_body_too_large_is_refused(call: Call) -> None:
    response = call("operator", "POST", "/accounts", json={"name": "x" * 2**21})
    assert_problem(response, 413)


def test_an_address_belongs_to_one_account(call: Call) -> None:
    call("operator", "POST", "/accounts", json={"name": "a", "email": "a@example.org"})
    again = call("operator", "POST", "/accounts", json={"name": "b", "email": "A@Example.org"})
    assert_problem(again, 409, "email-taken")


@pytest.mark.parametrize("path", ["/accounts/999999", "/accounts/99999999999999999999"])
def test_what_is_not_there_is_not_found(call: Call, path: str) -> None:
    assert_problem(call("viewer", "GET", path), 404, "account-not-found")


# --- conditional requests -------------------------------------------------------------------------


def make(call: Call, **values: str) -> tuple[str, str]:
    response = call("admin", "POST", "/accounts", json={"name": "x", **values})
    return f"/accounts/{response.get_json()['id']}", response.headers["ETag"]


def test_a_change_needs_what_was_read(call: Call) -> None:
    path, tag = make(call)
    assert_problem(call("operator", "PATCH", path, json={"name": "y"}), 428)
    changed = call("operator", "PATCH", path, json={"name": "y"}, headers={"If-Match": tag})
    assert changed.get_json()["name"] == "y"
    assert changed.get_json()["version"] == 2
    late = call("operator", "PATCH", path, json={"name": "z"}, headers={"If-Match": tag})
    assert_problem(late, 412, "account-changed")
    assert call("viewer", "GET", path).get_json()["name"] == "y"


@pytest.mark.parametrize("tag", ['"x"', '"1-999"', 'W/"1-1"', '"a", "b"'])
def test_a_tag_of_something_else_is_stale(call: Call, tag: str) -> None:
    path, _ = make(call)
    response = call("operator", "PATCH", path, json={"name": "y"}, headers={"If-Match": tag})
    assert_problem(response, 412, "account-changed")


@pytest.mark.parametrize("tag", ["x", "", "{}", '"x'])
def test_what_is_no_tag_is_said_to_be_none(call: Call, tag: str) -> None:
    path, _ = make(call)
    response = call("operator", "PATCH", path, json={"name": "y"}, headers={"If-Match": tag})
    assert_problem(response, 422, "input-invalid")


def test_who_has_it_already_is_told_so(call: Call) -> None:
    path, tag = make(call)
    response = call("viewer", "GET", path, headers={"If-None-Match": tag})
    assert response.status_code == 304


def test_fields_that_are_not_named_stay_and_null_clears(call: Call) -> None:
    path, _ = make(call, description="d", location="l")
    more = {"headers": {"If-Match": "*"}}
    changed = call("operator", "PATCH", path, json={"location": None}, **more).get_json()
    assert (changed["description"], changed["location"]) == ("d", None)
    assert_problem(call("operator", "PATCH", path, json={"name": None}, **more), 422)


def test_delete_needs_what_was_read_and_is_done_once(call: Call) -> None:
    path, tag = make(call)
    assert_problem(call("admin", "DELETE", path), 428)
    assert call("admin", "DELETE", path, headers={"If-Match": tag}).status_code == 204
    assert_problem(call("admin", "DELETE", path, headers={"If-Match": tag}), 404)


def test_the_last_admin_stays(app: Flask) -> None:
    with app.app_context():
        (admin,), _ = fleet.list_accounts(ROOT, limit=2, role="admin")
        with pytest.raises(LastAdmin):
            fleet.delete_account(ROOT, admin.id, version=None)
        with pytest.raises(LastAdmin):
            fleet.change_account(ROOT, admin.id, {"role": "viewer"}, version=None)


# --- lists ----------------------------------------------------------------------------------------


def test_pages_show_everybody_once_while_others_come_and_go(call: Call) -> None:
    before = {a["id"] for a in call("viewer", "GET", "/accounts?limit=200").get_json()["items"]}
    for n in range(7):
        make(call, description=str(n))
    seen: list[int] = []
    path = "/accounts?limit=3"
    while path:
        response = call("viewer", "GET", path)
        seen += [account["id"] for account in response.get_json()["items"]]
        make(call)  # comes after the last page
        if len(seen) > 40:
            break
        following = response.get_json()["next"]
        if following:
            assert response.headers["Link"].endswith('rel="next"')
        path = (
            f"/accounts?limit=3&after={following}"
            if following is not None and len(seen) < 13
            else ""
        )
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


@pytest.mark.parametrize("after", ["x", "%00", "-1", "99999999999999999999"])
def test_a_cursor_that_was_not_handed_out_is_refused(call: Call, after: str) -> None:
    assert_problem(call("viewer", "GET", f"/accounts?after={after}"), 422, "input-invalid")


def test_lists_can_be_filtered(call: Call) -> None:
    make(call, email="ada@example.org")
    call("admin", "POST", "/accounts", json={"name": "100% Ada_Lovelace"})

    def names(query: str) -> list[str]:
        return [a["name"] for a in call("viewer", "GET", f"/accounts?{query}").get_json()["items"]]

    assert names("email=ADA@example.org") == ["x"]
    assert names("name=ada_") == ["100% Ada_Lovelace"]
    assert names("name=%25") == ["100% Ada_Lovelace"]
    assert names("role=operator") == ["operator"]
    assert_problem(call("viewer", "GET", "/accounts?role=king"), 422, "input-invalid")
    assert_problem(call("viewer", "GET", "/accounts?limit=0"), 422, "input-invalid")
    assert_problem(call("viewer", "GET", "/accounts?what=1"), 422, "input-invalid")


# --- sent twice -----------------------------------------------------------------------------------


def test_the_same_post_with_the_same_key_is_done_once(call: Call) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = call("operator", "POST", "/accounts", json={"name": "once"}, headers=headers)
    second = call("operator", "POST", "/accounts", json={"name": "once"}, headers=headers)
    assert first.get_json() == second.get_json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    other = call("operator", "POST", "/accounts", json={"name": "twice"}, headers=headers)
    assert_problem(other, 409, "idempotency-key-reused")
    theirs = call("admin", "POST", "/accounts", json={"name": "twice"}, headers=headers)
    assert theirs.status_code == 201, "keys are each account's own"


def test_a_token_asked_for_twice_is_not_shown_twice(call: Call) -> None:
    headers = {"Idempotency-Key": "k-2"}
    first = call("viewer", "POST", "/tokens", json={"name": "t"}, headers=headers).get_json()
    second = call("viewer", "POST", "/tokens", json={"name": "t"}, headers=headers).get_json()
    assert first["token"]
    assert second == first | {"token": None}


# --- where from -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "expected"), [(0, ("127.0.0.1", None)), (1, ("2001:db8::7", "CH"))]
)
def test_only_trusted_proxies_say_where_a_request_comes_from(
    template_copy: URL, proxies: int, expected: tuple[str, str | None]
) -> None:
    app = create_app(settings_for(template_copy, trusted_proxies=proxies))
    with app.app_context():
        admin, _ = fleet.create_account(ROOT, {"name": "p", "role": "operator"})
        issued, _ = tokens.issue_token(ROOT, account_id=admin.id, name="p", expires_days=1)
    headers = {
        "Authorization": f"Bearer {issued.text}",
        "X-Forwarded-For": "6.6.6.6, 2001:db8::7",
        "CF-IPCountry": "CH",
    }
    made = app.test_client().post("/api/v1/accounts", json={"name": "q"}, headers=headers)
    assert (made.get_json()["ip_source"], made.get_json()["location"]) == expected


# --- the same on every database -------------------------------------------------------------------


def test_accounts_behave_the_same_on_every_database(migrated_url: URL) -> None:
    app = create_app(settings_for(migrated_url))
    with app.app_context():
        made, _ = fleet.create_account(ROOT, {"name": "Zoë Σ", "email": "Z@Example.org"})
        assert (made.email, made.role, made.version) == ("z@example.org", "viewer", 1)
        assert made.created_at.utcoffset() is not None
        changed = fleet.change_account(ROOT, made.id, {"name": "Zoë"}, version=1)
        assert changed.version == 2
        assert changed.updated_at >= changed.created_at
        with pytest.raises(AccountChanged):
            fleet.change_account(ROOT, made.id, {"name": "late"}, version=1)
        with pytest.raises(EmailTaken):
            fleet.create_account(ROOT, {"name": "b", "email": "z@example.ORG"})
        issued, _ = tokens.issue_token(ROOT, account_id=made.id, name="t", expires_days=1)
        actor, _ = tokens.authenticate(issued.text or "", request_id=None, ip=None)
        assert actor.id == made.id
        fleet.delete_account(ROOT, made.id, version=None)
        with pytest.raises(TokenRefused):
            tokens.authenticate(issued.text or "", request_id=None, ip=None)
        db.session.remove()
        db.engine.dispose()


def test_nothing_is_open(client: FlaskClient) -> None:
    assert_problem(client.get("/api/v1/accounts"), 401)


def test_a_disabled_account_is_refused_until_it_is_enabled(
    call: Call, people: dict[str, tuple[int, str]]
) -> None:
    path, more = f"/accounts/{people['viewer'][0]}", {"headers": {"If-Match": "*"}}
    for who in ("viewer", "operator"):
        refused = call(who, "PATCH", path, json={"disabled": True}, **more)
        assert_problem(refused, 403, "role-insufficient")
    mine = f"/accounts/{people['admin'][0]}"
    refused = call("admin", "PATCH", mine, json={"disabled": True}, **more)
    assert_problem(refused, 403, "role-insufficient")
    changed = call("admin", "PATCH", path, json={"disabled": True}, **more)
    assert changed.get_json()["disabled"] is True
    assert_problem(call("viewer", "GET", "/me"), 401, "token-refused")
    assert call("admin", "PATCH", path, json={"disabled": False}, **more).status_code == 200
    assert call("viewer", "GET", "/me").status_code == 200


def test_an_admin_that_is_disabled_is_none_that_is_left(app: Flask) -> None:
    with app.app_context():
        first, second = (
            fleet.create_account(ROOT, {"name": name, "role": "admin"})[0] for name in "ab"
        )
        for one in fleet.list_accounts(ROOT, limit=50, role="admin")[0]:
            if one.id not in (first.id, second.id):
                fleet.delete_account(ROOT, one.id, version=None)
        fleet.change_account(ROOT, first.id, {"disabled": True}, version=None)
        with pytest.raises(LastAdmin):
            fleet.change_account(ROOT, second.id, {"disabled": True}, version=None)
        with pytest.raises(LastAdmin):
            fleet.delete_account(ROOT, second.id, version=None)
        fleet.delete_account(ROOT, first.id, version=None)
