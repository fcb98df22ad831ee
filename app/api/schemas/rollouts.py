"""Schemas of rollouts."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool

from app.api.schemas.common import LARGEST_INTEGER, NO_CONTROL, In, Number, Out, Page
from app.api.schemas.databases import PositionName
from app.fleet.rollouts import CONCURRENCY, LONGEST_RUN, MOST_AT_ONCE, PER_SERVER, TIMEOUT
from app.fleet.rollouts.rules.gates import LONGEST_SOAK
from app.fleet.rollouts.rules.waves import DEFAULT, MOST
from app.fleet.rollouts.watch import WatchedRollout
from app.models import Rollout, Stage, Strategy

Id = Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number]
Real = Annotated[float, Field(strict=True)]
Operation = Literal["upgrade", "downgrade", "stamp", "check", "snapshot", "restore"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
WaveIn = Annotated[
    str, Field(pattern=r"^([1-9][0-9]{0,8}|([1-9][0-9]?(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9]|100)%)$")
]
TargetText = Annotated[str, Field(min_length=1, max_length=255, pattern=NO_CONTROL)]
LabelName = Annotated[str, Field(min_length=1, max_length=64, pattern=NO_CONTROL)]
LabelValue = Annotated[str, Field(max_length=128, pattern=NO_CONTROL)]
MOST_IDS = 10_000


class Choice(In):
    """Which databases of the project: those that match all given fields."""

    ids: list[Id] | None = Field(None, max_length=MOST_IDS)
    labels: dict[LabelName, LabelValue] | None = Field(
        None,
        description='Labels that must all match; "" for any value.',
        examples=[{"tier": "gold"}],
    )
    owner_id: Id | None = None
    positions: list[PositionName] | None = Field(None, max_length=20)
    current: Annotated[str, Field(max_length=255, pattern=NO_CONTROL)] | None = Field(
        None, description="Its current revisions, joined by `+`."
    )
    search: Annotated[str, Field(max_length=200, pattern=NO_CONTROL)] | None = Field(
        None, description="Part of the name or address."
    )
    drifted: StrictBool | None = None
    pinned: StrictBool | None = None
    strategy: Strategy | None = None


class GateIn(In):
    """The conditions for the next wave to begin."""

    failures: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), Number] = Field(
        0, description="How many databases may fail before the rollout halts."
    )
    failures_percent: Annotated[Real, Field(ge=0, le=100)] | None = Field(
        None,
        description="The same as a percentage of the databases begun; the larger limit counts.",
    )
    soak_seconds: Annotated[Real, Field(ge=0, le=LONGEST_SOAK)] = 0.0
    approval: StrictBool = Field(
        False, description="True: another account has to approve each further wave."
    )
    check: Literal["drift", "sql"] | None = Field(
        None, description="A check that each database has to pass after its migration."
    )
    sql: Annotated[str, Field(min_length=1, max_length=10_000, pattern=NO_CONTROL)] | None = Field(
        None, description="The query for the check `sql`: its first value must be true."
    )


class WindowIn(In):
    """The hours in which runs may begin. They end the next day if `until` is before `from`."""

    start: Clock = Field(alias="from", examples=["22:00"])
    until: Clock = Field(examples=["04:00"])
    days: list[Day] | None = Field(None, min_length=1, max_length=7)
    zone: str = Field("UTC", max_length=64, pattern=NO_CONTROL, examples=["Europe/Berlin"])


class RolloutIn(In):
    """A rollout to create or to preview."""

    project_id: Id
    kind: Operation = "upgrade"
    target: TargetText | None = Field(
        None, description="Default: `heads`. Required for a downgrade.", examples=["heads"]
    )
    title: Annotated[str, Field(max_length=200, pattern=NO_CONTROL)] | None = None
    selector: Choice | None = None
    waves: list[WaveIn] = Field(
        list(DEFAULT),
        min_length=1,
        max_length=MOST,
        description="How many databases are done after each wave: a number or a percentage.",
    )
    gate: GateIn | None = None
    window: WindowIn | None = None
    concurrency: Annotated[int, Field(ge=1, le=MOST_AT_ONCE), Number] = CONCURRENCY
    per_server: Annotated[int, Field(ge=1, le=MOST_AT_ONCE), Number] = PER_SERVER
    timeout_seconds: Annotated[Real, Field(ge=0.1, le=LONGEST_RUN)] = Field(
        TIMEOUT, description="A run that takes longer is stopped."
    )
    snapshot: StrictBool = Field(
        False, description="Copy each database before its run. SQLite files only."
    )
    retreat: StrictBool = Field(True, description="Undo the first wave automatically if it fails.")

    def values(self) -> dict[str, Any]:
        """The fields as the fleet's functions take them."""
        return self.model_dump(by_alias=True)


class Nothing(In):
    """An empty object, `{}`."""


