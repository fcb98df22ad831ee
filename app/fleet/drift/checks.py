"""Compare a database with the schema that its revisions make, and store the differences."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, select, update

from app.fleet import webhooks
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.isolation.remote import RemoteDatabase
from app.models import Database, Difference, Ignored, Project
from headway.schema.differences import MOST_ROWS


class FoundDifference(NamedTuple):
    """A difference of a database, to be stored."""

    says: str
    fix: str | None = None
    """The SQL that would remove it, if there is any."""
    rows: int | None = None
    """How many rows or values that SQL would delete; None if not known."""


SIDES = {"extra": "is there, and no revision made it", "missing": "is missing here"}
MOST_NAMED = 20
"""How many differences an event names."""


def compare_and_store(database: Database, member: RemoteDatabase) -> int:
    """Compare a database with the schema that its revisions make, and store the differences.

    Returns the number of differences that are not ignored. For workers: the project's revisions
    are run on an empty database of the same kind.
    """
    return store_differences(database, _compare(member))


def explain_failure(database: Database, member: RemoteDatabase, error: str) -> str:
    """Compare a database whose migration failed, store the differences, and say which it met.

    That is a sentence on the first object that is extra or missing and that the error names:
    "Compared at once: table city is there, and no revision made it (2 rows)."; "" if there is none.
    """
    found = _compare(member)
    store_differences(database, found)
    words = set(re.findall(r"\w+", error))
    for one in found:
        side, _, thing = one.says.partition(" ")
        if side not in SIDES or not words.issuperset(re.findall(r"\w+", thing)[-1:]):
            continue
        rows = "" if one.rows is None else f" ({count_words(one.rows, thing)})"
        return f"Compared at once: {thing} {SIDES[side]}{rows}."
    return ""


def count_words(rows: int, thing: str) -> str:
    """How many rows a table or values a column has: "2 rows", "more than 10,000 values"."""
    what = "row" if thing.startswith("table") else "value"
    if rows > MOST_ROWS:
        return f"more than {MOST_ROWS:,} {what}s"
    return f"{rows:,} {what}{'s'[: rows != 1]}"


def _compare(member: RemoteDatabase) -> list[FoundDifference]:
    drift = member.check()
    return list(map(FoundDifference, drift.differences, drift.fixes, drift.rows))


@repeated
def store_differences(
    database: Database, found: Sequence[FoundDifference | tuple[str, str | None]]
) -> int:
    """Store the differences of a database, in place of those of the last check.

    Returns the number of differences that are not ignored. Sends `drift.found` if there is one
    that the last check did not find.
    """
    database_id, project_id = database.id, database.project_id
    by_words = {one[0]: FoundDifference(*one) for one in found}
    with writing() as session:
        here = Difference.database_id == database_id
        before = set(session.scalars(select(Difference.digest).where(here)))
        session.execute(delete(Difference).where(here).execution_options(synchronize_session=False))
        rows = {digest_of(says): one for says, one in sorted(by_words.items())}
        session.add_all(
            Difference(
                project_id=project_id,
                database_id=database_id,
                digest=digest,
                says=one.says,
                mend=one.fix,
                row_count=one.rows,
            )
            for digest, one in rows.items()
        )
        ignored = _ignored(session, project_id)
        counted = rows.keys() - ignored
        _count(session, database_id, len(counted))
        if fresh := sorted(rows[digest].says for digest in counted - before):
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
