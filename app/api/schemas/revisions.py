"""Schemas of the revision register."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas.common import In, Out, Page


class RevisionOut(Out):
    """A revision, as one release of the scripts had it."""

    id: int
    project_id: int
    revision: str
    checksum: str
    parents: list[str]
    depends_on: list[str]
    labels: list[str]
    message: str
    path: str
    present: bool = Field(description="True if the scripts have exactly this text now.")
    first_seen_at: datetime
    last_seen_at: datetime
    rollout_id: int | None = Field(description="The rollout that first brought it to a database.")
    databases: int = Field(description="How many databases are at it now.")


class Former(Out):
    """An earlier text of a revision, from before its script was edited."""

    id: int
    checksum: str
    first_seen_at: datetime
    last_seen_at: datetime


class Sql(BaseModel):
    """The SQL of a revision; null where it depends on the data in the database."""

    upgrade: str | None
    downgrade: str | None


class RevisionDetail(RevisionOut):
    """A revision with its script and its SQL."""

    script: str | None = Field(description="null if only a compiled file was there.")
    sql: dict[str, Sql] = Field(description="By kind of database.")
    former: list[Former] = Field(description="Earlier texts of the script, newest first.")


class RevisionQuery(Page):
    """Filters for a list of revisions."""

    present: bool | None = Field(
        None, description="true: revisions in the scripts now; false: revisions no longer there."
    )


class RevisionPage(BaseModel):
    """A page of revisions, in the order they were first read."""

    items: list[RevisionOut]
    next: int | None


class RefreshIn(In):
    """An empty object, `{}`."""
