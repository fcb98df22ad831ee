"""Projects: named Alembic script directories, each shared by many databases."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Index, String, Unicode
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import LongText, UtcDateTime, exact_string, utc_now


class Loading(StrEnum):
    """How far a project's scripts are known to the catalog."""

    WAITING = "waiting"  # a worker will read them
    READY = "ready"
    BROKEN = "broken"


class Project(Base):
    """A script directory with its options, and what a worker found in it."""

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
    """Of all scripts, env.py and options, as they were last read."""
    environment_facts: Mapped[dict[str, Any]] = mapped_column("environment", JSON, default=dict)
    """What its env.py said when it was last asked: `environment`, and what its SQL depends on."""
    loaded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    refresh_seconds: Mapped[int] = mapped_column(server_default="300")
    """How often all its databases are asked where they stand; 0 for never."""
    refresh_asked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When somebody last asked for a refresh."""
    refreshed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the last refresh began."""
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=utc_now(), onupdate=utc_now()
    )

    __mapper_args__ = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012

    @property
    def environment(self) -> dict[str, str]:
        """`mode` and `why`: how its env.py is used; nothing until it was read."""
        return {
            name: self.environment_facts[name]
            for name in ("mode", "why")
            if name in self.environment_facts
        }
