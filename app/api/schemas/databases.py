"""Schemas of databases."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.api.schemas.common import (
    LARGEST_INTEGER,
    NO_CONTROL,
    NOT_MISLEADING,
    In,
    Name,
    Number,
    Out,
    Page,
    without_defaults,
)
from app.api.schemas.projects import PLACEHOLDERS, ArgumentName, Arguments, ArgumentValue, Notes
from app.models import Strategy

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$"
LABELLED = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}=[^\u0000-\u001f,]*(,[A-Za-z0-9][A-Za-z0-9._/-]{0,63}=[^\u0000-\u001f,]*)*$"  # noqa: E501

Id = Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        pattern=NO_CONTROL,
        description="Stored encrypted and never shown again.",
        json_schema_extra={"writeOnly": True},
        examples=["postgresql://user:password@host/customer"],
    ),
]
Reference = Annotated[
    str,
    Field(
        max_length=1024,
        pattern=r"^(env:[A-Za-z_]|file:/)",
        description="Instead of a URL: env:NAME, or file:/run/secrets/name. Workers read it.",
    ),
]
LabelName = Annotated[str, Field(pattern=LABEL)]
LabelValue = Annotated[str, Field(max_length=128, pattern=NOT_MISLEADING)]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=64)]
LabelChanges = Annotated[
    dict[LabelName, LabelValue | None],
    Field(max_length=64, description="Labels to set; null removes one; others stay as they are."),
]
ArgumentChanges = Annotated[
    dict[ArgumentName, ArgumentValue | None],
    Field(
        max_length=64,
        description="Its own -x arguments to set; null removes one, and its project's is used "
        "again; others stay as they are.",
    ),
]
PositionName = Literal[
    "at_head",
    "behind",
    "ahead",
    "diverged",
    "unstamped",
    "empty",
    "torn",
    "foreign",
    "unreachable",
    "unknown",
]


class DatabaseIn(In):
    """A database to register, with either `url` or `reference`."""

    project_id: Id
    name: Name | None = Field(None, description="Default: that of the file, database or schema.")
    url: Url | None = None
    reference: Reference | None = None
    owner_id: Id | None = None
    notes: Notes | None = None
    strategy: Strategy = Strategy.WAVE
    labels: Labels = Field(default_factory=dict)
    x: Arguments = Field(
        default_factory=dict,
        description=f"Its own -x arguments, over those of its project. {PLACEHOLDERS}",
        examples=[{"tenant": "acme"}],
    )


class DatabaseChange(In):
    """Fields to change; a field that is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: Name = Field(default=None)  # type: ignore[assignment]
    url: Url = Field(default=None)  # type: ignore[assignment]
    reference: Reference = Field(default=None)  # type: ignore[assignment]
    owner_id: Id | None = None
    notes: Notes | None = None
    strategy: Strategy = Field(default=None)  # type: ignore[assignment]
    labels: LabelChanges = Field(default=None)  # type: ignore[arg-type]
    x: ArgumentChanges = Field(default=None)  # type: ignore[arg-type]


