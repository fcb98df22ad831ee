"""Losses that a revision declares: `loses_rows` and `loses`."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Announced:
    """Losses that a revision declares."""

    rows: tuple[str, ...] = ()
    """Tables that it removes rows from: `loses_rows`."""
    objects: tuple[str, ...] = ()
    """Triggers, indexes and tables that it loses, or parts of them: `loses`."""


def announced_by(module: object) -> Announced:
    """The losses that a revision's module declares."""
    rows, objects = (getattr(module, name, ()) for name in ("loses_rows", "loses"))
    return Announced(rows=_several(rows), objects=_several(objects))


def _several(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
