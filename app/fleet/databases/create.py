"""New databases: asked for here, created by a worker in a run, registered from the first moment."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.errors import RolloutRefused
from app.extensions import db
from app.fleet import rollouts
from app.fleet.addresses import arguments
from app.fleet.addresses.urls import require_place_for_new
from app.fleet.core import error_texts, idempotency
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import repeated, writing
from app.fleet.counts import label_counts, positions
from app.fleet.databases.crud import get_database
from app.fleet.databases.operate import drafted_for
from app.fleet.databases.register import added
from app.fleet.databases.request import draft_of
from app.fleet.rollouts import start
from app.models import Database, Kind, Project, Run, Stage, State
from headway.dialects.search_path import tenant_of
from headway.errors import HeadwayError

POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Creation:
    """A database that is being created, or was."""

    database_id: int
    rollout_id: int
    """The rollout whose one run creates the database."""
    replayed: bool
    """True if an equal request with the same idempotency key asked for it before."""


def create_database(actor: Actor, values: dict[str, Any], *, key: str | None = None) -> Creation:
    """Register a database that is not there, and start the run that creates it.

    At the heads of its project, or where a rollout that is under way wants new ones. If that
    fails, neither the database nor the member stays. Raises what `register_database` raises.
    """
    actor.require("databases.change")
    request = idempotency.Request(actor=actor, key=key, about=("create", values))

    @repeated
    def make() -> int:
        asked = dict(values)
        project_id = asked.pop("project_id")
        draft = draft_of(asked)
        if draft.place.url:
            tenant_of(draft.place.url, "made")
            if draft.place.url.file:
                require_place_for_new(draft.place.url.file)
        with writing() as session:
            database = added(actor, session, project_id, draft)
            if draft.place.url:  # refused now, and not by the worker
                project = session.get_one(Project, project_id)
                arguments.arguments_of(session, project, database, draft.place.url)
            rollout = drafted_for(actor, database, Kind.CREATE, kinds=(Kind.CREATE,))
            session.add(rollout)
            session.flush()
            request.remember(session, database.id)
            start.start(session, rollout)
            rollouts.record(session, actor, "started", rollout)
            label_counts.shift(session, entered=label_counts.keys_of(project_id, [draft.labels]))
            positions.shift(session, entered=[positions.place_of(database)])
        return database.id

    database_id, replayed = request.once(make, lambda made: made)
    rollout_id = _rollout_of(database_id)
    return Creation(database_id=database_id, rollout_id=rollout_id, replayed=replayed)


def created_within(actor: Actor, creation: Creation, seconds: float) -> Database | None:
    """The database once it is created, or None if that takes longer. Raises why it failed."""
    deadline = time.monotonic() + seconds
    while True:
        db.session.rollback()  # nothing is held between two looks, and all is read anew
        db.session.expire_all()
        if (database := created(actor, creation)) or time.monotonic() >= deadline:
            return database
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def created(actor: Actor, creation: Creation) -> Database | None:
    """The database if it is created by now; None while that goes on. Raises why it failed."""
    rollout = rollouts.get_rollout(actor, creation.rollout_id)
    if not Stage(rollout.stage).is_final:
        return None
    run = db.session.scalars(
        select(Run).where(Run.rollout_id == rollout.id).order_by(Run.id.desc()).limit(1)
    ).one()
    if run.state == State.SUCCEEDED:
        return get_database(actor, creation.database_id)
    if run.error is None:
        raise RolloutRefused(f"The database was not created. {rollout.reason}")
    raise _error_of(run)


def _rollout_of(database_id: int) -> int:
    query = select(Run.rollout_id).where(Run.database_id == database_id, Run.kind == Kind.CREATE)
    return db.session.scalars(query.limit(1)).one()


def _error_of(run: Run) -> HeadwayError:
    """What the run ended with, as it was raised where it ran."""
    return error_texts.class_of(run.problem)(run.error or "")
