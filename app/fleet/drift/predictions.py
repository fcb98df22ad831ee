"""The risks of revisions on databases, with what checks have found there."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, func, select

from app.extensions import db
from app.fleet.drift.checks import digest_of
from app.models import Database, Difference, Kind
from headway.plan import sql_risks
from headway.plan.risks import Risk


def risks_of(
    project_id: int,
    texts: Mapping[str, str | None],
    dialect: str,
    kind: Kind,
    *which: ColumnElement[bool],
) -> tuple[Risk, ...]:
    """The risks of revisions on databases of one kind, with what is in the way of an upgrade there.

    `texts`: revision -> the SQL that it sends, in their order. `which`: conditions on `Database`.
    """
    risks = sql_risks.notes(texts, dialect)
    return risks + _in_the_way(project_id, texts, *which) if kind is Kind.UPGRADE else risks


def _in_the_way(
    project_id: int, texts: Mapping[str, str | None], *which: ColumnElement[bool]
) -> tuple[Risk, ...]:
    """What the revisions make and is there already, as the last check of each database says.

    Of databases that were not compared since they last moved, nothing is known.
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
