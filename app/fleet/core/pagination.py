"""Keyset pagination: a page begins after the last row of the previous one."""

from typing import Protocol, TypeVar

from sqlalchemy import BigInteger, Select
from sqlalchemy.orm import QueryableAttribute

from app.extensions import db
from app.fleet.core.validation import LARGEST_ID


class HasId(Protocol):
    """A row with a number that orders it."""

    @property
    def id(self) -> int:
        """The number."""


Row = TypeVar("Row", bound=HasId)
LARGEST_BIG_ID = 2**63 - 1


def begin_after(
    query: "Select[Row]", key: QueryableAttribute[int], after: int | None, *, newest: bool = False
) -> "Select[Row]":
    """The query in the order of this number, beginning after one; `newest`: the largest first."""
    query = query.order_by(key.desc() if newest else key)
    if after is None:
        return query
    # A server refuses what the column cannot hold.
    last = min(after, LARGEST_BIG_ID if isinstance(key.type, BigInteger) else LARGEST_ID)
    return query.where(key < last if newest else key > last)


def page_of(query: "Select[Row]", limit: int) -> tuple[list[Row], int | None]:
    """Up to `limit` rows of an ordered query, and the `after` of the next page, if there is one."""
    found = list(db.session.scalars(query.limit(limit + 1)))
    return found[:limit], found[limit - 1].id if len(found) > limit else None
