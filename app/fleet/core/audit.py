"""The audit trail: an event is written in the transaction of its change, and never modified."""

from typing import Any

from sqlalchemy import select

from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.models import Event

SUBJECTS = ("account", "token", "project", "database", "rollout", "webhook", "catalog")
"""The types of subjects of events."""


def record(
    session: CatalogSession,
    actor: Actor,
    action: str,
    subject: tuple[str, int | None],
    **detail: Any,
) -> None:
    """Add an event to the current transaction. `detail` must not contain secrets."""
    kind, key = subject
    session.add(
        Event(
            actor_id=actor.id,
            actor_name=actor.name[:128],
            action=action,
            subject_type=kind,
            subject_id=key,
            detail=detail,
            request_id=actor.request_id,
            ip=actor.ip,
        )
    )


def list_events(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    action: str | None = None,
    subject_type: str | None = None,
    subject_id: int | None = None,
    actor_id: int | None = None,
) -> tuple[list[Event], int | None]:
    """A page of events, newest first, and the `after` of the next page."""
    actor.require("events.read")
    query = begin_after(select(Event), Event.id, after, newest=True)
    for column, value in (
        (Event.action, action),
        (Event.subject_type, subject_type),
        (Event.subject_id, subject_id),
        (Event.actor_id, actor_id),
    ):
        if value is not None:
            query = query.where(column == value)
    return page_of(query, limit)
