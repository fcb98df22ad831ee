"""Drift of the fleet: which databases differ, in what, how many share it, and what is accepted."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from app.errors import DifferenceNotFound, InputInvalid
from app.extensions import db
from app.fleet import audit, projects, webhooks
from app.fleet.actors import Actor
from app.fleet.fields import fitting
from app.fleet.pages import page_of
from app.fleet.remote import RemoteDatabase
from app.fleet.transactions import CatalogSession, repeated, writing
from app.models import Database, Difference, Ignored, Project

Found = tuple[str, str | None]
"""What differs, in words, and the SQL that would mend it."""
HEX = re.compile(r"[0-9a-f]{1,64}")
TOLD = 20
"""So many differences are named in an announcement."""


@dataclass(frozen=True, kw_only=True)
class Mend:
    """The SQL that would take a difference away, on one kind of database."""

    dialect: str | None
    sql: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """One difference, and how many databases share it."""

    project_id: int
    digest: str
    says: str
    databases: int
    mends: tuple[Mend, ...]
    ignored: Ignored | None


def look_at(database: Database, member: RemoteDatabase) -> int:
    """Compare a database with what its revisions make, and keep what differs.

    How many differences, without those that are ignored. For workers: the project's revisions are
    run on an empty database of the same kind.
    """
    drift = member.check()
    return check(database, list(zip(drift.differences, drift.fixes, strict=True)))


@repeated
def check(database: Database, found: Sequence[Found]) -> int:
    """Keep what a check found of a database, in place of what the last one did.

    How many differences, without those that are ignored. `drift.found` is announced where there
    is one that the last check did not find.
    """
    database_id, project_id = database.id, database.project_id
    mends = dict(found)
    with writing() as session:
        here = Difference.database_id == database_id
        before = set(session.scalars(select(Difference.digest).where(here)))
        session.execute(delete(Difference).where(here).execution_options(synchronize_session=False))
        rows = {digest_of(says): (says, mend) for says, mend in sorted(mends.items())}
        session.add_all(
            Difference(
                project_id=project_id,
                database_id=database_id,
                digest=digest,
                says=says,
                mend=mend,
            )
            for digest, (says, mend) in rows.items()
        )
        ignored = _ignored(session, project_id)
        counted = rows.keys() - ignored
        _count(session, database_id, len(counted))
        if fresh := sorted(rows[digest][0] for digest in counted - before):
            _announce(session, database_id, fresh, len(counted))
    return len(counted)


def digest_of(says: str) -> str:
    """The same for the same words."""
    return hashlib.sha256(says.encode()).hexdigest()


def _count(session: CatalogSession, database_id: int, count: int) -> None:
    session.execute(
        update(Database)
        .where(Database.id == database_id)
        .values(drift=count, drift_at=datetime.now(UTC), updated_at=Database.updated_at)
        .execution_options(synchronize_session=False)
    )


def _announce(session: CatalogSession, database_id: int, fresh: Sequence[str], count: int) -> None:
    row = session.execute(
        select(Database.name, Project.id, Project.name)
        .join(Project, Project.id == Database.project_id)
        .where(Database.id == database_id)
    ).one()
    body: dict[str, Any] = {
        "project": {"id": row[1], "name": row[2]},
        "database": {"id": database_id, "name": row[0]},
        "differences": count,
        "new": list(fresh[:TOLD]),
    }
    webhooks.announce(session, "drift.found", body)


def _ignored(session: CatalogSession, project_id: int) -> set[str]:
    return set(session.scalars(select(Ignored.digest).where(Ignored.project_id == project_id)))


# --- for people -----------------------------------------------------------------------------


def groups(
    actor: Actor,
    project_id: int | None,
    *,
    limit: int,
    after: int | None = None,
    ignored: bool | None = None,
    digest: str | None = None,
) -> tuple[list[Group], int | None]:
    """The differences of a project, or of each; those that most databases share first.

    The second is what comes next: `after` is how many came before. `ignored` is for those that
    are accepted, or are not; `digest` for one of them.
    """
    actor.require("databases.read")
    if project_id is not None:
        projects.get_project(actor, project_id)
    accepted = exists().where(
        Ignored.project_id == Difference.project_id, Ignored.digest == Difference.digest
    )
    many = func.count().label("many")
    here = (Difference.project_id, Difference.digest)
    query = select(*here, func.min(Difference.says).label("says"), many)
    query = query.join(Database, Database.id == Difference.database_id)
    query = query.where(Database.retired_at.is_(None))
    for column, value in zip(here, (project_id, digest), strict=True):
        if value is not None:
            query = query.where(column == value)
    if ignored is not None:
        query = query.where(accepted if ignored else ~accepted)
    start = after or 0
    query = query.group_by(*here).order_by(many.desc(), *reversed(here))
    rows = db.session.execute(query.offset(start).limit(limit + 1)).all()
    found = _groups(rows[:limit])
    return found, start + limit if len(rows) > limit else None


def _groups(rows: Sequence[Any]) -> list[Group]:
    ids, digests = {row.project_id for row in rows}, {row.digest for row in rows}
    mends: dict[tuple[int, str], list[Mend]] = {}
    here = (Difference.project_id, Difference.digest, Database.dialect)
    query = select(*here, func.min(Difference.mend))
    query = query.join(Database, Database.id == Difference.database_id)
    query = query.where(Difference.project_id.in_(ids), Difference.digest.in_(digests))
    query = query.where(Difference.mend.is_not(None)).group_by(*here).order_by(Database.dialect)
    for project_id, digest, dialect, sql in db.session.execute(query):
        mends.setdefault((project_id, digest), []).append(Mend(dialect=dialect, sql=str(sql)))
    marks = select(Ignored).where(Ignored.project_id.in_(ids), Ignored.digest.in_(digests))
    accepted = {(one.project_id, one.digest): one for one in db.session.scalars(marks)}
    return [
        Group(
            project_id=row.project_id,
            digest=row.digest,
            says=row.says,
            databases=row.many,
            mends=tuple(mends.get((row.project_id, row.digest), ())),
            ignored=accepted.get((row.project_id, row.digest)),
        )
        for row in rows
    ]


def find_digest(actor: Actor, project_id: int, digest: str) -> str:
    """The whole of a digest of which a beginning is given, or DifferenceNotFound."""
    project = projects.get_project(actor, project_id)
    found: set[str] = set()
    for model in (Difference, Ignored) if HEX.fullmatch(digest) else ():
        query = select(model.digest).where(
            model.project_id == project_id, model.digest.startswith(digest, autoescape=True)
        )
        found |= set(db.session.scalars(query.distinct().limit(2)))
    if len(found) != 1:
        why = "may be several: say more of it" if found else "is no difference that was found"
        raise DifferenceNotFound(
            f"{digest} {why} in {project.name}. `flask drifts list {project.name}` shows all."
        )
    return found.pop()


def list_differences(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    project_id: int | None = None,
    database_id: int | None = None,
    digest: str | None = None,
) -> tuple[list[Difference], int | None]:
    """A page of single differences: of one database, or all that share one."""
    actor.require("databases.read")
    query = select(Difference).order_by(Difference.id)
    if after is not None:
        query = query.where(Difference.id > after)
    for column, value in (
        (Difference.project_id, project_id),
        (Difference.database_id, database_id),
        (Difference.digest, digest),
    ):
        if value is not None:
            query = query.where(column == value)
    return page_of(query, limit)


def list_members(
    actor: Actor, project_id: int, digest: str, *, limit: int, after: int | None = None
) -> tuple[list[Database], int | None]:
    """A page of the databases that share a difference, and what to send as `after`."""
    actor.require("databases.read")
    sharing = select(Difference.database_id).where(
        Difference.project_id == project_id, Difference.digest == digest
    )
    query = select(Database).where(Database.id.in_(sharing), Database.retired_at.is_(None))
    if after is not None:
        query = query.where(Database.id > after)
    return page_of(query.order_by(Database.id), limit)


@repeated
def ignore(actor: Actor, project_id: int, digest: str, reason: str) -> Ignored:
    """Accept a difference, for all databases of the project; the reason is kept.

    Raises DifferenceNotFound, or InputInvalid without a reason. Again: another reason.
    """
    actor.require("databases.change")
    digest = find_digest(actor, project_id, digest)
    values = fitting(Ignored, {"reason": reason.strip()})
    if not values["reason"]:
        raise InputInvalid("Say why this difference is accepted.", field="reason")
    try:
        return _ignore(actor, project_id, digest, values["reason"])
    except IntegrityError:  # another did in this very moment: then it is only another reason
        return _ignore(actor, project_id, digest, values["reason"])


def _ignore(actor: Actor, project_id: int, digest: str, reason: str) -> Ignored:
    with writing() as session:
        row = session.scalar(
            select(Ignored).where(Ignored.project_id == project_id, Ignored.digest == digest)
        )
        if row is None:
            says = session.scalar(
                select(Difference.says)
                .where(Difference.project_id == project_id, Difference.digest == digest)
                .limit(1)
            )
            if says is None:
                raise DifferenceNotFound(f"No database has the difference {digest} any more.")
            row = Ignored(project_id=project_id, digest=digest, says=says, by_name="")
            session.add(row)
        row.reason, row.by_name = reason, actor.name[:128]
        session.flush()
        _recount(session, project_id, digest)
        audit.record(
            session,
            actor,
            "drift.ignored",
            ("project", project_id),
            difference=row.says[:500],
            reason=reason,
        )
    return row


@repeated
def unignore(actor: Actor, project_id: int, digest: str) -> None:
    """Accept a difference no more. Raises DifferenceNotFound if it was not accepted."""
    actor.require("databases.change")
    digest = find_digest(actor, project_id, digest)
    with writing() as session:
        row = session.scalar(
            select(Ignored).where(Ignored.project_id == project_id, Ignored.digest == digest)
        )
        if row is None:
            raise DifferenceNotFound(f"The difference {digest[:12]} is not ignored.")
        session.delete(row)
        session.flush()
        _recount(session, project_id, digest)
        audit.record(
            session,
            actor,
            "drift.unignored",
            ("project", project_id),
            difference=row.says[:500],
        )


def _recount(session: CatalogSession, project_id: int, digest: str) -> None:
    """Count anew what differs in every database that has this difference."""
    accepted = select(Ignored.digest).where(Ignored.project_id == project_id)
    count = (
        select(func.count())
        .select_from(Difference)
        .where(Difference.database_id == Database.id, Difference.digest.not_in(accepted))
        .scalar_subquery()
    )
    members = select(Difference.database_id).where(
        Difference.project_id == project_id, Difference.digest == digest
    )
    session.execute(
        update(Database)
        .where(Database.id.in_(members))
        .values(drift=count, updated_at=Database.updated_at)
        .execution_options(synchronize_session=False)
    )
