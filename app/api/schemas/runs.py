"""Schemas of runs, and of opening and creating a database."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StrictBool

from app.api.schemas.common import AFTER, LARGEST_EVENT, LARGEST_INTEGER, In, Out, Page
from app.api.schemas.databases import DatabaseOut, PositionName
from app.api.schemas.rollouts import Operation, Real, RolloutOut, StepOut, TargetText
from app.fleet.databases import Opened
from app.fleet.databases.operate import DatabasePlan
from app.fleet.rollouts import LONGEST_RUN
from app.fleet.runs.export import wave_of
from app.models import Database, Kind, Rollout, Run, State


class RunIn(In):
    """An operation to start on one database."""

    kind: Operation = "upgrade"
    target: TargetText | None = Field(
        None, description="Default: `heads`. Required for a downgrade.", examples=["heads"]
    )
    snapshot: StrictBool = False
    timeout_seconds: Annotated[Real, Field(ge=0.1, le=LONGEST_RUN)] = 600.0


class PlanQuery(In):
    """An operation on one database."""

    kind: Operation = "upgrade"
    target: TargetText | None = Field(None, description="Default: `heads`.", examples=["heads"])


class PlanOut(BaseModel):
    """What an operation on one database would do now."""

    target: str
    ends: str | None = Field(description="Its revisions afterwards; null if it does not move.")
    steps: list[StepOut]
    more: int = Field(description="The number of further steps.")
    why_not: str | None = Field(description="Why it cannot be done now.")
    is_done: bool = Field(description="True if it needs no step.")

    @classmethod
    def of(cls, plan: DatabasePlan) -> "PlanOut":
        """As it is shown."""
        steps = [
            StepOut(
                revision=step.revision.revision,
                message=step.revision.message,
                risks=[risk.says for risk in step.risks],
            )
            for step in plan.steps
        ]
        names = ("target", "ends", "more", "why_not", "is_done")
        return cls(steps=steps, **{name: getattr(plan, name) for name in names})


class RunOut(Out):
    """A run: an operation on a database, and its result."""

    id: int
    rollout_id: int
    database_id: int
    database: str
    kind: Kind
    wave: int | None = Field(description="The number of the wave, from 1; null for a rehearsal.")
    attempt: int
    server: str | None
    state: State
    worker: str | None
    retry_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    before: str | None
    aim: str | None
    after: str | None
    applied: list[str] | None
    replayed: bool | None
    error: str | None
    problem: str | None = Field(description="The page `/problems/…` that explains what to do.")
    snapshot: str | None
    differences: int | None = Field(description="How many differences a check found.")
    replaced_by: int | None = Field(description="The run that is the next attempt.")
    undoes: int | None = Field(description="The run that this one undoes.")
    created_at: datetime


class RunDetail(RunOut):
    """A run with its log and the SQL that it sent."""

    log: str | None = Field(description="For operators; null for viewers: it may hold rows.")
    sql: str | None


def run_values(run: Run, names: dict[int, str]) -> dict[str, object]:
    """The values of a RunOut; waves are counted from 1."""
    own = set(RunOut.model_fields) - {"database", "wave"}
    shown = {name: getattr(run, name) for name in own}
    return shown | {"database": names.get(run.database_id, ""), "wave": wave_of(run.wave)}


class RunQuery(Page):
    """Filters for a list of runs."""

    after: int | None = Field(None, ge=0, le=LARGEST_EVENT, description=AFTER)
    rollout_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    database_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    state: State | None = None
    kind: Kind | None = None
    replaced: bool = Field(False, description="Include runs that a later attempt replaced.")


class RunPage(BaseModel):
    """A page of runs, in the order they were created."""

    items: list[RunOut]
    next: int | None


class ExportQuery(In):
    """Which runs to export; all if no filter is given."""

    rollout_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    database_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)


class OpenedOut(Out):
    """The position of a database that is opened, and the rollout to wait for."""

    database_id: int
    position: PositionName
    current: str
    ready: bool = Field(description="True if the database can be used now.")
    rollout: RolloutOut | None = Field(description="The rollout that upgrades it: wait for it.")

    @classmethod
    def of(cls, opened: Opened) -> "OpenedOut":
        """From the result of `open_database`."""
        database, rollout = opened.database, opened.rollout
        return cls(
            database_id=database.id,
            position=database.position or "unknown",  # type: ignore[arg-type]
            current=database.current,
            ready=opened.ready,
            rollout=RolloutOut.of(rollout) if rollout else None,
        )


class CreationOut(Out):
    """A database that is being created."""

    database: DatabaseOut = Field(description="As it is now: it can be read, and is not there yet.")
    rollout: RolloutOut = Field(description="What creates it: wait for it.")

    @classmethod
    def of(cls, database: Database, rollout: Rollout) -> "CreationOut":
        """As it is shown."""
        return cls(database=DatabaseOut.model_validate(database), rollout=RolloutOut.of(rollout))
