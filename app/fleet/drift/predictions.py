"""What checks have found in databases, beside what revisions are about to make there."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, func, select

from app.extensions import db
from app.fleet.drift.checks import digest_of
from app.models import Database, Difference
from headway.plan import sql_risks
from headway.plan.risks import Risk


def in_the_way(
    project_id: int, texts: Mapping[str, str | None], *which: ColumnElement[bool]
) -> tuple[Risk, ...]:
    """What the revisions make and is there already, as the last check of each database says.

    Of databases that were not compared since they last moved, nothing is known.

    `texts`: revision -> the SQL that it sends, in their order. `which`: conditions on `Database`.
    """
    makes = {
        digest_of(f"extra {what}"): (what, revision)
        for what, revision in sql_risks.makes(texts).items()
    }
    if not makes:
        return ()
    rows = db.session.execute(
        select(Difference.digest, func.count())
        .join(Database, Database.id == Difference.database_id)
        .where(
            Difference.project_id == project_id,
            Difference.digest.in_(makes),
            Database.drift_at.is_not(None),
            *which,
        )
        .group_by(Difference.digest)
    )
    found = []
    for digest, count in rows:
        what, revision = makes[digest]
        has = "database has" if count == 1 else "databases have"
        says = (
            f"makes {what}, which {count:,} {has} already, as the last check found: it fails there"
        )
        found.append(Risk(revision=revision, kind="there", says=says))
    return tuple(sorted(found, key=lambda risk: risk.says))
