"""Boots: the successful starts of the service, with the revisions before and after."""

from datetime import datetime

from sqlalchemy import Float, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import UtcDateTime, exact_string, utc_now


class Boot(Base):
    """A successful start of the service. Failures are in the history of the revisions."""

    __tablename__ = "boot"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    address: Mapped[str | None] = mapped_column(String(255))
    """Where people find the service, if a server booted that knew it."""
    release: Mapped[str] = mapped_column(String(64))
    revision_from: Mapped[str] = mapped_column(exact_string(255))
    """"" for an empty database."""
    revision_to: Mapped[str] = mapped_column(exact_string(255))
    state: Mapped[str] = mapped_column(String(16))
    """`head`, or `degraded` on a catalog that a newer release has migrated."""
    seconds: Mapped[float] = mapped_column(Float)
    """The total, with waiting for the server and for other processes that migrate."""

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
