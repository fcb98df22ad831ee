"""Drift: databases compared with what their revisions make, and what is accepted of it."""

from app.fleet.drift.checks import check, digest_of, look_at
from app.fleet.drift.groups import (
    Differs,
    Group,
    checked,
    differences_of,
    find_digest,
    ignore,
    list_differences,
    list_groups,
    list_members,
    unignore,
)

__all__ = [
    "Differs",
    "Group",
    "check",
    "checked",
    "differences_of",
    "digest_of",
    "find_digest",
    "ignore",
    "list_differences",
    "list_groups",
    "list_members",
    "look_at",
    "unignore",
]
