"""Rollouts: an operation on many databases, in waves, with gates, retries and undo."""

from app.fleet.rollouts.actions import (
    ACTIONS,
    allowed_actions,
    approve_rollout,
    cancel_rollout,
    pause_rollout,
    rehearse_rollout,
    resume_rollout,
    retry_rollout,
    start_rollout,
    undo_rollout,
)
from app.fleet.rollouts.crud import (
    create_rollout,
    find,
    get_rollout,
    last_migrating,
    list_rollouts,
    record,
)
from app.fleet.rollouts.previews import Preview, preview, preview_undo, wave_sizes
from app.fleet.rollouts.request import (
    CONCURRENCY,
    LONGEST_RUN,
    MOST_AT_ONCE,
    OPERATIONS,
    PER_SERVER,
    TIMEOUT,
    new_rollout,
)

__all__ = [
    "ACTIONS",
    "CONCURRENCY",
    "LONGEST_RUN",
    "MOST_AT_ONCE",
    "OPERATIONS",
    "PER_SERVER",
    "TIMEOUT",
    "Preview",
    "allowed_actions",
    "approve_rollout",
    "cancel_rollout",
    "create_rollout",
    "find",
    "get_rollout",
    "last_migrating",
    "list_rollouts",
    "new_rollout",
    "pause_rollout",
    "preview",
    "preview_undo",
    "record",
    "rehearse_rollout",
    "resume_rollout",
    "retry_rollout",
    "start_rollout",
    "undo_rollout",
    "wave_sizes",
]
