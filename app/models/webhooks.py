"""Webhooks: addresses that receive signed events, with repeated deliveries."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import BigId, LongText, UtcDateTime, utc_now
from app.models.secrets import Secret


class Webhook(Base):
    """An address and its events. The URL may contain a token, so it is a secret too."""

    __tablename__ = "webhook"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    url: Mapped[str] = mapped_column(Secret, deferred=True)
    address: Mapped[str] = mapped_column(String(255))
    """Scheme and host, for display."""
    secret: Mapped[str] = mapped_column(Secret, deferred=True)
    events: Mapped[list[str]] = mapped_column(JSON)
    format: Mapped[str] = mapped_column(String(16), server_default="json")
    """`json`, `slack` or `teams`."""
    by_id: Mapped[int | None]
    by_name: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012


class Delivery(Base):
    """One message to one webhook."""

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_state_next_at", "state", "next_at"),
        Index("ix_delivery_webhook_id", "webhook_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    """`pending`, `delivered` or `failed`."""
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(LongText)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    delivered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
