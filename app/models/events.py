"""Events: the audit trail. Rows are added and never changed."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String, event
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Mapped, Mapper, mapped_column

from app.extensions import Base
from app.models.columns import BigId, UtcDateTime, utc_now


class Event(Base):
    """An entry of the audit trail. It has no foreign keys, because it outlives its subjects."""

    __tablename__ = "event"
    __table_args__ = (
        Index("ix_event_subject", "subject_type", "subject_id"),
        Index("ix_event_actor_id", "actor_id", "id"),
        Index("ix_event_action", "action", "id"),
        Index("ix_event_subject_type", "subject_type", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    actor_id: Mapped[int | None]
    actor_name: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    subject_type: Mapped[str] = mapped_column(String(32))
    subject_id: Mapped[int | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    request_id: Mapped[str | None] = mapped_column(String(64))
    ip: Mapped[str | None] = mapped_column(String(45))

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012


def _refuse(mapper: Mapper[Event], connection: Connection, target: Event) -> None:  # noqa: ARG001
    raise TypeError("The audit trail is only ever added to.")


event.listen(Event, "before_update", _refuse)
event.listen(Event, "before_delete", _refuse)
