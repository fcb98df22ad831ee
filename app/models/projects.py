"""Projects: Alembic script directories, each shared by many databases."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Boolean, Index, String, Unicode
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import LongText, UtcDateTime, exact_string, utc_now


class Loading(StrEnum):
    """Whether a worker has read a project's scripts."""

    WAITING = "waiting"  # a worker will read them
    READY = "ready"
    BROKEN = "broken"


class Project(Base):
    """A script directory with its options, and what a worker read from it."""

    __tablename__ = "project"
    __table_args__ = (Index("uq_project_name", "name", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(exact_string(64))
    location: Mapped[str] = mapped_column(String(1024))
    ini: Mapped[str | None] = mapped_column(String(1024))
    x: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    notes: Mapped[str | None] = mapped_column(Unicode(1000))
    state: Mapped[str] = mapped_column(String(16), server_default=Loading.WAITING)
    problem: Mapped[str | None] = mapped_column(LongText)
    heads: Mapped[list[str]] = mapped_column(JSON, default=list)
    digest: Mapped[str | None] = mapped_column(String(64))
    """The digest of all scripts, env.py and options, as they were last read."""
    environment_facts: Mapped[dict[str, Any]] = mapped_column("environment", JSON, default=dict)
    """How its env.py is used, and the options that its SQL depends on, as last read."""
    loaded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    refresh_seconds: Mapped[int] = mapped_column(server_default="300")
    """The interval in which all its databases are refreshed; 0 for never."""
    refresh_asked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a refresh was last requested."""
    refreshed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the last refresh began."""
    requires_approval: Mapped[bool] = mapped_column(Boolean, server_default="0", default=False)
    """True if what changes its databases begins only when another account has approved it."""
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=utc_now(), onupdate=utc_now()
    )

    __mapper_args__ = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012

    @property
    def environment(self) -> dict[str, str]:
        """`mode` and `why`: how its env.py is used; {} until it is read."""
        return {
            name: self.environment_facts[name]
            for name in ("mode", "why")
            if name in self.environment_facts
        }
