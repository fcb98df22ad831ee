"""Idempotency keys: a POST that is sent twice with the same key is done once."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import UtcDateTime, exact_string, utc_now


class IdempotencyKey(Base):
    """A key that an account has sent, the fingerprint of its request, and the result's id."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("uq_idempotency_key_account_id_key", "account_id", "key", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(exact_string(128))
    fingerprint: Mapped[str] = mapped_column(String(64))
    subject_id: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
