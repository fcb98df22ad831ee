"""Differences as a person asks for them: of one database, and how many were looked for at all."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, select

from app.extensions import db
from app.fleet.actors import Actor
from app.models import Database, Difference, Ignored

MOST = 500


@dataclass(frozen=True, kw_only=True)
class Differs:
    """One difference of a database."""

    digest: str
    says: str
    mend: str | None
    """The SQL that would take it away; None where there is none."""
    ignored: str | None
    """Why it is accepted; None if it counts."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """How far drift was looked for."""

    databases: int
    checked: int
    drifted: int


def differences_of(actor: Actor, database_id: int) -> list[Differs]:
    """What the last check of a database found, in the order of the words; at most 500."""
    actor.require("databases.read")
    accepted = and_(
        Ignored.project_id == Difference.project_id, Ignored.digest == Difference.digest
    )
    query = (
        select(Difference.digest, Difference.says, Difference.mend, Ignored.reason)
        .outerjoin(Ignored, accepted)
        .where(Difference.database_id == database_id)
        .order_by(Difference.id)
        .limit(MOST)
    )
    return [
        Differs(digest=row.digest, says=row.says, mend=row.mend, ignored=row.reason)
        for row in db.session.execute(query)
    ]


def checked(actor: Actor, project_id: int | None = None) -> Checked:
    """How many databases of a project, or of all, were ever compared with their revisions."""
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
    return Checked(databases=row[0], checked=row[1], drifted=row[2])
