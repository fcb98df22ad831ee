"""What a revision says that it means to lose."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Announced:
    """What a script says that it means to lose."""

    rows: tuple[str, ...] = ()
    """Tables whose rows it removes: `loses_rows`."""
    objects: tuple[str, ...] = ()
    """Triggers, indexes and tables of which it loses something: `loses`."""


def announced_by(module: object) -> Announced:
    """What a revision's module says."""
    rows, objects = (getattr(module, name, ()) for name in ("loses_rows", "loses"))
    return Announced(rows=_several(rows), objects=_several(objects))


def _several(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
