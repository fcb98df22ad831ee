"""Rollouts: an operation on many databases, in waves, with gates, retries and undo."""

from app.fleet.rollouts.actions import (
    VERBS,
    approve_rollout,
    cancel_rollout,
    pause_rollout,
    rehearse_rollout,
    resume_rollout,
    retry_rollout,
    start_rollout,
    undo_rollout,
    verbs,
)
from app.fleet.rollouts.crud import create_rollout, find, get_rollout, list_rollouts, record
from app.fleet.rollouts.previews import Group, Preview, preview
from app.fleet.rollouts.request import (
    CONCURRENCY,
    LONGEST_RUN,
    MOST_AT_ONCE,
    OPERATIONS,
    PER_SERVER,
    TIMEOUT,
    drafted,
)

__all__ = [
    "CONCURRENCY",
    "LONGEST_RUN",
    "MOST_AT_ONCE",
    "OPERATIONS",
    "PER_SERVER",
    "TIMEOUT",
    "VERBS",
    "Group",
    "Preview",
    "approve_rollout",
    "cancel_rollout",
    "create_rollout",
    "drafted",
    "find",
    "get_rollout",
    "list_rollouts",
    "pause_rollout",
    "preview",
    "record",
    "rehearse_rollout",
    "resume_rollout",
    "retry_rollout",
    "start_rollout",
    "undo_rollout",
    "verbs",
]
