"""Bring a database to head before a program serves it, whatever the program.

from headway.boot import bring_to_head

bring_to_head("migrations", "postgresql://…", wait=60)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.boot.boot import Boot, Booted, bring_to_head
    from headway.boot.progress import Report
    from headway.types import Progress
    from headway.words import Words

__all__ = ["Boot", "Booted", "Progress", "Report", "Words", "bring_to_head"]

PLACES = {
    "Progress": "headway.types",
    "Report": "headway.boot.progress",
    "Words": "headway.words",
}
"""Imported when first asked for: a gunicorn master that reads `headway.boot.gunicorn` keeps what it
imports, and its workers with it, after a reload that brings newer code."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'headway.boot' has no attribute {name!r}")
    return getattr(import_module(PLACES.get(name, "headway.boot.boot")), name)
