"""Drift: differences between databases and their revisions, and which are ignored."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Unicode
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import BigId, LongText, UtcDateTime, utc_now


class Difference(Base):
    """A difference that the last check of a database found."""

    __tablename__ = "difference"
    __table_args__ = (
        Index("ix_difference_project_id_digest", "project_id", "digest"),
        Index("ix_difference_database_id", "database_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    database_id: Mapped[int] = mapped_column(ForeignKey("database.id", ondelete="CASCADE"))
    digest: Mapped[str] = mapped_column(String(64))
    """A digest of `says`, by which databases are grouped."""
    says: Mapped[str] = mapped_column(LongText)
    """ "extra index ix_note_title"."""
    mend: Mapped[str | None] = mapped_column(LongText)
    """The SQL that would remove it; None if Headway has none."""
    row_count: Mapped[int | None]
    """How many rows or values that SQL would delete, 10,001 for more; None if not known."""


class Ignored(Base):
    """A difference that is ignored in a project."""

    __tablename__ = "ignored"
    __table_args__ = (Index("uq_ignored_project_id_digest", "project_id", "digest", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    digest: Mapped[str] = mapped_column(String(64))
    says: Mapped[str] = mapped_column(LongText)
    reason: Mapped[str] = mapped_column(Unicode(200))
    by_name: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