class Resume(In):
    """What to do with the databases that failed."""

    skip_failed: StrictBool = Field(
        False, description="true: continue without them. false: try them again."
    )


class Approve(In):
    """Which wave is approved."""

    wave: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), Number] | None = Field(
        None,
        description="The wave that is done, as `readProgress` numbers it; 0 before anything begins "
        "of a project that requires approvals. Refused if another wave waits by now. null: what "
        "waits now.",
    )


class Rehearse(In):
    """On how many databases to rehearse."""

    sample: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number] | None = Field(
        None, description="This many databases of each plan; null: every database."
    )


class RolloutOut(Out):
    """A rollout: its options and its stage."""

    id: int
    project_id: int
    title: str | None
    kind: str
    target: str
    selector: dict[str, Any]
    waves: list[str]
    sizes: list[int] = Field(description="The databases in each wave; [] before the start.")
    gate: dict[str, Any]
    window: dict[str, Any] | None
    concurrency: int
    per_server: int
    timeout_seconds: float
    snapshot: bool
    retreat: bool
    stage: Stage
    reason: str | None
    wave: int = Field(description="The number of the open wave, from 1; 0 before the start.")
    by_id: int | None
    by_name: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        description="When it is cancelled if nobody starts it; null once it was started."
    )

    @classmethod
    def of(cls, rollout: Rollout) -> "RolloutOut":
        """From a row; waves are counted from 1."""
        shown = cls.model_validate(rollout)
        shown.wave = rollout.wave + 1 if rollout.sizes else 0
        return shown


class RolloutQuery(Page):
    """Filters for a list of rollouts."""

    project_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    stage: Stage | None = None


class RolloutPage(BaseModel):
    """A page of rollouts, newest first."""

    items: list[RolloutOut]
    next: int | None


class StepOut(Out):
    """A revision of a plan."""

    revision: str
    message: str
    risks: list[str] = Field(description="Risks to know before it runs.")


class PreviewGroupOut(Out):
    """Databases that have the same plan."""

    dialect: str | None
    current: str = Field(description='Their current revisions, joined by `+`; "" for none.')
    databases: int
    ends: str | None
    steps: list[StepOut]
    sql: str | None
    why: str | None = Field(description="The reason if there is no plan or no SQL.")


class SkippedOut(Out):
    """Databases that the selector matches and the rollout leaves out."""

    why: str
    databases: int
    ids: list[int] = Field(description="The ids of the first few.")


class PreviewOut(Out):
    """What a rollout would do, grouped by plan."""

    groups: list[PreviewGroupOut]
    skipped: list[SkippedOut]
    waves: list[int]
    total: int
    is_done: bool = Field(
        description="True if none takes part because all are where the rollout leads."
    )


class WaveOut(Out):
    """A wave, with the number of its runs in each state."""

    number: int
    size: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    lost: int


class FailureOut(Out):
    """The first database that failed."""

    run_id: int
    database_id: int
    database: str
    error: str | None


class RehearsedOut(Out):
    """The results of the rehearsal so far."""

    total: int
    done: int
    failed: int
    seconds: float = Field(description="The total of all runs.")
    seconds_ahead: float | None = Field(
        description="An estimate for the rollout at this speed, with the soaking between waves and "
        "without approvals. null until the rehearsal has ended."
    )
    first_error: FailureOut | None
    last_at: datetime | None = Field(description="When the last of them ended. null until then.")


class ApprovalOut(Out):
    """An approval for the wave after this one to begin."""

    wave: Annotated[int, AfterValidator(lambda number: number + 1)] = Field(
        description="0: of the first wave, which the project required; below 0: of an undo."
    )
    account_id: int
    account_name: str
    at: datetime


class ProgressOut(Out):
    """The progress of a rollout."""

    stage: Stage
    reason: str | None
    wave: int
    waves: list[WaveOut]
    undo: WaveOut | None
    total: int
    done: int
    differing: int | None = Field(
        description="In how many databases a check found differences; null of other operations."
    )
    per_second: float | None
    seconds_left: float | None
    first_error: FailureOut | None
    rehearsal: RehearsedOut | None
    approvals: list[ApprovalOut]
    settled: bool = Field(
        description="True if nothing more happens without somebody's action: it ended, halted, or "
        "is paused or not started. One that waits for an approval is not settled."
    )
    waits_for_approval: bool = Field(
        description="True while an approval is missing. `stage` is `waiting` a moment longer."
    )

    @classmethod
    def of(cls, watched: WatchedRollout) -> "ProgressOut":
        """From the progress at one moment."""
        own = ("settled", "waits_for_approval")
        progress = watched.progress
        return cls.model_validate(
            {name: getattr(progress, name) for name in cls.model_fields if name not in own}
            | {name: getattr(watched, name) for name in own}
        )
