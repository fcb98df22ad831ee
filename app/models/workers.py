"""Workers: processes that migrate databases; and leases, which one process holds at a time."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import UtcDateTime, exact_string, utc_now


class Worker(Base):
    """A process that takes runs. Without heartbeats it is gone, and its runs are lost."""

    __tablename__ = "worker"
    __table_args__ = (Index("uq_worker_name", "name", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(exact_string(128))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    release: Mapped[str] = mapped_column(String(64))
    engine: Mapped[str] = mapped_column(String(16))
    """`embedded` or `celery`."""
    done: Mapped[int] = mapped_column(server_default="0")
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    beat_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    stopped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012


class Lease(Base):
    """A task that one process has at a time, until a time that it may extend."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(exact_string(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    until: Mapped[datetime] = mapped_column(UtcDateTime)
