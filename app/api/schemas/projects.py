"""Projects, in and out."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas.common import NO_CONTROL, In, Number, Out, Page, without_defaults
from app.models import Loading

ProjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=r"^[^\u0000-\u001f/]*[^\u0000-\u0020/0-9][^\u0000-\u001f/]*$",
        description="Neither a number nor with a /.",
    ),
]
Place = Annotated[str, Field(min_length=1, max_length=1024, pattern=NO_CONTROL)]
Notes = Annotated[str, Field(max_length=1000, pattern=NO_CONTROL)]
Seconds = Annotated[int, Field(ge=0, le=86_400), Number]
Arguments = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64, pattern=NO_CONTROL)],
        Annotated[str, Field(max_length=1024, pattern=NO_CONTROL)],
    ],
    Field(max_length=32),
]


class ProjectIn(In):
    """A new project."""

    name: ProjectName = Field(examples=["notes"])
    location: Place = Field(
        examples=["/projects/notes/migrations"],
        description="A folder in HEADWAY_PROJECT_ROOTS, or package:folder.",
    )
    ini: Place | None = Field(None, description="Its alembic.ini or pyproject.toml.")
    x: Arguments = Field(default_factory=dict, description="Alembic's -x arguments for env.py.")
    notes: Notes | None = None
    refresh_seconds: Seconds = Field(
        300, description="How often all its databases are asked where they stand; 0: never."
    )


class ProjectChange(In):
    """What is to be different; fields that are not there stay."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: ProjectName = Field(default=None)  # type: ignore[assignment]
    location: Place = Field(default=None)  # type: ignore[assignment]
    ini: Place | None = None
    x: Arguments = Field(default=None)  # type: ignore[arg-type]
    notes: Notes | None = None
    refresh_seconds: Seconds = Field(default=None)  # type: ignore[assignment]


class ProjectOut(Out):
    """A project, and what a worker found in its scripts."""

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
    refresh_asked_at: datetime | None
    refreshed_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class ProjectQuery(Page):
    """Which projects."""

    search: str | None = Field(
        None, max_length=64, pattern=NO_CONTROL, description="A part of the name."
    )


class ProjectPage(BaseModel):
    """Projects in the order they were made."""

    items: list[ProjectOut]
    next: int | None
