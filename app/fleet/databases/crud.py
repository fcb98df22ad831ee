"""Databases: register, find, list. Nothing here opens one: see creating.py, dropping.py."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import QueryableAttribute, aliased, selectinload

from app.errors import DatabaseNotFound, InputInvalid
from app.extensions import db
from app.fleet.core import audit, idempotency
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID, is_id, require_version
from app.fleet.counts import label_counts, positions
from app.fleet.databases import trigrams
from app.fleet.databases.register import added
from app.fleet.databases.request import draft_of
from app.models import BEGUN, Database, Label, Project, Rollout, Run, Stage
from headway.errors import StillNeeded

SHOWN = (
    selectinload(Database.labels),
    selectinload(Database.owner),
    selectinload(Database.project),
)


@repeated
def register_database(
    actor: Actor, values: dict[str, Any], *, key: str | None = None
) -> tuple[Database, bool]:
    """A database of the fleet, and whether it was there already for the same idempotency key.

    Nothing is opened; a worker looks where it stands. Raises DatabaseRegistered, NameTaken,
    ProjectNotFound, and what a draft raises.
    """
    actor.require("databases.change")
    values = dict(values)
    request = idempotency.Request(actor=actor, key=key, about=("databases", dict(values)))

    def make() -> Database:
        project_id = values.pop("project_id")
        draft = draft_of(values)
        with writing() as session:
            database = added(actor, session, project_id, draft)
            request.remember(session, database.id)
            audit.record(
                session,
                actor,
                "database.registered",
                ("database", database.id),
                project_id=project_id,
                name=database.name,
                address=database.address,
                owner_id=database.owner_id,
                labels=dict(draft.labels),
                x=dict(draft.x),
            )
            label_counts.shift(session, entered=label_counts.keys_of(project_id, [draft.labels]))
            positions.shift(session, entered=[positions.place_of(database)])
        return get_database(actor, database.id)

    return request.once(make, lambda made: get_database(actor, made))


def get_database(actor: Actor, database_id: int) -> Database:
    """The database with its labels, owner and project; a retired one too. Or DatabaseNotFound."""
    actor.require("databases.read")
    return find(db.session, database_id)


def find_database(actor: Actor, name: str) -> Database:
    """The database `project/name`, or of this name, or of this id: the first that there is.

    Raises DatabaseNotFound, or InputInvalid where several projects have one of this name.
    """
    actor.require("databases.read")
    found = _named(Database.name == name)
    if not found and "/" in name:
        project, _, rest = name.partition("/")
        found = _named(
            Database.name == rest,
            Database.project_id.in_(select(Project.id).where(Project.name == project)),
        )
    if len(found) > 1:
        raise InputInvalid(
            f"Several projects have a database {name}. Say which: "
            + ", ".join(f"{one.project.name}/{one.name}" for one in found)
        )
    if found:
        return found[0]
    if is_id(name):
        return find(db.session, int(name))
    raise DatabaseNotFound(f"There is no database {name}. `flask databases list` shows all.")


def list_databases(
    actor: Actor,
    selector: Selector,
    *,
    limit: int,
    after: int | None = None,
    retired: bool = False,
) -> tuple[list[Database], int | None]:
    """A page of the chosen databases in the order they were registered, with labels and owners.

    `retired`: those that were, which nothing else chooses. The second is what to send as `after`
    for the next page.
    """
    actor.require("databases.read")
    query, key = _in_order(selector, retired=retired)
    return page_of(begin_after(query, key, after).options(*SHOWN), limit)


# --- for neighbours --------------------------------------------------------------------------


def find(session: CatalogSession, database_id: int, *, lock: bool = False) -> Database:
    """The row with its labels, owner and project, kept from others. Raises DatabaseNotFound."""
    found = None
    if 0 < database_id <= LARGEST_ID:
        query = select(Database).where(Database.id == database_id).options(*SHOWN)
        if lock:
            query = query.with_for_update(of=Database)
        found = session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise DatabaseNotFound(f"There is no database {database_id}.", database=database_id)
    return found


def living(session: CatalogSession, database_id: int, version: int | None = None) -> Database:
    """The same, to be changed: of this version, not retired. Raises RecordChanged too."""
    database = find(session, database_id, lock=True)
    if database.retired_at:
        raise DatabaseNotFound(
            f"Database {database_id} was retired. Register it again.", database=database_id
        )
    require_version(database, version)
    return database


def require_idle(session: CatalogSession, database: Database) -> None:
    """Raise StillNeeded while a run works at it."""
    begun = select(Run.rollout_id).where(Run.database_id == database.id, Run.state.in_(BEGUN))
    if (at_work := session.scalar(begun.limit(1))) is not None:
        raise StillNeeded(
            f"Rollout {at_work} is working on database {database.id}. Wait until it has ended.",
            rollout=at_work,
        )


def require_free(session: CatalogSession, database: Database) -> None:
    """Raise StillNeeded while it is part of a rollout that may still go on, or is worked at."""
    require_idle(session, database)
    if database.rollout_id is None:
        return
    stage = session.scalar(select(Rollout.stage).where(Rollout.id == database.rollout_id))
    if stage and not Stage(stage).is_final:
        raise StillNeeded(
            f"Database {database.id} is part of rollout {database.rollout_id}, which is {stage}. "
            "Wait until the rollout has ended, or cancel it.",
            rollout=database.rollout_id,
        )


def require_may_leave(actor: Actor, database: Database) -> None:
    """Raise RoleInsufficient unless the actor may take it, or its address, out of its project.

    Out of a project that requires approvals it goes by an admin alone: in another one it would be
    changed without.
    """
    needs_admin = database.project.requires_approval
    right = "databases.drop" if needs_admin else "databases.change"
    actor.require(right, database.project_id)


# --- parts -----------------------------------------------------------------------------------


def _in_order(
    selector: Selector, *, retired: bool
) -> tuple[Select[Database], QueryableAttribute[int]]:
    """The chosen databases, and what they are ordered by.

    With labels: along the index of the first one, so that a page of many is as quick as one of
    few. As a part of a larger condition the databases of a label would all be found first.
    """
    labels = [(name, value) for name, value in selector.labels.items() if value]
    if not labels:
        wanted = trigrams.conditions(selector, retired=retired)
        return select(Database).where(*wanted), Database.id
    (name, value), *others = labels
    rest = replace(selector, labels={n: v for n, v in selector.labels.items() if not v})
    query = select(Database).join(Label, Label.database_id == Database.id)
    wanted = trigrams.conditions(rest, retired=retired)
    query = query.where(Label.name == name, Label.value == value, *wanted)
    for name, value in others:
        other = aliased(Label)
        query = query.where(
            exists().where(
                other.database_id == Label.database_id, other.name == name, other.value == value
            )
        )
    return query, Label.database_id


def _named(*conditions: Any) -> Sequence[Database]:
    query = select(Database).where(Database.retired_at.is_(None), *conditions).limit(5)
    return db.session.scalars(query.order_by(Database.id).options(*SHOWN)).all()
