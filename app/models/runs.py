"""Runs: operations on one database. They are kept for ever; a retry is another row."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Boolean, Float, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Base
from app.models.columns import BigId, LongText, UtcDateTime, exact_string, utc_now


class State(StrEnum):
    """The state of a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  # its worker is gone; the database will be inspected

    @property
    def is_final(self) -> bool:
        """True if the state does not change any more."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


BEGUN = (State.RUNNING, State.LOST)
"""States of a run that is, or may be, active on its database."""
UNENDED = tuple(state for state in State if not state.is_final)


class Run(Base):
    """An operation on one database, with its worker, its state and its result."""

    __tablename__ = "run"
    __table_args__ = (
        # The next claim, the rest of a wave, the number of failures: each reads a short range.
        Index("ix_run_rollout_id_state", "rollout_id", "state", "wave", "seq"),
        Index("ix_run_state_server", "state", "server"),
        Index("ix_run_database_id", "database_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollout.id"))
    database_id: Mapped[int] = mapped_column(ForeignKey("database.id"))
    kind: Mapped[str] = mapped_column(String(16))
    wave: Mapped[int]
    seq: Mapped[int]
    """Its position in the rollout; neighbours are on different servers."""
    attempt: Mapped[int] = mapped_column(server_default="1")
    """Which attempt of its rollout on its database this is: it counts up over retries."""
    first_attempt: Mapped[int] = mapped_column(server_default="1")
    """The attempt that this row began with: more than 1 where somebody asked for a retry."""
    waits: Mapped[int] = mapped_column(server_default="0")
    """How often it was put off because its database was away or locked."""
    server: Mapped[str | None] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16), server_default=State.PENDING)
    worker: Mapped[str | None] = mapped_column(String(128))
    retry_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Not before this moment."""
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    seconds: Mapped[float | None] = mapped_column(Float)

    before: Mapped[str | None] = mapped_column(exact_string(255))
    """The revisions it was planned from and, once a worker has begun, was found at.

    Joined by `+`; "" for none, None until the database is first probed. Of a run that creates: ""
    from when its database was about to be created, and None if nothing of it is there.
    """
    aim: Mapped[str | None] = mapped_column(exact_string(255))
    """The target revisions, resolved when it first began."""
    after: Mapped[str | None] = mapped_column(exact_string(255))
    applied: Mapped[list[str] | None] = mapped_column(JSON)
    replayed: Mapped[bool | None] = mapped_column(Boolean)
    x: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """The -x arguments that it ran with; None if it has not begun."""
    error: Mapped[str | None] = mapped_column(LongText)
    problem: Mapped[str | None] = mapped_column(String(64))
    """The slug of the error, which is the name of its page."""
    log: Mapped[str | None] = mapped_column(LongText, deferred=True)
    differences: Mapped[int | None]
    """How many differences a check found; None if it compared nothing."""
    sql_digest: Mapped[str | None] = mapped_column(String(64))
    snapshot: Mapped[str | None] = mapped_column(String(1024))
    replaced_by: Mapped[int | None] = mapped_column(BigInteger)
    """The run that replaced it: a retry."""
    undoes: Mapped[int | None] = mapped_column(BigInteger)
    """The run that it undoes."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=utc_now())

    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012

    @property
    def losses(self) -> int:
        """How often its worker ended in the middle, this time included."""
        return self.attempt - self.first_attempt + 1 - self.waits


class RunTally(Base):
    """The number of runs of a rollout: the sum of these rows, so that not all runs are counted.

    Rows are only added: a worker adds one with the results that it writes together, so that no two
    wait for each other. See `counts.tallies`.
    """

    __tablename__ = "run_tally"
    __table_args__ = (Index("ix_run_tally_rollout_id", "rollout_id", "at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    rollout_id: Mapped[int]
    """No foreign key, whose check would wait for whoever has the lock of the rollout."""
    kind: Mapped[str] = mapped_column(String(16))
    wave: Mapped[int]
    runs: Mapped[int]
    """How many runs were added; retries are not, they replace a run."""
    succeeded: Mapped[int]
    differing: Mapped[int] = mapped_column(server_default="0")
    """How many of the succeeded found differences."""
    seconds: Mapped[float] = mapped_column(Float)
    began_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the first of the succeeded ended; None where it was counted later."""
    at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the last of them ended."""


class RunSql(Base):
    """SQL that runs sent, stored once for all that sent the same."""

    __tablename__ = "run_sql"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(LongText)
