"""The list of databases in an order of one's choice, and how many a choice has."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from app.errors import DatabaseNotFound, InputInvalid
from app.extensions import db
from app.fleet.core.pagination import page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.core.validation import is_id, parse_whole
from app.fleet.counts import positions
from app.fleet.databases import trigrams
from app.fleet.databases.crud import SHOWN, list_databases
from app.models import Database
from app.models.columns import unindexed

MOST_COUNTED = 10_000


class Order(StrEnum):
    """What a list is ordered by: each goes along an index, so that a page costs the same."""

    REGISTERED = "registered"
    NAME = "name"  # within each project
    POSITION = "position"


KEYS: dict[Order, tuple[Any, ...]] = {
    Order.REGISTERED: (Database.id,),
    Order.NAME: (Database.project_id, Database.name),
    Order.POSITION: (Database.position, Database.id),
}
"""Columns of which no two databases share all."""


def sorted_databases(
    actor: Actor,
    selector: Selector,
    *,
    limit: int,
    order: Order = Order.REGISTERED,
    backwards: bool = False,
    after: str | None = None,
    retired: bool = False,
) -> tuple[list[Database], str | None]:
    """A page of the chosen databases, and what to send as `after` for the next one.

    Raises InputInvalid for an `after` that is none of this order.
    """
    actor.require("databases.read")
    begins = _begins(order, after) if after else None
    if order is Order.REGISTERED and not backwards:
        last = begins[0] if begins else None
        found, following = list_databases(actor, selector, limit=limit, after=last, retired=retired)
        return found, str(following) if following else None
    keys = KEYS[order]
    query = select(Database).where(*_conditions(selector, retired=retired))
    if begins:
        query = query.where(_beyond(keys, begins, backwards=backwards))
    query = query.order_by(*((key.desc() if backwards else key) for key in keys))
    found, more = page_of(query.options(*SHOWN), limit)
    return found, _text(order, found[-1]) if more else None


def count_databases(actor: Actor, selector: Selector, *, retired: bool = False) -> int | None:
    """How many are chosen; None for more than 10,000, where counting would take too long."""
    actor.require("databases.read")
    if not retired and set(selector.as_json()) <= {"project_id", "positions", "current"}:
        return _kept(selector)
    wanted = trigrams.conditions(selector, retired=retired)
    some = select(Database.id).where(*wanted).limit(MOST_COUNTED + 1)
    number = db.session.scalar(select(func.count()).select_from(some.subquery())) or 0
    return number if number <= MOST_COUNTED else None


def _conditions(selector: Selector, *, retired: bool) -> list[ColumnElement[bool]]:
    """The same as the selector's; the living, who are nearly all, not by their index."""
    first, *rest = trigrams.conditions(selector, retired=retired)
    return [first if retired else unindexed(Database.retired_at).is_(None), *rest]


def _kept(selector: Selector) -> int:
    """How many databases the selector has, from the counts that are kept with each move."""
    return sum(
        count.databases
        for count in positions.counts(selector.project_id)
        if (not selector.positions or count.position in selector.positions)
        and selector.current in (None, count.current)
    )


def _begins(order: Order, after: str) -> list[Any]:
    """The last row's keys, out of `7`, `1:acme` or `behind:7`."""
    parts = after.split(":", 1)
    is_number = [key.type.python_type is int for key in KEYS[order]]
    try:
        return [
            (parse_whole(part) or 0) if number else part
            for part, number in zip(parts, is_number, strict=True)
        ]
    except (InputInvalid, ValueError):
        raise InputInvalid(
            "There is no such page of this list. Begin again at the first page."
        ) from None


def _text(order: Order, last: Database) -> str:
    return ":".join(str(getattr(last, key.key)) for key in KEYS[order])


def _beyond(keys: tuple[Any, ...], values: list[Any], *, backwards: bool) -> Any:
    """The rows after these values. Spelled out: not every server goes along an index by tuples."""
    first, value = keys[0], values[0]
    further = first < value if backwards else first > value
    if len(keys) == 1:
        return further
    rest = and_(first == value, _beyond(keys[1:], values[1:], backwards=backwards))
    return and_(first <= value if backwards else first >= value, or_(further, rest))


MOST = 10_000
AT_ONCE = 1000


def ids_of(actor: Actor, project_id: int | None, names: Sequence[str]) -> list[int]:
    """The databases of a project that are called like this, or have this id; each once.

    Raises DatabaseNotFound with the first few that there are not, or InputInvalid for too many.
    """
    actor.require("databases.read")
    words = list(dict.fromkeys(names))
    if len(words) > MOST:
        raise InputInvalid(
            f"You named {len(words):,} databases; at most {MOST:,} are allowed. Select by labels "
            "instead."
        )
    found: dict[str, int] = {}
    for start in range(0, len(words), AT_ONCE):
        found |= _some(project_id, words[start : start + AT_ONCE])
    if missing := [word for word in words if word not in found]:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""  # noqa: PLR2004
        raise DatabaseNotFound(
            f"The project has no database {', '.join(missing[:5])}{more}. Retired databases do not "
            "count."
        )
    return sorted(set(found.values()))


def _some(project_id: int | None, words: Sequence[str]) -> dict[str, int]:
    ids = [int(word) for word in words if is_id(word)]
    here = select(Database.id, Database.name).where(
        Database.project_id == project_id, Database.retired_at.is_(None)
    )
    by_id = db.session.execute(here.where(Database.id.in_(ids)))
    by_name = db.session.execute(here.where(Database.name.in_(words)))
    return {str(row.id): row.id for row in by_id} | {row.name: row.id for row in by_name}
