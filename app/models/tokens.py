"""Tokens: how an account signs in. Only a digest is kept."""

from datetime import datetime

from sqlalchemy import Boolean, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import Base
from app.models.accounts import Account
from app.models.columns import UtcDateTime, exact_string, utc_now


class Token(Base):
    """A bearer token: `hw_<prefix>_<secret>`. The prefix finds the row, the digest proves it."""

    __tablename__ = "token"
    __table_args__ = (
        Index("uq_token_prefix", "prefix", unique=True),
        Index("ix_token_account_id", "account_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(128))
    prefix: Mapped[str] = mapped_column(exact_string(16))
    digest: Mapped[str] = mapped_column(exact_string(64))
    one_time: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    account: Mapped[Account] = relationship(lazy="joined", innerjoin=True)

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