class DatabaseOut(Out):
    """A database, as the catalog knows it."""

    id: int
    project_id: int
    project: str
    name: str
    notes: str | None
    address: str = Field(description="The URL without password and secrets.")
    reference: str | None
    dialect: str | None
    server: str | None
    owner_id: int | None
    owner: str | None
    labels: dict[str, str]
    x: dict[str, str] = Field(description="Its own -x arguments, over those of its project.")
    strategy: Strategy
    pin_reason: str | None
    pin_until: datetime | None
    rollout_id: int | None
    position: PositionName
    current: str = Field(description="Its current revisions, joined by `+`.")
    pending: int | None
    size_bytes: int | None
    milliseconds: float | None
    reason: str | None
    asked_at: datetime | None
    seen_at: datetime | None
    drift: int | None
    drift_at: datetime | None
    retired_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    @field_validator("project", "owner", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return getattr(value, "name", value)

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_as_dict(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {label.name: label.value for label in value}

    @field_validator("x", mode="before")
    @classmethod
    def _none_as_empty(cls, value: Any) -> Any:
        return value or {}

    @field_validator("position", mode="before")
    @classmethod
    def _unknown(cls, value: Any) -> Any:
        return value or "unknown"


class DatabaseQuery(Page):
    """Filters for a list of databases."""

    project_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    label: str | None = Field(
        None,
        max_length=2048,
        pattern=LABELLED,
        description="Labels that must all match: `tier=gold,region=eu`; `tier=` for any value.",
        examples=["tier=gold"],
    )
    owner_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    position: PositionName | None = None
    current: str | None = Field(None, max_length=255, pattern=NO_CONTROL)
    search: str | None = Field(
        None, max_length=128, pattern=NO_CONTROL, description="Part of the name or address."
    )
    drifted: bool | None = None
    pinned: bool | None = None
    strategy: Strategy | None = None
    retired: bool = Field(False, description="List retired databases instead.")


class DatabasePage(BaseModel):
    """A page of databases, in the order they were registered."""

    items: list[DatabaseOut]
    next: int | None


class SelectorIn(In):
    """Which databases: those that match all given fields."""

    project_id: Id | None = None
    ids: Annotated[list[Id], Field(max_length=10_000)] | None = None
    labels: Labels | None = None
    owner_id: Id | None = None
    positions: list[PositionName] | None = None
    current: str | None = Field(None, max_length=255, pattern=NO_CONTROL)
    search: str | None = Field(None, max_length=128, pattern=NO_CONTROL)
    drifted: bool | None = None
    pinned: bool | None = None
    strategy: Strategy | None = None


class ManyChange(In):
    """Labels or a strategy to set on all selected databases."""

    selector: SelectorIn
    labels: LabelChanges | None = None
    strategy: Strategy | None = None


class ManyChanged(BaseModel):
    """The number of databases that were selected."""

    databases: int


class Pin(In):
    """The reason for a pin, and when it ends."""

    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROL)]
    until: datetime


class Drop(In):
    """Confirmation for dropping a database, or the schema that its URL names and that alone."""

    confirm: str = Field(max_length=128, description="The name of the database.")


class DroppedOut(BaseModel):
    """The record of a dropped database, and its snapshot if there is one."""

    database: DatabaseOut
    snapshot: str | None
    note: str


class FileSource(In):
    """SQLite files as a source of an import."""

    pattern: str = Field(min_length=1, max_length=1024, pattern=NO_CONTROL, examples=["/data/*.db"])
    labels: str | None = Field(
        None, max_length=512, description="A regular expression whose named groups become labels."
    )


class ServerSource(In):
    """The databases of a server as a source of an import."""

    url: Url
    names: str = Field("*", max_length=128, pattern=NO_CONTROL, examples=["customer_*"])
    labels: str | None = Field(None, max_length=512)


class SchemaSource(In):
    """The schemas of a PostgreSQL database as a source of an import: each is a database."""

    url: Url
    names: str = Field("*", max_length=128, pattern=NO_CONTROL, examples=["tenant_*"])
    labels: str | None = Field(None, max_length=512)


class ImportIn(In):
    """Databases to import from exactly one source."""

    project_id: Id
    files: FileSource | None = None
    server: ServerSource | None = None
    schemas: SchemaSource | None = None
    csv: str | None = Field(None, examples=["name,url,label.tier,x.tenant\n"])
    json_lines: str | None = None


class Refused(BaseModel):
    """A row that was not registered."""

    line: int
    why: str


class Imported(BaseModel):
    """The result of an import."""

    added: int
    known: int
    refused: list[Refused]


class OverviewQuery(In):
    """Which project to summarise, and what to group by."""

    project_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)
    by: str | None = Field(
        None, pattern=r"^(owner|label\.[A-Za-z0-9][A-Za-z0-9._/-]{0,63})$", examples=["owner"]
    )


class ProjectOverviewOut(Out):
    """The databases of one project, counted."""

    id: int
    name: str
    state: str
    databases: int
    positions: dict[str, int]
    revisions: dict[str, int]


class OverviewGroupOut(Out):
    """The number of databases with one owner or one label value."""

    value: str
    databases: int


class OverviewOut(Out):
    """The databases of the fleet, counted."""

    databases: int
    positions: dict[str, int]
    drifted: int
    pinned: int
    retired: int
    projects: list[ProjectOverviewOut]
    by: str | None
    groups: list[OverviewGroupOut]
