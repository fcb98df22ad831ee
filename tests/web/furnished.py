"""A fleet with something of everything that a page can show: each stage, position and mishap."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from flask import Flask

from app.extensions import db
from app.fleet import accounts, databases, drift, projects, webhooks
from app.fleet.accounts import tokens
from app.fleet.core.transactions import writing
from app.fleet.projects import grants
from app.models import Database, Delivery, Role, Stage
from tests.fleet.fleets import ROOT, Fleet, broken

SECRET = "a-password-of-a-database"
INDEX = ("extra index t1.ix_more", "DROP INDEX ix_more;")
COLUMN = ("extra column t1.rogue", "ALTER TABLE t1 DROP COLUMN rogue;")


@dataclass
class Furnished:
    """The fleet, and the people who look at it."""

    fleet: Fleet
    tokens: dict[str, str]
    """Role -> a token of somebody who has it."""

    @property
    def app(self) -> Flask:
        return self.fleet.app


def furnish(fleet: Fleet) -> Furnished:
    """Databases on several positions, rollouts in several stages, people, drift, a snapshot."""
    members = fleet.add_many(5, labels={"tier": "gold"}, notes="The first customers.")
    done = fleet.start(
        title="to the second", target="r002", snapshot=True, selector=_of(members[:2])
    )
    fleet.drain()
    broken(fleet, members[3])
    halted = fleet.start(waves=["1", "100%"], selector=_of(members[1:4]), title="to the third")
    fleet.drain()
    free = _of([members[0], members[4]])
    waiting = fleet.start(waves=["1", "100%"], gate={"approval": True}, selector=free)
    fleet.drain()
    fleet.add("at-head", "r003")
    fleet.add("nothing-yet", None)
    fleet.register("away", f"postgresql://app:{SECRET}@127.0.0.1:9/away")
    drift.store_differences(members[0], [INDEX])
    drift.store_differences(members[4], [INDEX, COLUMN])
    drift.ignore(ROOT, fleet.project_id, drift.digest_of(COLUMN[0]), "made by hand, on purpose")
    until = datetime.now(UTC) + timedelta(days=1)
    databases.pin_database(ROOT, members[4].id, reason="under audit", until=until)
    pending = fleet.rollout(waves=["1", "50%", "100%"], title="not yet")
    stages = {one.id: fleet.stage(one) for one in (done, halted, waiting, pending)}
    assert stages[halted.id] is Stage.HALTED
    people = _people()
    grants.give_grant(ROOT, fleet.project_id, "member@example.org", "operator")
    hook = {"name": "chat", "url": f"http://127.0.0.1:9/{SECRET}", "events": []}
    made, _ = webhooks.create_webhook(ROOT, hook)
    with writing() as session:
        # Stored, not sent: a browser test has an event loop of its own, in which none can be sent.
        failed = {"state": "failed", "attempts": 1, "status": 500, "error": "It answered 500."}
        session.add(Delivery(webhook_id=made.webhook.id, event="rollout.halted", body={}, **failed))
    scripts = projects.get_project(ROOT, fleet.project_id).location
    projects.create_project(ROOT, {"name": "next", "location": scripts})  # without databases yet
    return Furnished(fleet, people)


def _of(members: list[Database]) -> dict[str, list[int]]:
    return {"ids": [one.id for one in members]}


def _people() -> dict[str, str]:
    texts = {}
    for role in Role:
        asked = {"name": f"the {role}", "email": f"{role}@example.org", "role": role}
        made, _ = accounts.create_account(ROOT, asked)
        issued, _ = tokens.issue_token(ROOT, account_id=made.id, name="mine", expires_days=1)
        texts[role.value] = issued.text or ""
    return texts


def rows(volatile: frozenset[str] = frozenset()) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """All that the catalog remembers, table by table, but for these columns (`table.column`)."""
    db.session.rollback()
    with db.engine.connect() as connection:
        for table in db.metadata.sorted_tables:
            kept = [column for column in table.c if f"{table.name}.{column.name}" not in volatile]
            found = connection.execute(sa.select(*kept).order_by(*table.primary_key))
            yield table.name, [tuple(row) for row in found]
