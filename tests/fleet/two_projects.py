"""Two projects of one fleet, alike but for a word that only the second one has, and their people."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import accounts, databases, drift, projects, rollouts
from app.fleet.accounts import tokens
from app.fleet.projects import grants
from app.models import Database, Role, Rollout, Scope
from tests.fleet.fleets import ROOT, Fleet, broken, fleet_on

WORD = "zyzzyva"
"""A word that is nowhere but in the second project."""
PEOPLE = {
    # name -> role in the fleet, in the first project, in the second one
    "stranger": ("member", None, None),
    "viewer-a": ("member", "viewer", None),
    "operator-a": ("member", "operator", None),
    "admin-a": ("member", "admin", None),
    "operator-b": ("member", None, "operator"),
    "admin-b": ("member", None, "admin"),
    "viewer": ("viewer", None, None),
    "viewer+a": ("viewer", "operator", None),
    "operator": ("operator", "viewer", None),
    "admin": ("admin", None, None),
}


@dataclass
class Side:
    """A project with something of everything."""

    fleet: Fleet
    members: list[Database]
    rollouts: dict[str, Rollout]
    parameters: dict[str, list[Any]] = field(default_factory=dict)
    """What is of this project, by the name of the parameter that would take it."""

    @property
    def id(self) -> int:
        return self.fleet.project_id


@dataclass
class Two:
    """Both projects, and the tokens and numbers of the people, by their names."""

    a: Side
    b: Side
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)


@contextmanager
def two_projects(url: URL, folder: Path) -> Iterator[Two]:
    """On the catalog at this URL."""
    with fleet_on(url, folder) as fleet:
        beside = folder / WORD
        beside.mkdir()
        other = Fleet(fleet.app, beside, name=f"{WORD}-shop")
        two = Two(_furnish(fleet, "plain"), _furnish(other, WORD))
        for name, roles in PEOPLE.items():
            _person(two, name, *roles)
        somebody, _ = accounts.create_account(ROOT, {"name": "somebody", "role": Role.MEMBER})
        two.ids["somebody"] = somebody.id
        for side in (two.a, two.b):  # of no session: what a request forgets stays known here
            side.members = [databases.get_database(ROOT, one.id) for one in side.members]
            known = side.rollouts.items()
            side.rollouts = {name: rollouts.get_rollout(ROOT, one.id) for name, one in known}
        db.session.expunge_all()
        yield two


def _furnish(fleet: Fleet, word: str) -> Side:
    owner, _ = accounts.create_account(ROOT, {"name": f"{word} owner"})
    projects.change_project(ROOT, fleet.project_id, {"notes": f"{word} notes"}, version=None)
    about = {"labels": {"tier": word}, "notes": f"{word} notes", "owner_id": owner.id}
    members = [fleet.add(f"{word}-{number}", **about) for number in range(5)]
    done = fleet.start(
        title=f"{word} done", target="r002", snapshot=True, selector=_of(members[:2])
    )
    fleet.drain()
    broken(fleet, members[3])
    halted = fleet.start(
        title=f"{word} halted", waves=["1", "100%"], selector=_of(members[2:4]), retreat=False
    )
    fleet.drain()
    gate = {"approval": True}
    waiting = fleet.start(
        title=f"{word} waiting",
        waves=["1", "100%"],
        gate=gate,
        selector=_of([members[0], members[4]]),
    )
    fleet.drain()
    pending = fleet.rollout(title=f"{word} pending")
    drift.store_differences(
        members[0], [(f"extra index {word}.ix", f"DROP INDEX {word};"), (f"column {word}", None)]
    )
    drift.ignore(ROOT, fleet.project_id, drift.digest_of(f"column {word}"), f"{word} reason")
    until = datetime.now(UTC) + timedelta(days=1)
    databases.pin_database(ROOT, members[1].id, reason=f"{word} audit", until=until)
    known = {"done": done, "halted": halted, "waiting": waiting, "pending": pending}
    return Side(fleet, members, known)


def _person(two: Two, name: str, role: str, in_a: str | None, in_b: str | None) -> None:
    called = f"{WORD} {name}" if in_b else name
    made, _ = accounts.create_account(
        ROOT, {"name": called, "email": f"{name}@example.org", "role": Role(role)}
    )
    for side, granted in ((two.a, in_a), (two.b, in_b)):
        if granted:
            grants.give_grant(ROOT, side.id, made.id, granted)
    two.ids[name] = made.id
    two.tokens[name] = token_of(made.id)


def token_of(account_id: int, scope: Scope | None = None) -> str:
    issued, _ = tokens.issue_token(
        ROOT, account_id=account_id, name="test", expires_days=1, scope=scope
    )
    return issued.text or ""


def _of(members: list[Database]) -> dict[str, list[int]]:
    return {"ids": [one.id for one in members]}
