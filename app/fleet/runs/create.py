"""The run that creates a database: it was not there before, and afterwards it is whole.

What is there is never written over. From when the database is about to be made the run says so
(`before` is ""): what is found there later was begun by this run, and is brought to its end.
"""

import time
from contextlib import suppress
from dataclasses import replace

from app.extensions import db
from app.fleet.addresses.urls import require_place_for_new
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.fleet.counts.positions import joined
from app.fleet.projects import revisions
from app.fleet.rollouts import joins
from app.fleet.runs.tasks import LOCK_WAIT, Ended, Task
from app.models import Database, Kind, Role, Rollout, State
from app.settings import RELEASE
from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy
from headway.errors import AddressInvalid, DatabaseExists, HeadwayError, ProcessEnded
from headway.plan.plans import Direction
from headway.types import Status


def create(task: Task) -> Ended:
    """Make the database, at the revision where new ones of its project belong.

    Raises DatabaseExists for one that this run has not begun, and what its revisions raise.
    """
    began = time.monotonic()
    address = task.member().address
    has_begun = task.run.before is not None
    if is_there(address):
        if not has_begun:
            raise DatabaseExists(f"{address} already exists. Register it instead.")
        look = _brought_to_its_end(task)
    else:
        if address.path:
            require_place_for_new(address.path)  # of a reference too
        _require_folder(address)
        look = _made(task, address)
    return Ended(
        state=State.SUCCEEDED,
        before="",
        after=joined(look.current),
        applied=_applied(task),
        seconds=time.monotonic() - began,
        look=look,
    )


def is_there(address: Address) -> bool:
    """True if there is such a database. A file without a byte is a name, and no database."""
    path = address.path
    if path is None:
        return places.is_there(address)
    return path.exists() and path.stat().st_size > 0


def is_nothing_left(task: Task, lock_seconds: float) -> bool:
    """True if a run that was lost left no database. Its empty file is removed, with its journal.

    Raises DatabaseLocked while somebody is still in that file.
    """
    member = task.member()
    address = member.address
    if is_there(address):
        return False
    if task.run.before is not None and address.path and address.path.exists():
        member.wait_for_lock(lock_seconds)
        if is_there(address):  # whoever was in it has just come to its end
            return False
        address.dialect.drop(address.url)
    return True


def left_by_failure(task: Task, ended: Ended) -> Ended:
    """The same, with what this run left of a database that it could not create."""
    if task.run.before is None:
        return ended
    try:
        member = task.member()
        if not is_there(member.address):
            return replace(ended, before=None, after=None)
        seen = member.status()
    except HeadwayError:  # it is away now: another attempt, or a person, looks again
        return replace(ended, before="")
    return replace(ended, before="", after=joined(seen.current), look=seen)


def record(session: CatalogSession, rollout: Rollout, database_id: int) -> None:
    """Note that a database was created and, where a rollout is under way, let it take part.

    In the transaction that ends the run, after where the database stands was written.
    """
    database = session.get_one(Database, database_id, populate_existing=True)
    joins.join(session, database)
    audit.record(
        session,
        Actor(id=rollout.by_id, name=rollout.by_name, role=Role.VIEWER),
        "database.created",
        ("database", database.id),
        project_id=database.project_id,
        name=database.name,
        address=database.address,
        current=database.current,
        rollout_id=rollout.id,
    )


def _made(task: Task, address: Address) -> Status:
    if task.run.before is None:
        target = joins.target_of_new(db.session, task.database)
        ends = revisions.ends(task.project.id, (), target, Kind.UPGRADE)
        db.session.rollback()  # nothing is held while the database is made
        task.begin_to_create(ends)
    steps = 0

    def on_step(number: int, total: int, revision: str) -> None:
        nonlocal steps
        if not steps:
            task.refuse_lost()
        steps = number
        task.on_step(number, total, revision)

    try:
        return task.member().create(_target(task), on_step=on_step)
    except ProcessEnded:
        if steps:  # a revision ran in it, so it was this run that made it a moment ago
            with suppress(HeadwayError):
                places.drop(address, Policy(release=RELEASE, lock_wait=LOCK_WAIT))
        raise


def _brought_to_its_end(task: Task) -> Status:
    """What this run began: also one that is complete, and whose worker ended before it said so."""

    def found(_: Status) -> str:
        task.refuse_lost()
        return _target(task)

    outcome = task.member().move(
        Direction.UPGRADE, on_found=found, on_step=task.on_step, waiting=task.waiting
    )
    assert outcome.status is not None  # noqa: S101  # it was read under the lock
    return outcome.status


def _target(task: Task) -> str:
    return task.target(task.scripts, task.run.aim or "")


def _applied(task: Task) -> tuple[str, ...]:
    path = revisions.path(task.project.id, (), _target(task), Kind.UPGRADE)
    names = tuple(row.revision for row in path)
    db.session.rollback()
    return names


def _require_folder(address: Address) -> None:
    path = address.path
    if path and not path.parent.is_dir():
        raise AddressInvalid(f"There is no folder {path.parent}. Create it first.")
