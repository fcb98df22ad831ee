"""Differences of the fleet, grouped by what differs; and which of them are ignored."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from app.errors import DifferenceNotFound, InputInvalid
from app.extensions import db
from app.fleet import projects
from app.fleet.core import audit
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import fitting
from app.fleet.drift.checks import count_words
from app.models import Database, Difference, Ignored

DESTROYED = re.compile(r"extra (table|column) (.+)")
HEX = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Fix:
    """The SQL that would remove a difference, on one kind of database."""

    dialect: str | None
    sql: str
    warning: str | None = None
    """What it destroys, in words; None if nothing."""


@dataclass(frozen=True, kw_only=True)
class DifferenceGroup:
    """A difference, and how many databases have it."""

    project_id: int
    digest: str
    says: str
    databases: int
    mends: tuple[Fix, ...]
    ignored: Ignored | None


def fix_warning(says: str, rows: int | None) -> str | None:
    """What the removal of an extra table or column destroys; None of any other difference.

    "drops table city with all its rows: 2 rows when it was last compared". `rows` is the largest
    number of several databases.
    """
    match = DESTROYED.fullmatch(says)
    if match is None:
        return None
    what = "rows" if match[1] == "table" else "values"
    counted = "" if rows is None else f": {count_words(rows, match[1])} when it was last compared"
    return f"drops {match[1]} {match[2]} with all its {what}{counted}"


# --- for people -----------------------------------------------------------------------------


def list_groups(
    actor: Actor,
    project_id: int | None,
    *,
    limit: int,
    after: int | None = None,
    ignored: bool | None = None,
    digest: str | None = None,
) -> tuple[list[DifferenceGroup], int | None]:
    """A page of the differences of one project, or of all; the most frequent first.

    Also returns the `after` of the next page: the number of differences before it. `ignored`
    selects differences that are accepted (True) or not (False); `digest` selects one.
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


def _groups(rows: Sequence[Any]) -> list[DifferenceGroup]:
    ids, digests = {row.project_id for row in rows}, {row.digest for row in rows}
    fixes: dict[tuple[int, str], list[Fix]] = {}
    here = (Difference.project_id, Difference.digest, Database.dialect)
    query = select(*here, func.min(Difference.mend), func.max(Difference.row_count))
    query = query.join(Database, Database.id == Difference.database_id)
    query = query.where(Difference.project_id.in_(ids), Difference.digest.in_(digests))
    query = query.where(Database.drift_at.is_not(None))  # else it may be the revisions' own by now
    query = query.where(Difference.mend.is_not(None)).group_by(*here).order_by(Database.dialect)
    says = {(row.project_id, row.digest): row.says for row in rows}
    for project_id, digest, dialect, sql, most in db.session.execute(query):
        warning = fix_warning(says.get((project_id, digest), ""), most)
        fix = Fix(dialect=dialect, sql=str(sql), warning=warning)
        fixes.setdefault((project_id, digest), []).append(fix)
    marks = select(Ignored).where(Ignored.project_id.in_(ids), Ignored.digest.in_(digests))
    accepted = {(one.project_id, one.digest): one for one in db.session.scalars(marks)}
    return [
        DifferenceGroup(
            project_id=row.project_id,
            digest=row.digest,
            says=row.says,
            databases=row.many,
            mends=tuple(fixes.get((row.project_id, row.digest), ())),
            ignored=accepted.get((row.project_id, row.digest)),
        )
        for row in rows
    ]


def find_digest(actor: Actor, project_id: int, digest: str) -> str:
    """The full digest that begins like this, or DifferenceNotFound."""
    project = projects.get_project(actor, project_id)
    found: set[str] = set()
    for model in (Difference, Ignored) if HEX.fullmatch(digest) else ():
        query = select(model.digest).where(
            model.project_id == project_id, model.digest.startswith(digest, autoescape=True)
        )
        found |= set(db.session.scalars(query.distinct().limit(2)))
    if len(found) != 1:
        why = "is the beginning of several differences" if found else "is not a known difference"
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
    """A page of differences of single databases, filtered by project, database or digest."""
    actor.require("databases.read")
    query = begin_after(select(Difference), Difference.id, after)
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
    """A page of the databases that have a difference, and the `after` of the next page."""
    actor.require("databases.read")
    sharing = select(Difference.database_id).where(
        Difference.project_id == project_id, Difference.digest == digest
    )
    query = select(Database).where(Database.id.in_(sharing), Database.retired_at.is_(None))
    return page_of(begin_after(query, Database.id, after), limit)


@repeated
def ignore(actor: Actor, project_id: int, digest: str, reason: str) -> Ignored:
    """Accept a difference for all databases of the project, with a reason.

    Accepting it again replaces the reason. Raises DifferenceNotFound, or InputInvalid without a
    reason.
    """
    actor.require("databases.change")
    digest = find_digest(actor, project_id, digest)
    actor.require("databases.change", project_id)
    values = fitting(Ignored, {"reason": reason.strip()})
    if not values["reason"]:
        raise InputInvalid("Give the reason why this difference is accepted.", field="reason")
    try:
        return _ignore(actor, project_id, digest, values["reason"])
    except IntegrityError:  # another request did at the same time: replace its reason
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
    """Stop accepting a difference. Raises DifferenceNotFound if it was not accepted."""
    actor.require("databases.change")
    digest = find_digest(actor, project_id, digest)
    actor.require("databases.change", project_id)
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
    """Recount the differences of every database that has this one."""
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


MOST = 500


@dataclass(frozen=True, kw_only=True)
class DatabaseDifference:
    """A difference of one database."""

    digest: str
    says: str
    fix_sql: str | None
    """The SQL that would remove it; None if Headway has none, or was compared before a move."""
    warning: str | None
    """What that SQL destroys, in words; None if nothing."""
    ignored: str | None
    """Why it is accepted; None if it counts."""


@dataclass(frozen=True, kw_only=True)
class DriftCoverage:
    """How many databases there are, how many were compared, and how many of these differ."""

    databases: int
    checked: int
    drifted: int


def differences_of(actor: Actor, database_id: int) -> list[DatabaseDifference]:
    """The differences that the last check of a database found, in order; at most 500."""
    actor.require("databases.read")
    accepted = and_(
        Ignored.project_id == Difference.project_id, Ignored.digest == Difference.digest
    )
    query = (
        select(
            *(Difference.digest, Difference.says, Difference.row_count, Ignored.reason),
            case((Database.drift_at.is_not(None), Difference.mend)).label("mend"),
        )
        .join(Database, Database.id == Difference.database_id)
        .outerjoin(Ignored, accepted)
        .where(Difference.database_id == database_id)
        .order_by(Difference.id)
        .limit(MOST)
    )
    return [
        DatabaseDifference(
            digest=row.digest,
            says=row.says,
            fix_sql=row.mend,
            warning=fix_warning(row.says, row.row_count) if row.mend else None,
            ignored=row.reason,
        )
        for row in db.session.execute(query)
    ]


def drift_coverage(actor: Actor, project_id: int | None = None) -> DriftCoverage:
    """Counts of the databases of a project, or of all: in total, compared, and with drift."""
    actor.require("databases.read")
    here: list[ColumnElement[bool]] = [Database.retired_at.is_(None)]
    if project_id is not None:
        here.append(Database.project_id == project_id)
    row = db.session.execute(
        select(
            func.count(),
            func.count(Database.drift),
            func.count(case((Database.drift > 0, 1))),
        ).where(*here)
    ).one()
    return DriftCoverage(databases=row[0], checked=row[1], drifted=row[2])
