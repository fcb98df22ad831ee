"""Schemas of the audit trail."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.api.schemas.common import AFTER, LARGEST_EVENT, LARGEST_INTEGER, NO_CONTROL, Out, Page


class EventOut(Out):
    """One line of the audit trail."""

    id: int
    at: datetime
    actor_id: int | None
    actor_name: str
    action: str
    subject_type: str
    subject_id: int | None
    detail: dict[str, Any]
    request_id: str | None
    ip: str | None


class EventQuery(Page):
    """Filters for a list of events."""

    after: int | None = Field(None, ge=0, le=LARGEST_EVENT, description=AFTER)
    action: str | None = Field(None, max_length=64, pattern=NO_CONTROL)
    subject_type: str | None = Field(None, max_length=32, pattern=NO_CONTROL)
    subject_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    actor_id: int | None = Field(
        None, ge=1, le=LARGEST_INTEGER, description="The account that did it."
    )


class EventPage(BaseModel):
    """A page of events, newest first."""

    items: list[EventOut]
    next: int | None
