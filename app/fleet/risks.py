"""What could go wrong with steps of the register, before anybody runs one."""

from collections.abc import Sequence

from app.fleet import revisions
from app.models import Kind, Revision
from headway.plan import sql_risks
from headway.plan.risks import Risk


def risks_of(steps: Sequence[Revision], dialect: str, kind: Kind) -> tuple[Risk, ...]:
    """What to know before these steps run on this kind of database, from the SQL that is kept."""
    if kind not in revisions.WAYS or kind is Kind.STAMP:
        return ()
    return sql_risks.notes(revisions.texts_of(steps, dialect, revisions.WAYS[kind]), dialect)
