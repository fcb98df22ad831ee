"""Registering many databases: two questions and two statements for each five hundred."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import insert, or_, select, text

from app.errors import (
    AccountNotFound,
    DatabaseRegistered,
    NameTaken,
    ProjectNotFound,
    RoleInsufficient,
)
from app.extensions import db
from app.fleet.addresses import arguments
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.visibility import WHOLE_FLEET
from app.fleet.counts import label_counts, positions
from app.fleet.databases.request import Draft, OwnersById, draft_of, owner_of
from app.models import Database, Label, Project
from headway.dialects import dialect_of
from headway.errors import HeadwayError

BATCH = 500
MANY = 1000
TRIES = 5


@dataclass(kw_only=True)
class Registered:
    """What became of many rows."""

    added: int = 0
    known: int = 0
    """They were registered in this project before."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """The number of a row, counted from 1, and why."""


Numbered = tuple[int, Draft]


def added(actor: Actor, session: CatalogSession, project_id: int, draft: Draft) -> Database:
    """A row for a draft, in the caller's transaction, which also says who did it.

    Raises DatabaseRegistered, NameTaken, ProjectNotFound or AccountNotFound.
    """
    _require_project(actor, session, project_id)
    arguments.require_may_set(actor, project_id, draft.x)
    _refuse_known(session, project_id, draft)
    database = Database(
        project_id=project_id,
        owner_id=owner_of(session, draft),
        labels=[Label(name=name, value=value) for name, value in draft.labels.items()],
        **draft.columns(),
    )
    session.add(database)
    session.flush()
    return database


def register_many(actor: Actor, project_id: int, rows: Iterable[Mapping[str, Any]]) -> Registered:
    """Register row after row, in transactions of 500. One that cannot be does not stop the rest.

    A row is what `register_database` takes, without its project; `line` is its number where it
    came from, and `wrong` what is the matter with it already.
    """
    actor.require("databases.change")
    with writing() as session:
        _require_project(actor, session, project_id)
    total = Registered()
    for batch in _batches(rows, total):
        done = _register_batch(actor, project_id, batch)
        total.added += done.added
        total.known += done.known
        total.refused += done.refused
    total.refused.sort()
    if total.added >= MANY:
        _count_anew()
    return total


def foresee(
    actor: Actor, project_id: int, rows: Iterable[Mapping[str, Any]]
) -> tuple[Registered, list[Draft]]:
    """What `register_many` would do with these rows now, and those that it would add.

    For as many as fit into one question: nothing is written.
    """
    actor.require("databases.change")
    _require_project(actor, db.session, project_id)
    total = Registered()
    drafts = [numbered for batch in _batches(rows, total) for numbered in batch]
    fresh = _sorted_out(actor, db.session, project_id, drafts, total)
    total.added = len(fresh)
    total.refused.sort()
    return total, [draft for draft, _ in fresh]


def _count_anew() -> None:
    """Let PostgreSQL see how full the tables are now: its plans would be for empty ones."""
    if dialect_of(db.engine).name == "postgresql":
        with writing() as session:
            session.execute(text("ANALYZE database, label"))


def _batches(rows: Iterable[Mapping[str, Any]], total: Registered) -> Iterator[list[Numbered]]:
    """The drafts of rows, 500 at a time; what cannot be one is noted."""
    numbered = iter(enumerate(rows, 1))
    while taken := list(islice(numbered, BATCH)):
        batch: list[Numbered] = []
        for count, row in taken:
            values = dict(row)
            line = values.pop("line", count)
            try:
                if wrong := values.pop("wrong", None):
                    total.refused.append((line, str(wrong)))
                else:
                    batch.append((line, draft_of(values)))
            except HeadwayError as error:
                total.refused.append((line, str(error)))
        if batch:
            yield batch


def _register_batch(actor: Actor, project_id: int, batch: Sequence[Numbered]) -> Registered:
    for _ in range(TRIES - 1):
        try:
            return _register_once(actor, project_id, batch)
        except (NameTaken, DatabaseRegistered):  # by another, in this very moment: look again
            continue
    return _register_once(actor, project_id, batch)


@repeated
def _register_once(actor: Actor, project_id: int, batch: Sequence[Numbered]) -> Registered:
    done = Registered()
    with writing() as session:
        fresh = _sorted_out(actor, session, project_id, batch, done)
        _insert(session, project_id, fresh)
        done.added = len(fresh)
        if fresh:
            names = [draft.name for draft, _ in fresh]
            audit.record(
                session,
                actor,
                "databases.registered",
                ("project", project_id),
                databases=len(fresh),
                first=names[0],
                last=names[-1],
            )
            labels = label_counts.keys_of(project_id, (draft.labels for draft, _ in fresh))
            label_counts.shift(session, entered=labels)
            positions.shift(session, entered=[(project_id, "", "")] * len(fresh))
    return done


def _sorted_out(
    actor: Actor,
    session: CatalogSession,
    project_id: int,
    batch: Sequence[Numbered],
    done: Registered,
) -> list[tuple[Draft, int | None]]:
    """What is new, with its owner; the rest is noted. Two questions for all of them."""
    owner = OwnersById(session, [draft for _, draft in batch])
    by_identity, by_name = _present(session, project_id, [draft for _, draft in batch])
    fresh = []
    for line, draft in batch:
        identity = draft.place.identity
        where = by_identity.get(identity) if identity else None
        is_same_reference = identity is None and by_name.get(draft.name, "") is None
        if where == project_id or is_same_reference:
            done.known += 1
            continue
        if where is not None:
            why = "It is registered in another project."
            if actor.projects is None or where in actor.projects:
                address = draft.place.columns()["address"]
                why = f"{address} is registered in project {where}."
            done.refused.append((line, why))
            continue
        if draft.name in by_name:
            why = (
                f"Another database has the name {draft.name}. Register this one with another name."
            )
            done.refused.append((line, why))
            continue
        try:
            arguments.require_may_set(actor, project_id, draft.x)
            fresh.append((draft, owner(draft)))
        except (AccountNotFound, RoleInsufficient) as error:
            done.refused.append((line, str(error)))
            continue
        by_name[draft.name] = identity
        if identity:
            by_identity[identity] = project_id
    return fresh


def _present(
    session: CatalogSession, project_id: int, drafts: Sequence[Draft]
) -> tuple[dict[str, int], dict[str, str | None]]:
    """Which of these are there: identity -> project, and name in this project -> identity."""
    identities = {draft.place.identity for draft in drafts if draft.place.identity}
    names = {draft.name for draft in drafts}
    columns = select(Database.project_id, Database.name, Database.identity)
    columns = columns.execution_options(**{WHOLE_FLEET: True})  # an identity is there once in it
    same = session.execute(columns.where(Database.identity.in_(identities))).all()
    named = session.execute(
        columns.where(Database.project_id == project_id, Database.name.in_(names))
    ).all()
    # Of both: what another registered between the two is only in the second.
    return (
        {row.identity: row.project_id for row in (*same, *named) if row.identity},
        {row.name: row.identity for row in named},
    )


def _insert(
    session: CatalogSession, project_id: int, fresh: Sequence[tuple[Draft, int | None]]
) -> None:
    if not fresh:
        return
    rows = [
        {"project_id": project_id, "owner_id": owner_id, **draft.columns()}
        for draft, owner_id in fresh
    ]
    session.execute(insert(Database.__table__), rows)  # type: ignore[arg-type]
    if not any(draft.labels for draft, _ in fresh):
        return
    # MySQL gives no keys back: asked for by name.
    names = [draft.name for draft, _ in fresh if draft.labels]
    query = select(Database.name, Database.id).where(
        Database.project_id == project_id, Database.name.in_(names)
    )
    keys = {row.name: row.id for row in session.execute(query)}
    labels = [
        {"database_id": keys[draft.name], "name": name, "value": value}
        for draft, _ in fresh
        for name, value in draft.labels.items()
    ]
    session.execute(insert(Label.__table__), labels)  # type: ignore[arg-type]


def _require_project(actor: Actor, session: CatalogSession, project_id: int) -> None:
    # Held until the end: nobody deletes it meanwhile.
    query = select(Project.id).where(Project.id == project_id).with_for_update(read=True)
    if session.scalar(query) is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    actor.require("databases.change", project_id)


def _refuse_known(session: CatalogSession, project_id: int, draft: Draft) -> None:
    """Say which one it is; the indexes refuse it anyway."""
    identity = draft.place.identity
    same = Database.identity == identity if identity else None
    named = (Database.project_id == project_id) & (Database.name == draft.name)
    query = select(Database.id, Database.name, Database.project_id, Database.identity)
    found = session.execute(query.where(named if same is None else or_(named, same))).all()
    for row in found:
        if identity and row.identity == identity:
            raise DatabaseRegistered(
                f"This database is already registered: it is database {row.id} ({row.name}) of "
                f"project {row.project_id}.",
                database=row.id,
            )
    if found:
        raise NameTaken(
            f"Database {found[0].id} of this project already has the name {draft.name}.",
            database=found[0].id,
        )
