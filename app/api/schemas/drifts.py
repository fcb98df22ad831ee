"""Schemas of drift."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas.common import (
    AFTER,
    LARGEST_EVENT,
    NO_CONTROL,
    In,
    Key,
    Number,
    Out,
    Page,
)

Digest = Annotated[str, Field(min_length=4, max_length=64, pattern=r"^[0-9a-f]+$")]


class FixOut(Out):
    """SQL that would remove a difference, for one kind of database."""

    dialect: str | None
    sql: str
    warning: str | None = Field(description="What it destroys, in words; null if nothing.")


class IgnoredOut(Out):
    """Who accepted a difference, and why."""

    reason: str
    by_name: str
    created_at: datetime


class DriftOut(Out):
    """A difference, and how many databases have it."""

    project_id: int
    digest: str
    says: str = Field(examples=["extra index note.ix_note_title"])
    databases: int
    mends: list[FixOut]
    ignored: IgnoredOut | None


class DriftQuery(Page):
    """Filters for a list of differences."""

    project_id: Key
    ignored: bool | None = None


class DriftPage(BaseModel):
    """A page of differences, the most frequent first."""

    items: list[DriftOut]
    next: int | None


class DifferenceOut(Out):
    """A difference of one database."""

    id: int
    project_id: int
    database_id: int
    digest: str
    says: str
    mend: str | None


class DifferenceQuery(Page):
    """Filters for a list of differences of single databases."""

    after: int | None = Field(None, ge=0, le=LARGEST_EVENT, description=AFTER)
    project_id: Key | None = None
    database_id: Key | None = None
    digest: str | None = Field(None, max_length=64, pattern=r"^[0-9a-f]+$")


class DifferencePage(BaseModel):
    """A page of differences of single databases."""

    items: list[DifferenceOut]
    next: int | None


class IgnoreIn(In):
    """A difference to accept, and why."""

    project_id: Annotated[Key, Number]
    digest: Digest = Field(description="The digest, or the first characters of it if unambiguous.")
    reason: str = Field(min_length=1, max_length=200, pattern=NO_CONTROL)
