"""Workers: their loop, heartbeat and periodic tasks, and the recovery of lost runs."""

from app.fleet.workers.registry import (
    CELERY,
    EMBEDDED,
    LOST_SECONDS,
    Life,
    WorkerInfo,
    beat,
    count_alive,
    gone,
    list_workers,
    new_name,
    register,
    stop,
)

__all__ = [
    "CELERY",
    "EMBEDDED",
    "LOST_SECONDS",
    "Life",
    "WorkerInfo",
    "beat",
    "count_alive",
    "gone",
    "list_workers",
    "new_name",
    "register",
    "stop",
]
