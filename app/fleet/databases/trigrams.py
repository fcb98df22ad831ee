"""A search by a part of a name or address, with the help of the catalog's index of trigrams.

PostgreSQL goes along its own by itself, and MariaDB has none. SQLite's is a table beside the
databases, `database_search`, which is asked first.
"""

from sqlalchemy import ColumnElement, text

from app.extensions import db
from app.fleet.core.selectors import Selector
from app.models import SEARCH, Database

MOST = 1000
"""With so many, a page is found sooner by reading in its order, from the first to the last."""
SHORTEST = 3
"""Letters: what is shorter has no trigram."""

IS_THERE = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")
HITS = (
    f"SELECT rowid FROM {SEARCH} "  # noqa: S608  # our own
    f"""WHERE {SEARCH} MATCH '"' || replace(lower(:search), '"', '""') || '"' """
)
FIRST = text(HITS + "ORDER BY rowid LIMIT :most")
LAST = text(HITS + "ORDER BY rowid DESC LIMIT 1")


def conditions(selector: Selector, *, retired: bool = False) -> list[ColumnElement[bool]]:
    """The selector's conditions, and one that its search implies, by which it is found sooner."""
    found = selector.conditions(retired=retired)
    if selector.search and (ids := first_with(selector.search)) is not None:
        if len(ids) < MOST:
            found.append(Database.id.in_(ids))
        else:
            last = db.session.connection().scalar(LAST, {"search": selector.search})
            found.append(Database.id.between(ids[0], last))
    return found


def first_with(search: str) -> list[int] | None:
    """The first thousand databases with this part, retired or not; None without an index."""
    # What is after a NUL, neither the index nor LIKE reads.
    if db.engine.name != "sqlite" or len(search) < SHORTEST or "\0" in search:
        return None
    connection = db.session.connection()
    if connection.scalar(IS_THERE, {"name": SEARCH}) is None:
        return None  # made by a SQLite without FTS5 or its trigrams
    return list(connection.scalars(FIRST, {"search": search, "most": MOST}))
