"""Drift of the fleet, in and out."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas.common import (
    AFTER,
    LARGEST_EVENT,
    LARGEST_INTEGER,
    NO_CONTROL,
    In,
    Number,
    Out,
    Page,
)

Key = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Digest = Annotated[str, Field(min_length=4, max_length=64, pattern=r"^[0-9a-f]+$")]


class FixOut(Out):
    """The SQL that would take a difference away."""

    dialect: str | None
    sql: str


class IgnoredOut(Out):
    """That a difference is accepted, by whom and why."""

    reason: str
    by_name: str
    created_at: datetime


class DriftOut(Out):
    """One difference, and how many databases share it."""

    project_id: int
    digest: str
    says: str = Field(examples=["extra index note.ix_note_title"])
    databases: int
    mends: list[FixOut]
    ignored: IgnoredOut | None


class DriftQuery(Page):
    """Which differences."""

    project_id: Key
    ignored: bool | None = None


class DriftPage(BaseModel):
    """Differences, those that most databases share first."""

    items: list[DriftOut]
    next: int | None


class DifferenceOut(Out):
    """One difference of one database."""

    id: int
    project_id: int
    database_id: int
    digest: str
    says: str
    mend: str | None


class DifferenceQuery(Page):
    """Of which databases, or which difference."""

    after: int | None = Field(None, ge=0, le=LARGEST_EVENT, description=AFTER)
    project_id: Key | None = None
    database_id: Key | None = None
    digest: str | None = Field(None, max_length=64, pattern=r"^[0-9a-f]+$")


class DifferencePage(BaseModel):
    """Differences of single databases."""

    items: list[DifferenceOut]
    next: int | None


class IgnoreIn(In):
    """A difference that is accepted."""

    project_id: Annotated[Key, Number]
    digest: Digest = Field(description="A beginning that no other shares is enough.")
    reason: str = Field(min_length=1, max_length=200, pattern=NO_CONTROL)
