"""Schemas of workers."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas.common import Out, Page
from app.fleet.workers import Life


class WorkerOut(Out):
    """A process that migrates databases."""

    id: int
    name: str
    host: str
    pid: int
    release: str
    engine: str = Field(examples=["embedded", "celery"])
    done: int = Field(description="The number of runs it has finished.")
    state: Life
    started_at: datetime
    beat_at: datetime = Field(description="The time of its last heartbeat.")


class WorkerQuery(Page):
    """Filters for a list of workers."""

    gone: bool = Field(False, description="Include workers that ended within the last week.")


class WorkerPage(BaseModel):
    """A page of workers, in the order they were registered."""

    items: list[WorkerOut]
    next: int | None
