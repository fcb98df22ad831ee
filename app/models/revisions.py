"""The revision register: all revisions of all releases of a project."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Unicode
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import LongText, UtcDateTime, exact_string, utc_now


class Revision(Base):
    """A text of a revision. An edited script is another row; rows are never removed."""

    __tablename__ = "revision"
    __table_args__ = (
        Index(
            "uq_revision_project_id_revision_checksum",
            "project_id",
            "revision",
            "checksum",
            unique=True,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    revision: Mapped[str] = mapped_column(exact_string(128))
    checksum: Mapped[str] = mapped_column(String(64))
    parents: Mapped[list[str]] = mapped_column(JSON)
    depends_on: Mapped[list[str]] = mapped_column(JSON)
    labels: Mapped[list[str]] = mapped_column(JSON)
    message: Mapped[str] = mapped_column(Unicode(1000))
    path: Mapped[str] = mapped_column(String(1024))
    script: Mapped[str | None] = mapped_column(LongText, deferred=True)
    """Its text; None if only a compiled file was there."""
    sql: Mapped[dict[str, Any]] = mapped_column(JSON, deferred=True)
    """Dialect -> `{"upgrade": text, "downgrade": text}`; a text is None if it depends on data."""
    place: Mapped[int]
    """Its position in the order of the release, oldest first."""
    present: Mapped[bool]
    """True if the scripts have exactly this text now."""
    first_seen_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    rollout_id: Mapped[int | None]
    """The rollout that first applied it to a database."""

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
