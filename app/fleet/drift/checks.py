"""Compare a database with the schema that its revisions make, and store the differences."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update

from app.fleet import webhooks
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.isolation.remote import RemoteDatabase
from app.models import Database, Difference, Ignored, Project

FoundDifference = tuple[str, str | None]
"""A difference in words, and the SQL that would remove it, if there is any."""


MOST_NAMED = 20
"""How many differences an event names."""


def compare_and_store(database: Database, member: RemoteDatabase) -> int:
    """Compare a database with the schema that its revisions make, and store the differences.

    Returns the number of differences that are not ignored. For workers: the project's revisions
    are run on an empty database of the same kind.
    """
    drift = member.check()
    return store_differences(database, list(zip(drift.differences, drift.fixes, strict=True)))


@repeated
def store_differences(database: Database, found: Sequence[FoundDifference]) -> int:
    """Store the differences of a database, in place of those of the last check.

    Returns the number of differences that are not ignored. Sends `drift.found` if there is one
    that the last check did not find.
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
            count = len(counted)
            webhooks.announce(
                session, "drift.found", lambda: _found(session, database_id, fresh, count)
            )
    return len(counted)


def digest_of(says: str) -> str:
    """The digest by which equal differences of several databases are grouped."""
    return hashlib.sha256(says.encode()).hexdigest()


def _count(session: CatalogSession, database_id: int, count: int) -> None:
    session.execute(
        update(Database)
        .where(Database.id == database_id)
        .values(drift=count, drift_at=datetime.now(UTC), updated_at=Database.updated_at)
        .execution_options(synchronize_session=False)
    )


def _found(
    session: CatalogSession, database_id: int, fresh: Sequence[str], count: int
) -> dict[str, Any]:
    """The data of the event."""
    row = session.execute(
        select(Database.name, Project.id, Project.name)
        .join(Project, Project.id == Database.project_id)
        .where(Database.id == database_id)
    ).one()
    return {
        "project": {"id": row[1], "name": row[2]},
        "database": {"id": database_id, "name": row[0]},
        "differences": count,
        "new": list(fresh[:MOST_NAMED]),
    }


def _ignored(session: CatalogSession, project_id: int) -> set[str]:
    return set(session.scalars(select(Ignored.digest).where(Ignored.project_id == project_id)))
