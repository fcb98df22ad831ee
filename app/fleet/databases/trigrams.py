"""A search by a part of a name or address, with the help of the catalog's index of trigrams.

PostgreSQL goes along its own by itself, and MariaDB has none. SQLite's is a table beside the
databases, `database_search`, which is asked first.
"""

from sqlalchemy import ColumnElement, text

from app.extensions import db
from app.fleet.core.selectors import Selector
from app.models import SEARCH, Database

MOST = 1000
"""With so many, a page is found sooner by reading in its order."""
SHORTEST = 3
"""Letters: what is shorter has no trigram."""

IS_THERE = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")
FOUND = text(
    f"SELECT rowid FROM {SEARCH} "  # noqa: S608  # our own
    f"""WHERE {SEARCH} MATCH '"' || replace(lower(:search), '"', '""') || '"' LIMIT :most"""
)


def conditions(selector: Selector, *, retired: bool = False) -> list[ColumnElement[bool]]:
    """The selector's conditions, and one that says the same of few databases by their ids."""
    found = selector.conditions(retired=retired)
    ids = ids_with(selector.search or "")
    return found if ids is None else [*found, Database.id.in_(ids)]


def ids_with(search: str) -> list[int] | None:
    """All databases with this part, retired or not; None where the index does not help."""
    # What is after a NUL, neither the index nor LIKE reads.
    if db.engine.name != "sqlite" or len(search) < SHORTEST or "\0" in search:
        return None
    connection = db.session.connection()
    if connection.scalar(IS_THERE, {"name": SEARCH}) is None:
        return None  # made by a SQLite without FTS5 or its trigrams
    found = connection.scalars(FOUND, {"search": search, "most": MOST}).all()
    return list(found) if len(found) < MOST else None
