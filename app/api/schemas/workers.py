"""Workers, out."""

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
    done: int = Field(description="How many runs it has done.")
    state: Life
    started_at: datetime
    beat_at: datetime = Field(description="When it was last heard.")


class WorkerQuery(Page):
    """Which workers."""

    gone: bool = Field(False, description="Also those that were alive in the last week.")


class WorkerPage(BaseModel):
    """Workers, in the order they came."""

    items: list[WorkerOut]
    next: int | None
