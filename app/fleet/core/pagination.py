"""Keyset pages: the next one begins after a row, wherever others came or went."""

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
    """So many rows of an ordered query, and what to send as `after` for the next page."""
    found = list(db.session.scalars(query.limit(limit + 1)))
    return found[:limit], found[limit - 1].id if len(found) > limit else None
