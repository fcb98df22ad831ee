"""Drift: differences between databases and their revisions, and which of them are accepted."""

from app.fleet.drift.checks import (
    compare_and_store,
    digest_of,
    explain_failure,
    store_differences,
)
from app.fleet.drift.groups import (
    DatabaseDifference,
    DifferenceGroup,
    differences_of,
    drift_coverage,
    find_digest,
    ignore,
    list_differences,
    list_groups,
    list_members,
    unignore,
)

__all__ = [
    "DatabaseDifference",
    "DifferenceGroup",
    "compare_and_store",
    "differences_of",
    "digest_of",
    "drift_coverage",
    "explain_failure",
    "find_digest",
    "ignore",
    "list_differences",
    "list_groups",
    "list_members",
    "store_differences",
    "unignore",
]
