"""Schemas of accounts."""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, EmailStr, Field

from app.api.schemas.common import NO_CONTROL, Description, In, Name, Out, Page, without_defaults
from app.models import Role

Place = Annotated[str, Field(max_length=128, pattern=NO_CONTROL)]
Email = Annotated[EmailStr, Field(max_length=128)]


def _day(value: object) -> object:
    """Refuse a number, which pydantic would read as seconds since 1970."""
    if not isinstance(value, str | date):
        raise ValueError("must be a date: YYYY-MM-DD")  # noqa: TRY004  # pydantic's way to refuse
    return value


Day = Annotated[date, BeforeValidator(_day)]


class AccountIn(In):
    """A new account."""

    name: Name = Field(examples=["Ada"])
    description: Description | None = None
    email: Email | None = Field(None, examples=["ada@example.org"])
    birthdate: Day | None = Field(None, examples=["1815-12-10"])
    location: Place | None = None
    role: Role = Role.VIEWER


class AccountChange(In):
    """Fields to change; a field that is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: Name = Field(default=None)  # type: ignore[assignment]
    description: Description | None = None
    email: Email | None = None
    birthdate: Day | None = None
    location: Place | None = None
    role: Role = Field(default=None)  # type: ignore[assignment]
    disabled: bool = Field(
        default=None,  # type: ignore[assignment]
        description="True: the account can neither sign in nor use its tokens. Only an admin can "
        "change this, and not for their own account.",
    )


class AccountOut(Out):
    """An account."""

    id: int
    name: str
    description: str | None
    email: str | None
    birthdate: date | None
    ip_source: str | None
    location: str | None
    role: Role
    disabled: bool
    version: int
    created_at: datetime
    updated_at: datetime


class AccountQuery(Page):
    """Filters for a list of accounts."""

    name: str | None = Field(None, max_length=128, pattern=NO_CONTROL, description="A part of it.")
    email: str | None = Field(None, max_length=128, pattern=NO_CONTROL)
    role: Role | None = None


class AccountPage(BaseModel):
    """A page of accounts, in the order they were created."""

    items: list[AccountOut]
    next: int | None
