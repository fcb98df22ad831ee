"""Accounts: a person or a program that owns databases and signs in; their rights in projects."""

from datetime import UTC, date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, Unicode
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import Base
from app.models.columns import UtcDateTime, exact_string, utc_now


class Role(StrEnum):
    """The roles of accounts. Each has all rights of those before it."""

    MEMBER = "member"  # of projects: sees what it has a grant for, and nothing else of the fleet
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """True if this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Account(Base):
    """A person or a program. `version` counts its changes: it is the entity tag of the API."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("role IN ('member', 'viewer', 'operator', 'admin')", name="role"),
        Index("uq_account_email", "email", unique=True),
        Index("uq_account_oidc_issuer_oidc_subject", "oidc_issuer", "oidc_subject", unique=True),
        Index("ix_account_name", "name"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str | None] = mapped_column(Unicode(200))
    email: Mapped[str | None] = mapped_column(exact_string(128))
    birthdate: Mapped[date | None] = mapped_column(Date)
    ip_source: Mapped[str | None] = mapped_column(String(45))
    location: Mapped[str | None] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(16), server_default=Role.VIEWER)
    password_hash: Mapped[str | None] = mapped_column(exact_string(255), deferred=True)
    """An argon2 hash. Deferred, so that lists do not read it."""
    password_set_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    oidc_issuer: Mapped[str | None] = mapped_column(exact_string(255))
    oidc_subject: Mapped[str | None] = mapped_column(exact_string(255))
    """The subject of this person at the sign-in provider, set at the first sign-in there."""
    disabled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Since when it can neither sign in nor use a token; None if it can."""
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=utc_now(), onupdate=utc_now()
    )

    grants: Mapped[list["Grant"]] = relationship(
        lazy="raise", cascade="all, delete-orphan", passive_deletes=True
    )

    __mapper_args__ = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012

    @property
    def disabled(self) -> bool:
        """True if the account is disabled: no one can sign in with it."""
        return self.disabled_at is not None

    @disabled.setter
    def disabled(self, value: bool) -> None:
        if value != self.disabled:
            self.disabled_at = datetime.now(UTC) if value else None


class Grant(Base):
    """The role of an account in one project, where that is higher than its role in the fleet."""

    __tablename__ = "project_grant"
    __table_args__ = (
        CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
        Index("ix_project_grant_project_id", "project_id"),
    )

    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    project_id: Mapped[int] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
