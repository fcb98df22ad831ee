"""Databases of the fleet, their labels, and counts by position."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Computed, Float, ForeignKey, Index, String, Unicode, column
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import Base
from app.models.accounts import Account
from app.models.columns import LongText, UtcDateTime, exact_string, in_small_letters, utc_now
from app.models.projects import Project
from app.models.secrets import Secret


class Strategy(StrEnum):
    """When a database is migrated."""

    WAVE = "wave"  # by rollouts
    ON_OPEN = "on_open"  # when it is next opened


SEARCH = "database_search"
"""SQLite's index of the trigrams of `sought`, where it has one: three triggers keep it in step."""


class Database(Base):
    """One registered database.

    Where it is: `url`, encrypted, or `reference` (`env:NAME`, `file:/path`). Where it stands:
    what the last look found, or the last run left. `current` are its revisions, joined by `+`.
    """

    __tablename__ = "database"
    __table_args__ = (
        Index("uq_database_project_id_name", "project_id", "name", unique=True),
        Index("uq_database_identity", "identity", unique=True),
        Index("ix_database_project_id", "project_id", "id"),
        Index("ix_database_project_id_position", "project_id", "position", "id"),
        Index("ix_database_project_id_current", "project_id", "current", "id"),
        Index("ix_database_position", "position", "id"),
        Index("ix_database_owner_id", "owner_id", "id"),
        Index("ix_database_rollout_id", "rollout_id", "id"),
        Index("ix_database_asked_at", "project_id", "asked_at"),
        Index("ix_database_drift", "drift", "id"),
        Index("ix_database_retired_at", "retired_at"),
        Index("ix_database_pin_until", "pin_until", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    name: Mapped[str] = mapped_column(exact_string(128))
    notes: Mapped[str | None] = mapped_column(Unicode(1000))

    url: Mapped[str | None] = mapped_column(Secret, deferred=True)
    reference: Mapped[str | None] = mapped_column(String(1024))
    address: Mapped[str] = mapped_column(String(1024))
    """The URL without its password, for display."""
    sought: Mapped[str | None] = mapped_column(
        exact_string(1160).with_variant(String(1160, collation="C"), "postgresql"),
        Computed(in_small_letters(column("name"), column("address")), persisted=True),
        deferred=True,
    )
    """Name and address in lower case: a search in it is five times as fast as ILIKE."""
    identity: Mapped[str | None] = mapped_column(String(64))
    """Equal for two URLs of one database; None if retired or not known."""
    dialect: Mapped[str | None] = mapped_column(String(16))
    server: Mapped[str | None] = mapped_column(String(255))
    """Databases of the same server share a limit of concurrent runs; None for a file."""
    x: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """Its own -x arguments, over those of its project; None for none."""

    strategy: Mapped[str] = mapped_column(String(16), server_default=Strategy.WAVE)
    pin_reason: Mapped[str | None] = mapped_column(Unicode(200))
    pin_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    rollout_id: Mapped[int | None]
    """The rollout that it is part of now."""

    position: Mapped[str] = mapped_column(String(16), default="")
    """A Position, or "" until it is first probed."""
    current: Mapped[str] = mapped_column(exact_string(255), default="")
    pending: Mapped[int | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    milliseconds: Mapped[float | None] = mapped_column(Float)
    reason: Mapped[str | None] = mapped_column(LongText)
    """Why it is unreachable or torn."""
    asked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it last answered."""
    drift: Mapped[int | None]
    """The number of differences that the last check found; None before the first check."""
    drift_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was compared; None if it was not since its revisions last changed."""

    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=utc_now(), onupdate=utc_now()
    )

    project: Mapped[Project] = relationship(lazy="raise")
    owner: Mapped[Account | None] = relationship(lazy="raise")
    labels: Mapped[list["Label"]] = relationship(
        lazy="raise", order_by="Label.name", cascade="all, delete-orphan", passive_deletes=True
    )

    __mapper_args__ = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012


class Label(Base):
    """A name and a value that a database is selected by: `tier=gold`."""

    __tablename__ = "label"
    __table_args__ = (Index("ix_label_name_value", "name", "value", "database_id"),)

    database_id: Mapped[int] = mapped_column(
        ForeignKey("database.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(exact_string(64), primary_key=True)
    value: Mapped[str] = mapped_column(exact_string(128))


class LabelCount(Base):
    """The number of databases of a project with one value of a label.

    Updated in the transaction that changes a database. Retired databases are not counted.
    """

    __tablename__ = "label_count"
    __table_args__ = (Index("ix_label_count_name_value", "name", "value"),)

    project_id: Mapped[int] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    name: Mapped[str] = mapped_column(exact_string(64), primary_key=True)
    value: Mapped[str] = mapped_column(exact_string(128), primary_key=True)
    databases: Mapped[int]


class PositionCount(Base):
    """The number of databases of a project at one position and revision.

    Updated in the transaction that changes a database. Retired databases are not counted.
    """

    __tablename__ = "standing"

    project_id: Mapped[int] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    position: Mapped[str] = mapped_column(String(16), primary_key=True)
    current: Mapped[str] = mapped_column(exact_string(255), primary_key=True)
    databases: Mapped[int]
