"""Databases come: one is made for real, at the head of its project."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from app.extensions import db
from app.fleet.core import audit, idempotency, positions
from app.fleet.core.permissions import Actor
from app.fleet.core.positions import joined
from app.fleet.core.transactions import repeated, writing
from app.fleet.core.urls import resolve
from app.fleet.databases import new_in_rollout, remove
from app.fleet.databases.crud import find, get_database
from app.fleet.databases.register import added
from app.fleet.databases.request import Draft, draft_of, fingerprint
from app.fleet.isolation.remote import RemoteProject
from app.fleet.projects import get_project, scripts_of
from app.models import Database
from app.settings import RELEASE
from headway.connections.address import Address
from headway.dialects.search_path import refuse_schema
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, DatabaseExists, MigrationFailed
from headway.types import Status

MAKING = "it is being made"
WAIT_SECONDS = 60.0
"""How long the second of two equal requests waits for what the first makes."""
MADE_WITHIN = timedelta(hours=1)
"""For so long a row stays out of rollouts if whoever makes its database is killed."""


def create_database(
    actor: Actor, values: dict[str, Any], *, key: str | None = None
) -> tuple[Database, bool]:
    """Make the real database from its project's template, and register it.

    At the project's heads, or where a rollout that is under way wants new ones. The second is
    whether it was made before for the same idempotency key. If it fails, neither the database
    nor its row stays. Raises DatabaseExists, what `register_database` raises, and what the
    project's revisions raise.
    """
    actor.require("databases.change")
    values = dict(values)
    request = idempotency.Request(actor=actor, key=key, about=("create", fingerprint(values)))
    if (made := request.made()) is not None:
        return get_database(actor, made), True
    project = get_project(actor, values.pop("project_id"))
    draft = draft_of(values)
    url = _url_to_make(draft)
    try:
        database_id = _reserve(project.id, draft)
    except idempotency.RACES:
        if (made := _made_meanwhile(request, project.id, draft.name)) is None:
            raise
        return get_database(actor, made), True
    try:
        target = new_in_rollout.born_at(find(db.session, database_id))
        scripts, x = scripts_of(project), dict(project.x)
        db.session.remove()  # it may take a while: nobody waits for us meanwhile
        _refuse_existing(url)
        look = _make(scripts, url, x=x, target=target)
    except BaseException:
        _give_up(database_id)
        raise
    _arrive(actor, database_id, look, request)
    return get_database(actor, database_id), False


def _made_meanwhile(request: idempotency.Request, project_id: int, name: str) -> int | None:
    """What an equal request makes at this moment, once it is made; None if there is none."""
    being_made = select(Database.id).where(
        Database.project_id == project_id, Database.name == name, Database.pin_reason == MAKING
    )
    deadline = time.monotonic() + WAIT_SECONDS
    while request.key and time.monotonic() < deadline:
        db.session.remove()  # nothing is held while we wait
        if (made := request.made()) is not None:
            return made
        if db.session.scalar(being_made) is None:
            break
        db.session.remove()
        time.sleep(0.2)
    db.session.remove()
    return request.made()


def _url_to_make(draft: Draft) -> DatabaseURL:
    url = draft.place.url or resolve(str(draft.place.reference))
    refuse_schema(url, "made")
    return url


def _make(scripts: RemoteProject, url: DatabaseURL, *, x: dict[str, str], target: str) -> Status:
    try:
        return scripts.at(url, x, release=RELEASE).create(target)
    except MigrationFailed:
        # It was not there a moment ago, so what is there now is half of what we made.
        address = Address.of(url)
        address.dialect.drop(address.url)
        raise


def _refuse_existing(url: DatabaseURL) -> None:
    address = Address.of(url)
    path = address.path
    if path and not path.parent.is_dir():
        raise AddressInvalid(f"There is no folder {path.parent}. Make it first.")
    is_there = path.exists() and path.stat().st_size if path else address.dialect.exists(url)
    if is_there:
        raise DatabaseExists(f"{address} is there already. Register it instead.")


@repeated
def _reserve(project_id: int, draft: Draft) -> int:
    """The row first: whoever makes the same at once is refused before anything is made.

    Pinned, so that a rollout that starts meanwhile leaves it alone.
    """
    with writing() as session:
        database = added(session, project_id, draft)
        database.pin_reason = MAKING
        database.pin_until = datetime.now(UTC) + MADE_WITHIN
        positions.shift(session, entered=[positions.place_of(database)])
    return database.id


@repeated
def _give_up(database_id: int) -> None:
    with writing() as session:
        database = find(session, database_id)
        before = positions.place_of(database)
        if database.rollout_id is None:
            session.delete(database)
        else:  # a rollout has seen it: its run will say that it is not there
            remove.retire(session, database)
        session.flush()
        positions.shift(session, left=[before])


@repeated
def _arrive(actor: Actor, database_id: int, look: Status, request: idempotency.Request) -> None:
    with writing() as session:
        database = find(session, database_id)
        before = positions.place_of(database)
        now = datetime.now(UTC)
        database.position = look.position.value
        database.current = joined(look.current)
        database.pending = len(look.pending)
        database.milliseconds = look.milliseconds
        database.asked_at = database.seen_at = now
        database.pin_reason = database.pin_until = None
        session.flush()
        new_in_rollout.join(session, database)
        request.remember(session, database.id)
        audit.record(
            session,
            actor,
            "database.created",
            ("database", database.id),
            project_id=database.project_id,
            name=database.name,
            address=database.address,
            current=database.current,
            labels={label.name: label.value for label in database.labels},
        )
        positions.shift(session, left=[before], entered=[positions.place_of(database)])
