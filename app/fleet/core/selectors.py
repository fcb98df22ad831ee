"""Selectors: choose databases by project, id, label, owner, position and more."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import aliased

from app.errors import InputInvalid
from app.models import Database, Label
from headway.types import Position

POSITIONS = (*(position.value for position in Position), "unknown")
"""All positions of a database; `unknown` until it is first probed."""


@dataclass(frozen=True, kw_only=True)
class Selector:
    """A filter for databases: all given fields must match. Retired databases never match.

    Lists, rollouts and counts use it; a rollout stores it as JSON.
    """

    project_id: int | None = None
    ids: tuple[int, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of them must match; an empty value matches any."""
    owner_id: int | None = None
    positions: tuple[str, ...] = ()
    current: str | None = None
    """The current revisions, joined by `+`."""
    search: str | None = None
    """Part of the name or address."""
    drifted: bool | None = None
    pinned: bool | None = None
    strategy: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Selector":
        """From the fields of a request, or the JSON of a rollout. Raises InputInvalid."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise InputInvalid(f"A selector has no {', '.join(sorted(unknown))}.")
        kept = {name: value for name, value in values.items() if value is not None}
        for name in ("ids", "positions"):
            if name in kept:
                kept[name] = tuple(kept[name])
        for position in kept.get("positions", ()):
            if position not in POSITIONS:
                raise InputInvalid(
                    f"There is no position {position!r}. Use one of: {', '.join(POSITIONS)}."
                )
        return cls(**kept)

    def as_json(self) -> dict[str, Any]:
        """The given fields as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None and value not in ((), {})
        }

    def conditions(self, *, retired: bool = False) -> list[ColumnElement[bool]]:
        """The filter as conditions on `Database`; with `retired`, for retired databases only."""
        gone = Database.retired_at
        found: list[ColumnElement[bool]] = [
            _among(gone.is_not(None)) if retired else gone.is_(None)
        ]
        for column, value in (
            (Database.project_id, self.project_id),
            (Database.owner_id, self.owner_id),
            (Database.current, self.current),
            (Database.strategy, self.strategy),
        ):
            if value is not None:
                found.append(column == value)
        if self.ids is not None:
            found.append(Database.id.in_(self.ids))
        if self.positions:
            positions = ["" if position == "unknown" else position for position in self.positions]
            found.append(Database.position.in_(positions))
        found += [_labelled(name, value) for name, value in self.labels.items()]
        if self.search:
            pattern = func.lower(_pattern(self.search))  # by the catalog, as `sought` was made
            found.append(Database.sought.like(pattern, escape="/"))
        if self.drifted is not None:
            found.append(_among(Database.drift > 0) if self.drifted else Database.drift == 0)
        if self.pinned is not None:
            now = datetime.now(UTC)
            pinned = _among(Database.pin_until > now)
            found.append(pinned if self.pinned else _unpinned(now))
        return found


def _among(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    # A subquery, so that few of many are found by their index and not by reading all in order.
    return Database.id.in_(select(Database.id).where(condition))


def _labelled(name: str, value: str) -> ColumnElement[bool]:
    # A subquery that starts from the label: few of many are found by its index.
    if value == "":
        label = aliased(Label)  # or it would be taken for the one that a list goes along
        return exists().where(label.database_id == Database.id, label.name == name)
    found = select(Label.database_id).where(Label.name == name, Label.value == value)
    return Database.id.in_(found)


def _pattern(search: str) -> str:
    for special in "/%_":
        search = search.replace(special, f"/{special}")
    return f"%{search}%"


def _unpinned(now: datetime) -> ColumnElement[bool]:
    return or_(Database.pin_until.is_(None), Database.pin_until <= now)
