"""The revision register, out."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas.common import In, Out, Page


class RevisionOut(Out):
    """One revision as one release had it."""

    id: int
    project_id: int
    revision: str
    checksum: str
    parents: list[str]
    depends_on: list[str]
    labels: list[str]
    message: str
    path: str
    present: bool = Field(description="True if the scripts have it now, as it is here.")
    first_seen_at: datetime
    last_seen_at: datetime
    rollout_id: int | None = Field(description="The rollout that first brought it to a database.")
    databases: int = Field(description="How many databases are at it now.")


class Former(Out):
    """The same revision before its script was edited."""

    id: int
    checksum: str
    first_seen_at: datetime
    last_seen_at: datetime


class Sql(BaseModel):
    """What a revision sends; null where that depends on what is in the database."""

    upgrade: str | None
    downgrade: str | None


class RevisionDetail(RevisionOut):
    """A revision with its script and its SQL."""

    script: str | None = Field(description="null for one that came without its source.")
    sql: dict[str, Sql] = Field(description="By kind of database.")
    former: list[Former] = Field(description="Before its script was edited, newest first.")


class RevisionQuery(Page):
    """Which revisions."""

    present: bool | None = Field(
        None, description="true: those the scripts have now; false: those only others had."
    )


class RevisionPage(BaseModel):
    """Revisions in the order they became known."""

    items: list[RevisionOut]
    next: int | None


class RefreshIn(In):
    """Nothing can be said of it yet: `{}`."""
