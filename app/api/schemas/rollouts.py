"""Rollouts, in and out."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictBool

from app.api.schemas.common import LARGEST_INTEGER, NO_CONTROL, In, Number, Out, Page
from app.api.schemas.databases import PositionName
from app.fleet.rollouts import CONCURRENCY, LONGEST_RUN, MOST_AT_ONCE, PER_SERVER, TIMEOUT
from app.fleet.rollouts.gates import LONGEST_SOAK
from app.fleet.rollouts.waves import DEFAULT, MOST
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
    """Which databases of the project; what is not given does not narrow it."""

    ids: list[Id] | None = Field(None, max_length=MOST_IDS)
    labels: dict[LabelName, LabelValue] | None = Field(
        None, description='All of them must hold; "" for any value.', examples=[{"tier": "gold"}]
    )
    owner_id: Id | None = None
    positions: list[PositionName] | None = Field(None, max_length=20)
    current: Annotated[str, Field(max_length=255, pattern=NO_CONTROL)] | None = Field(
        None, description="The revisions it is at, joined by `+`."
    )
    search: Annotated[str, Field(max_length=200, pattern=NO_CONTROL)] | None = Field(
        None, description="A part of its name or address."
    )
    drifted: StrictBool | None = None
    pinned: StrictBool | None = None
    strategy: Strategy | None = None


class GateIn(In):
    """What has to hold before the next wave begins."""

    failures: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), Number] = Field(
        0, description="How many databases may fail."
    )
    failures_percent: Annotated[Real, Field(ge=0, le=100)] | None = Field(
        None, description="Or which part of those that were begun; the larger counts."
    )
    soak_seconds: Annotated[Real, Field(ge=0, le=LONGEST_SOAK)] = 0.0
    approval: StrictBool = Field(False, description="By another account, after each wave.")
    check: Literal["drift", "sql"] | None = Field(
        None, description="What each database has to pass after its migration."
    )
    sql: Annotated[str, Field(min_length=1, max_length=10_000, pattern=NO_CONTROL)] | None = Field(
        None, description="The query of the check `sql`: its first value must be true."
    )


class WindowIn(In):
    """When runs may begin; past midnight if `until` is less than `from`."""

    start: Clock = Field(alias="from", examples=["22:00"])
    until: Clock = Field(examples=["04:00"])
    days: list[Day] | None = Field(None, min_length=1, max_length=7)
    zone: str = Field("UTC", max_length=64, pattern=NO_CONTROL, examples=["Europe/Berlin"])


class RolloutIn(In):
    """A new rollout, or what one would be."""

    project_id: Id
    kind: Operation = "upgrade"
    target: TargetText | None = Field(
        None, description="`heads` if it is not there; a downgrade needs one.", examples=["heads"]
    )
    title: Annotated[str, Field(max_length=200, pattern=NO_CONTROL)] | None = None
    selector: Choice | None = None
    waves: list[WaveIn] = Field(
        list(DEFAULT),
        min_length=1,
        max_length=MOST,
        description="How many databases are through after each: a number or a part of all.",
    )
    gate: GateIn | None = None
    window: WindowIn | None = None
    concurrency: Annotated[int, Field(ge=1, le=MOST_AT_ONCE), Number] = CONCURRENCY
    per_server: Annotated[int, Field(ge=1, le=MOST_AT_ONCE), Number] = PER_SERVER
    timeout_seconds: Annotated[Real, Field(ge=0.1, le=LONGEST_RUN)] = Field(
        TIMEOUT, description="A run that takes longer is ended."
    )
    snapshot: StrictBool = Field(False, description="Before each run, where that can be.")
    retreat: StrictBool = Field(True, description="A canary that fails is taken back by itself.")

    def values(self) -> dict[str, Any]:
        """As the fleet takes them."""
        return self.model_dump(by_alias=True)


class Nothing(In):
    """Nothing can be said of it yet: `{}`."""


class Resume(In):
    """What becomes of those that failed."""

    skip_failed: StrictBool = Field(
        False, description="Leave them as they are and go on without them; else try them again."
    )


class Approve(In):
    """Which wave was looked at."""

    wave: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number] | None = Field(
        None,
        description="The one that is done and waits, as `readProgress` says it: refused if another "
        "waits by now. null: the one that waits, whichever that is.",
    )


class Rehearse(In):
    """How many to rehearse it on."""

    sample: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number] | None = Field(
        None, description="So many of each plan; null: every database."
    )


class RolloutOut(Out):
    """What was asked for, and where it is."""

    id: int
    project_id: int
    title: str | None
    kind: str
    target: str
    selector: dict[str, Any]
    waves: list[str]
    sizes: list[int] = Field(description="How many databases each wave has; [] before the start.")
    gate: dict[str, Any]
    window: dict[str, Any] | None
    concurrency: int
    per_server: int
    timeout_seconds: float
    snapshot: bool
    retreat: bool
    stage: Stage
    reason: str | None
    wave: int = Field(description="The one that is open, from 1; 0 before the start.")
    by_id: int | None
    by_name: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, rollout: Rollout) -> "RolloutOut":
        """Waves are counted from 1."""
        shown = cls.model_validate(rollout)
        shown.wave = rollout.wave + 1 if rollout.sizes else 0
        return shown


class RolloutQuery(Page):
    """Which rollouts."""

    project_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    stage: Stage | None = None


class RolloutPage(BaseModel):
    """Rollouts, newest first."""

    items: list[RolloutOut]
    next: int | None


class StepOut(Out):
    """One revision of a plan."""

    revision: str
    message: str
    risks: list[str] = Field(description="What to know before it runs.")


class PreviewGroupOut(Out):
    """Databases that share one plan."""

    dialect: str | None
    current: str = Field(description='The revisions they are at, joined by `+`; "" for none.')
    databases: int
    ends: str | None
    steps: list[StepOut]
    sql: str | None
    why: str | None = Field(description="Why there is no plan, or no SQL.")


class SkippedOut(Out):
    """Databases that are chosen and left out."""

    why: str
    databases: int
    ids: list[int] = Field(description="The first of them.")


class PreviewOut(Out):
    """What a rollout would do to whom."""

    groups: list[PreviewGroupOut]
    skipped: list[SkippedOut]
    waves: list[int]
    total: int


class WaveOut(Out):
    """One wave, by the states of its runs."""

    number: int
    size: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    lost: int


class FailureOut(Out):
    """The first that failed."""

    run_id: int
    database_id: int
    database: str
    error: str | None


class RehearsedOut(Out):
    """How the rehearsal went so far."""

    total: int
    done: int
    failed: int
    seconds: float = Field(description="All of them together.")
    seconds_ahead: float | None = Field(
        description="What the rollout will take at this pace, plan by plan, with the soaking "
        "between its waves; approvals not counted. Null until the rehearsal has ended."
    )
    first_error: FailureOut | None


class ApprovalOut(Out):
    """A second account's word that a wave may be followed by the next."""

    wave: Annotated[int, AfterValidator(lambda number: number + 1)]
    account_id: int
    account_name: str
    at: datetime


class ProgressOut(Out):
    """How far a rollout is."""

    stage: Stage
    reason: str | None
    wave: int
    waves: list[WaveOut]
    undo: WaveOut | None
    total: int
    done: int
    per_second: float | None
    seconds_left: float | None
    first_error: FailureOut | None
    rehearsal: RehearsedOut | None
    approvals: list[ApprovalOut]
