"""Counts of databases by project and label, updated with every change."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import func, select, union_all

from app.extensions import db
from app.fleet.core.transactions import CatalogSession
from app.fleet.counts import counters
from app.models import Database, Label, LabelCount

Key = tuple[int, str, str]
"""Project, name and value of a label."""


def counts(name: str, project_id: int | None, *, most: int) -> dict[str, int]:
    """Value of this label -> the number of databases with it, the most frequent values first."""
    number = func.sum(LabelCount.databases)
    query = select(LabelCount.value, number).where(LabelCount.name == name)
    if project_id is not None:
        query = query.where(LabelCount.project_id == project_id)
    found = db.session.execute(
        query.group_by(LabelCount.value)
        .having(number > 0)
        .order_by(number.desc(), LabelCount.value)
        .limit(most)
    )
    return {value: int(count) for value, count in found}


def keys_of(project_id: int, labels: Iterable[Mapping[str, str]]) -> Counter[Key]:
    """The counts of databases with these labels."""
    return Counter((project_id, name, value) for one in labels for name, value in one.items())


def shift(
    session: CatalogSession, *, left: Iterable[Key] = (), entered: Iterable[Key] = ()
) -> None:
    """Count labels that databases lost and got, as the last thing in a transaction."""
    counters.shift(session, LabelCount, left, entered)


@contextmanager
def kept(session: CatalogSession, ids: Sequence[int]) -> Iterator[None]:
    """Count what the block does to these databases: their labels, and whether they are retired."""
    before = _of(session, ids)
    yield
    shift(session, left=before, entered=_of(session, ids))


def settle(session: CatalogSession, project_id: int) -> None:
    """Make the counts of a project what its labels say, whatever they were before.

    An earlier release, in a rolling deployment, changes labels without them.
    """
    real = (
        select(Label.name, Label.value, func.count())
        .join(Database, Label.database_id == Database.id)
        .where(Database.project_id == project_id, Database.retired_at.is_(None))
        .group_by(Label.name, Label.value)
    )
    kept = select(LabelCount.name, LabelCount.value, -LabelCount.databases)
    # One statement: it sees of another transaction both, its labels and their counts, or neither.
    rows = session.execute(union_all(real, kept.where(LabelCount.project_id == project_id)))
    missing: Counter[Key] = Counter()
    for name, value, number in rows:
        missing[project_id, name, value] += number
    shift(session, entered=missing)


def _of(session: CatalogSession, ids: Sequence[int]) -> Counter[Key]:
    if not ids:
        return Counter()
    query = (
        select(Database.project_id, Label.name, Label.value, func.count())
        .join(Label, Label.database_id == Database.id)
        .where(Database.id.in_(ids), Database.retired_at.is_(None))
        .group_by(Database.project_id, Label.name, Label.value)
    )
    return Counter({(key, name, value): n for key, name, value, n in session.execute(query)})
