"""Keyset pagination: a page begins after the last row of the previous one."""

from typing import Protocol, TypeVar

from sqlalchemy import Select

from app.extensions import db


class HasId(Protocol):
    """A row with a number that orders it."""

    @property
    def id(self) -> int:
        """The number."""


Row = TypeVar("Row", bound=HasId)


def page_of(query: "Select[Row]", limit: int) -> tuple[list[Row], int | None]:
    """Up to `limit` rows of an ordered query, and the `after` of the next page, if there is one."""
    found = list(db.session.scalars(query.limit(limit + 1)))
    return found[:limit], found[limit - 1].id if len(found) > limit else None
