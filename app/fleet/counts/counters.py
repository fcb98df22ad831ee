"""Counts of databases that are kept, so that an overview does not count all of them.

A row has a key of several columns and the number of `databases` that have it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from app.extensions import Base
from app.fleet.core.transactions import CatalogSession

Key = tuple[Any, ...]


def shift(
    session: CatalogSession, model: type[Base], left: Iterable[Key], entered: Iterable[Key]
) -> None:
    """Count databases that left one key and entered another. Either may be a Counter of keys.

    Call it last in the transaction that changes them: other transactions wait for these rows.
    """
    deltas = Counter(entered)
    deltas.subtract(Counter(left))
    # In one order everywhere, so that two who move databases at once do not wait for each other.
    for key, delta in sorted(item for item in deltas.items() if item[1]):
        _add(session, model, key, delta)


def _add(session: CatalogSession, model: type[Base], key: Key, delta: int) -> None:
    columns: Mapping[str, Any] = {
        column.key: value
        for column, value in zip(model.__table__.primary_key.columns, key, strict=True)  # type: ignore[attr-defined]
    }
    number = model.__table__.c.databases
    more = update(model).filter_by(**columns).values(databases=number + delta)
    done = session.execute(more.execution_options(synchronize_session=False))
    if done.rowcount:  # type: ignore[attr-defined]
        return
    try:
        with session.begin_nested():
            session.execute(insert(model).values(**columns, databases=delta))
    except IntegrityError:  # another was the first here in this very moment
        session.execute(more.execution_options(synchronize_session=False))
