"""Accounts and the audit trail, below all faces."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from app.errors import AccountNotFound, InputInvalid, RoleInsufficient
from app.extensions import db
from app.fleet import accounts, projects, webhooks
from app.fleet.accounts import tokens
from app.fleet.core import audit
from app.fleet.core.permissions import PROJECT_RIGHTS, RIGHTS, Actor
from app.models import DELETABLE, Account, Project, Role, Token, Webhook
from tests.fleet.conftest import ROOT, person

USE_CASES: dict[str, tuple[Role, Callable[[Actor, Account], object]]] = {
    "read": (Role.VIEWER, lambda me, it: accounts.get_account(me, it.id)),
    "find": (Role.VIEWER, lambda me, it: accounts.find_account(me, str(it.id))),
    "list": (Role.VIEWER, lambda me, _: accounts.list_accounts(me, limit=1)),
    "create": (Role.OPERATOR, lambda me, _: accounts.create_account(me, {"name": "n"})),
    "create an admin": (
        Role.ADMIN,
        lambda me, _: accounts.create_account(me, {"name": "n", "role": "admin"}),
    ),
    "change": (
        Role.OPERATOR,
        lambda me, it: accounts.change_account(me, it.id, {"name": "n"}, version=None),
    ),
    "give a role": (
        Role.ADMIN,
        lambda me, it: accounts.change_account(me, it.id, {"role": "operator"}, version=None),
    ),
    "delete": (Role.ADMIN, lambda me, it: accounts.delete_account(me, it.id, version=None)),
    "issue for another": (
        Role.ADMIN,
        lambda me, it: tokens.issue_token(me, account_id=it.id, name="t", expires_days=1),
    ),
    "read the trail": (Role.OPERATOR, lambda me, _: audit.list_events(me, limit=1)),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("what", USE_CASES)
def test_the_lowest_role_for_each_use_case(here: Flask, what: str, role: Role) -> None:
    (other, _), (_, me) = person(Role.VIEWER, "other"), person(role, "me")
    lowest, use_case = USE_CASES[what]
    if role.includes(lowest):
        use_case(me, other)
    else:
        with pytest.raises(RoleInsufficient):
            use_case(me, other)


def test_every_right_has_a_role() -> None:
    assert set(RIGHTS.values()) | set(PROJECT_RIGHTS.values()) <= set(Role)
    assert not RIGHTS.keys() & PROJECT_RIGHTS.keys()
    with pytest.raises(KeyError):
        ROOT.require("nothing.of.the.sort")


@pytest.mark.parametrize(
    "values",
    [
        {"name": None},
        {"name": "x" * 129},
        {"description": "x" * 201},
        {"location": "x" * 129},
        {"email": "no address"},
        {"email": "a" * 120 + "@example.org"},
        {"name": "a\x00b"},
        {"location": "\udcff"},
    ],
    ids=str,
)
def test_what_a_column_cannot_keep_is_refused(here: Flask, values: dict[str, object]) -> None:
    with pytest.raises(InputInvalid):
        accounts.create_account(ROOT, {"name": "n"} | values)
    account, _ = person(Role.VIEWER)
    with pytest.raises(InputInvalid):
        accounts.change_account(ROOT, account.id, values, version=None)


def test_what_a_column_can_just_keep_is_kept(anywhere: Flask) -> None:
    values = {"name": "𝄞" * 128, "description": "é" * 200, "location": "日" * 128}
    made, _ = accounts.create_account(ROOT, values)
    db.session.remove()
    kept = accounts.get_account(ROOT, made.id)
    assert {name: getattr(kept, name) for name in values} == values


def test_an_address_is_trimmed_lowered_and_found_so(anywhere: Flask) -> None:
    made, _ = accounts.create_account(ROOT, {"name": "z", "email": "  Zoe@Example.ORG "})
    assert made.email == "zoe@example.org"
    assert accounts.find_account(ROOT, "ZOE@example.org").id == made.id
    assert [a.id for a in accounts.list_accounts(ROOT, limit=9, email="zoe@EXAMPLE.org")[0]] == [
        made.id
    ]
    with pytest.raises(AccountNotFound):
        accounts.find_account(ROOT, "zoé@example.org")


@pytest.mark.parametrize("key", [0, -1, 2**31, 2**80])
def test_a_number_that_no_key_can_be_is_not_found(anywhere: Flask, key: int) -> None:
    with pytest.raises(AccountNotFound):
        accounts.get_account(ROOT, key)
    with pytest.raises(AccountNotFound):
        accounts.delete_account(ROOT, key, version=None)


def test_pages_join_to_the_whole_list(anywhere: Flask) -> None:
    for n in range(7):
        accounts.create_account(ROOT, {"name": f"n{n}"})
    whole, end = accounts.list_accounts(ROOT, limit=100)
    assert end is None
    seen: list[int] = []
    after = None
    while True:
        found, after = accounts.list_accounts(ROOT, limit=3, after=after)
        seen += [account.id for account in found]
        if found[-1].role == "viewer":  # what the next page begins after is gone by then
            accounts.delete_account(ROOT, found[-1].id, version=None)
        if after is None:
            break
    assert seen == [account.id for account in whole]


@pytest.mark.parametrize("after", [2**31, 2**63 - 1])
def test_after_the_last_there_is_nothing(anywhere: Flask, after: int) -> None:
    assert accounts.list_accounts(ROOT, limit=1, after=after) == ([], None)
    assert tokens.list_tokens(ROOT, limit=1, after=after) == ([], None)
    assert len(audit.list_events(ROOT, limit=1, after=2**63 - 1)[0]) == 1


def test_a_part_of_a_name_is_taken_literally(anywhere: Flask) -> None:
    for name in ("100% Ada", "100_Ada", "100/Ada", "Zoë"):
        accounts.create_account(ROOT, {"name": name})

    def named(part: str) -> list[str]:
        return [a.name for a in accounts.list_accounts(ROOT, limit=9, name=part)[0]]

    assert named("%") == ["100% Ada"]
    assert named("_") == ["100_Ada"]
    assert named("/a") == ["100/Ada"]
    assert named("zo") == ["Zoë"]


def test_an_account_goes_with_its_tokens_and_its_trail_stays(anywhere: Flask) -> None:
    account, me = person(Role.VIEWER, "Ada")
    tokens.issue_token(me, account_id=account.id, name="t", expires_days=1)
    accounts.delete_account(ROOT, account.id, version=None)
    db.session.remove()
    left = sa.select(sa.func.count()).select_from(Token).where(Token.account_id == account.id)
    assert db.session.scalar(left) == 0
    events, _ = audit.list_events(ROOT, limit=9)
    mine = [e for e in events if account.id in (e.actor_id, e.subject_id)]
    assert [e.action for e in mine if e.subject_type == "account"] == [
        "account.deleted",
        "account.created",
    ]
    assert "Ada" in {e.actor_name for e in events}


def test_an_event_says_who_what_where_and_in_which_request(anywhere: Flask) -> None:
    _, me = person(Role.OPERATOR, "Ada")
    made, _ = accounts.create_account(me, {"name": "n", "email": "n@example.org"})
    (event, *_), _ = audit.list_events(ROOT, limit=1)
    assert (event.action, event.subject_type, event.subject_id) == (
        "account.created",
        "account",
        made.id,
    )
    assert (event.actor_id, event.actor_name) == (me.id, "Ada")
    assert (event.request_id, event.ip) == ("r-12345678", "::1")
    assert event.detail["email"] == "n@example.org"
    assert event.at.utcoffset() is not None
    json.dumps(event.detail)


def test_a_change_to_what_it_was_is_no_change(anywhere: Flask) -> None:
    account, _ = person(Role.VIEWER, "Ada")
    before, _ = audit.list_events(ROOT, limit=99)
    same = accounts.change_account(ROOT, account.id, {"name": "Ada"}, version=None)
    after, _ = audit.list_events(ROOT, limit=99)
    assert same.version == 1
    assert len(after) == len(before)


def test_a_request_sent_again_from_elsewhere_is_the_same_request(anywhere: Flask) -> None:
    account, me = person(Role.OPERATOR)
    moved = Actor(id=account.id, name=me.name, role=me.role, ip="203.0.113.9")
    values = {"name": "once", "location": None}
    first, _ = accounts.create_account(me, values, country="CH", key="k")
    second, replayed = accounts.create_account(moved, values, country="FR", key="k")
    assert (second.id, replayed) == (first.id, True)
    assert (second.ip_source, second.location) == ("::1", "CH")


def make(model: type[Any], name: str, folder: Path) -> int:
    """A row of this model, made as people make it; its id."""
    if model is Project:
        return projects.create_project(ROOT, {"name": name, "location": str(folder)})[0].id
    if model is Webhook:
        values = {"name": name, "url": "https://example.org", "events": []}
        return webhooks.create_webhook(ROOT, values)[0].webhook.id
    account, _ = person(Role.VIEWER, name)
    if model is Account:
        return account.id
    return tokens.issue_token(ROOT, account_id=account.id, name="t", expires_days=1)[0].token.id


@pytest.mark.parametrize("model", DELETABLE, ids=lambda model: model.__name__)
def test_what_the_trail_names_by_its_number_keeps_it(
    fleet_here: Flask, model: type[Any], shop_scripts: Path
) -> None:
    gone = make(model, "gone", shop_scripts)
    with db.engine.begin() as connection:
        connection.execute(sa.delete(model).where(model.id == gone))
    db.session.remove()
    assert make(model, "newcomer", shop_scripts) > gone
