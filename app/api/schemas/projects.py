"""Schemas of projects."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.api.schemas.common import NO_CONTROL, In, Number, Out, Page, without_defaults
from app.models import Loading

ProjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=r"^[^\u0000-\u001f/]*[^\u0000-\u0020/0-9][^\u0000-\u001f/]*$",
        description="Not only digits, and without `/`.",
    ),
]
Place = Annotated[str, Field(min_length=1, max_length=1024, pattern=NO_CONTROL)]
Notes = Annotated[str, Field(max_length=1000, pattern=NO_CONTROL)]
Seconds = Annotated[int, Field(ge=0, le=86_400), Number]
ArgumentName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[^\u0000-\u0008\u000b-\u001f=]*$")
]
ArgumentValue = Annotated[str, Field(max_length=1024, pattern=NO_CONTROL)]
Arguments = Annotated[dict[ArgumentName, ArgumentValue], Field(max_length=32)]
PLACEHOLDERS = (
    "A value may hold `{name}`, `{schema}`, `{database}` and `{label.NAME}`, which stand for those "
    "of each database; `{{name}}` is the text `{name}`."
)


APPROVAL = (
    "True: what changes its databases begins only when another account has approved it, whoever "
    "asks for it."
)


class ProjectIn(In):
    """A new project."""

    name: ProjectName = Field(examples=["notes"])
    location: Place = Field(
        examples=["/projects/notes/migrations"],
        description="A folder in HEADWAY_PROJECT_ROOTS, or package:folder.",
    )
    ini: Place | None = Field(None, description="Its alembic.ini or pyproject.toml.")
    x: Arguments = Field(
        default_factory=dict,
        description=f"Alembic's -x arguments for env.py. {PLACEHOLDERS}",
        examples=[{"tenant": "{schema}"}],
    )
    notes: Notes | None = None
    refresh_seconds: Seconds = Field(
        300, description="Seconds between two status checks of all its databases; 0: never."
    )
    requires_approval: StrictBool = Field(False, description=APPROVAL)


class ProjectChange(In):
    """Fields to change; a field that is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: ProjectName = Field(default=None)  # type: ignore[assignment]
    location: Place = Field(default=None)  # type: ignore[assignment]
    ini: Place | None = None
    x: Arguments = Field(default=None)  # type: ignore[arg-type]
    notes: Notes | None = None
    refresh_seconds: Seconds = Field(default=None)  # type: ignore[assignment]
    requires_approval: StrictBool = Field(default=None, description=APPROVAL)  # type: ignore[assignment]


class ProjectOut(Out):
    """A project, and what a worker read from its scripts."""

    id: int
    name: str
    location: str
    ini: str | None
    x: dict[str, str]
    notes: str | None
    state: Loading
    problem: str | None
    heads: list[str]
    environment: dict[str, str]
    loaded_at: datetime | None
    refresh_seconds: int
    requires_approval: bool
    refresh_asked_at: datetime | None
    refreshed_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class ProjectQuery(Page):
    """Filters for a list of projects."""

    search: str | None = Field(
        None, max_length=64, pattern=NO_CONTROL, description="Part of the name."
    )


class ProjectPage(BaseModel):
    """A page of projects, in the order they were created."""

    items: list[ProjectOut]
    next: int | None
