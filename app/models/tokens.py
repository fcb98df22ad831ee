"""Tokens: how an account signs in, of which only a digest is kept; and refused sign-ins."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Boolean, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.extensions import Base
from app.models.accounts import Account, Role
from app.models.columns import UtcDateTime, exact_string, utc_now


class TokenKind(StrEnum):
    """What a token is good for: a browser's cookie, a program's bearer token, one sign-in."""

    SESSION = "session"
    API = "api"
    INVITATION = "invitation"


class Scope(StrEnum):
    """What a token may do of what its account may: narrower than the role, never wider."""

    READ = "read"
    OPERATE = "operate"

    def narrow(self, role: Role) -> Role:
        """The lower of the account's role and the one that this scope stands for."""
        most = {Scope.READ: Role.VIEWER, Scope.OPERATE: Role.OPERATOR}[self]
        return most if role.includes(most) else role


class Token(Base):
    """A token: `hw_<prefix>_<secret>`. The prefix finds the row, the digest proves it."""

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
    kind: Mapped[str] = mapped_column(String(16), server_default=TokenKind.SESSION)
    scope: Mapped[str | None] = mapped_column(String(16))
    """None: all that the account may."""
    one_time: Mapped[bool] = mapped_column(Boolean, default=False)
    """True of invitations. A release that knows no kinds, and runs beside this one, reads it."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    proven_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its holder last proved who they are by a password, the provider or an invitation."""
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    account: Mapped[Account] = relationship(lazy="joined", innerjoin=True)

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012


class SignInLimit(Base):
    """Refused sign-ins of one key: an account and a network, a network, or an account."""

    __tablename__ = "sign_in_limit"
    __table_args__ = (Index("ix_sign_in_limit_last_at", "last_at"),)

    key: Mapped[str] = mapped_column(exact_string(64), primary_key=True)
    """A digest: what people type into the field of an address may be a password."""
    refused: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)
    passed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
