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

    `texts`: revision -> the SQL that it sends, in their order. `which`: conditions on `Database`.
    """
    makes = {f"extra {what}": revision for what, revision in sql_risks.makes(texts).items()}
    if not makes:
        return ()
    rows = db.session.execute(
        select(Difference.says, func.count())
        .join(Database, Database.id == Difference.database_id)
        .where(
            Difference.project_id == project_id,
            Difference.digest.in_([digest_of(says) for says in makes]),
            *which,
        )
        .group_by(Difference.says)
        .order_by(Difference.says)
    )
    found = []
    for extra, count in rows:
        has = "database has" if count == 1 else "databases have"
        says = (
            f"makes {extra.removeprefix('extra ')}, which {count:,} {has} already, as the last "
            "check found: it fails there"
        )
        found.append(Risk(revision=makes[extra], kind="there", says=says))
    return tuple(found)
