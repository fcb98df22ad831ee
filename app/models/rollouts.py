"""Rollouts: one target for many databases, in waves, with a gate between them."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, String, Unicode
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import LongText, UtcDateTime, exact_string, utc_now


class Kind(StrEnum):
    """The operation on each database."""

    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    STAMP = "stamp"
    CHECK = "check"
    SNAPSHOT = "snapshot"
    RESTORE = "restore"
    CREATE = "create"  # of one database, which is not there before
    REHEARSE = "rehearse"  # of runs only: before a rollout starts
    UNDO = "undo"  # of runs only: return to the earlier revision

    @property
    def moves(self) -> bool:
        """True if it changes a database."""
        return self not in (Kind.CHECK, Kind.SNAPSHOT, Kind.REHEARSE)

    @property
    def needs_approval(self) -> bool:
        """True if it changes a database that was there, so that a project may ask for approvals."""
        return self.moves and self is not Kind.CREATE


class Stage(StrEnum):
    """The stage of a rollout."""

    PENDING = "pending"  # a draft: made, not started
    RUNNING = "running"
    SOAKING = "soaking"  # a wave is done; its time has not passed
    WAITING = "waiting"  # for the approval of another account
    PAUSED = "paused"  # by a user
    HALTED = "halted"  # by its gate
    UNDOING = "undoing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # one on a single database, asked for by hand
    UNDONE = "undone"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if the rollout has ended and cannot be resumed."""
        return self in (Stage.SUCCEEDED, Stage.FAILED, Stage.UNDONE, Stage.CANCELLED)

    @property
    def word(self) -> str:
        """The stage as people read it; the API and the catalog keep `pending` for a draft."""
        return "draft" if self is Stage.PENDING else str(self)

    @property
    def predicate(self) -> str:
        """The same as it follows "it is": "a draft", "halted"."""
        return "a draft" if self is Stage.PENDING else str(self)


ENDED_STAGES = tuple(stage for stage in Stage if stage.is_final)
DRAFT_LASTS = timedelta(days=30)
"""How long a draft that nobody starts, rehearses or changes is kept open."""


class Rollout(Base):
    """A rollout: its options and its stage. For `gate`, `window` see `app.fleet.rollouts`."""

    __tablename__ = "rollout"
    __table_args__ = (
        Index("ix_rollout_stage", "stage", "id"),
        Index("ix_rollout_project_id", "project_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    title: Mapped[str | None] = mapped_column(Unicode(200))
    kind: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(exact_string(255))
    """A revision, `heads`, `base`, `-1` …; for a restore, "" means the newest snapshot."""
    selector: Mapped[dict[str, Any]] = mapped_column(JSON)
    waves: Mapped[list[str]] = mapped_column(JSON)
    """As given: `["1", "5%", "100%"]`."""
    sizes: Mapped[list[int]] = mapped_column(JSON)
    """The number of databases in each wave; [] before the start."""
    gate: Mapped[dict[str, Any]] = mapped_column(JSON)
    window: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    concurrency: Mapped[int]
    per_server: Mapped[int]
    timeout_seconds: Mapped[float] = mapped_column(Float)
    snapshot: Mapped[bool]
    retreat: Mapped[bool]
    """True if a failed first wave is undone automatically."""
    by_hand: Mapped[bool] = mapped_column(default=False)
    """True if it was started for one database by name; a pin does not exclude it."""

    stage: Mapped[str] = mapped_column(String(16), server_default=Stage.PENDING)
    reason: Mapped[str | None] = mapped_column(LongText)
    """A sentence why it halted, waits or was cancelled."""
    wave: Mapped[int] = mapped_column(server_default="0")
    """The wave that is open, counted from 0."""
    wave_done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    resumes_as: Mapped[str | None] = mapped_column(String(16))
    """While paused: the stage it had. While waiting before anything begins: what begins then."""
    asked_by_id: Mapped[int | None]
    asked_by_name: Mapped[str | None] = mapped_column(String(128))
    """Who asked for what waits for an approval before it begins: another has to give that."""
    by_id: Mapped[int | None]
    by_name: Mapped[str] = mapped_column(String(128))
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=utc_now(), onupdate=utc_now()
    )

    __mapper_args__ = {"version_id_col": version, "eager_defaults": True}  # noqa: RUF012

    @property
    def expires_at(self) -> datetime | None:
        """When a draft is cancelled if nobody starts it; None once it was started or has ended."""
        return self.updated_at + DRAFT_LASTS if self.stage == Stage.PENDING else None


class Approval(Base):
    """An approval of another account for the wave after this one.

    Of a project that requires approvals: before the first wave it has the wave -1, and before
    an undo -2, -3 and so on.
    """

    __tablename__ = "approval"
    __table_args__ = (Index("uq_approval_rollout_id_wave", "rollout_id", "wave", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollout.id", ondelete="CASCADE"))
    wave: Mapped[int]
    account_id: Mapped[int]
    account_name: Mapped[str] = mapped_column(String(128))
    at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012
