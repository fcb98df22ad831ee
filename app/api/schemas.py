"""The shapes of the API, in and out. Lengths are those of the columns."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, EmailStr, Field

from app.models import Role

# PostgreSQL cannot keep a NUL, and nobody means the other control characters.
NO_CONTROL = r"^[^\u0000-\u0008\u000b-\u001f]*$"
LARGEST_INTEGER = 2**31 - 1
LARGEST_EVENT = 2**63 - 1
AFTER = "`next` of the page before."


class In(BaseModel):
    """What comes in: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=False, str_strip_whitespace=False)


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[^\u0000-\u001f]*[^\u0000-\u0020][^\u0000-\u001f]*$",
    ),
]
Description = Annotated[str, Field(max_length=200, pattern=NO_CONTROL)]
Place = Annotated[str, Field(max_length=128, pattern=NO_CONTROL)]
Email = Annotated[EmailStr, Field(max_length=128)]


def _day(value: object) -> object:
    """A number is no day, though pydantic would take it for seconds since 1970."""
    if not isinstance(value, str | date):
        raise ValueError("must be a date: YYYY-MM-DD")  # noqa: TRY004  # pydantic's way to refuse
    return value


Day = Annotated[date, BeforeValidator(_day)]


def _number(value: object) -> object:
    """A text is no number, though pydantic would read it as one."""
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  # pydantic's way to refuse
    return value


Number = BeforeValidator(_number)


class AccountIn(In):
    """A new account."""

    name: Name = Field(examples=["Ada"])
    description: Description | None = None
    email: Email | None = Field(None, examples=["ada@example.org"])
    birthdate: Day | None = Field(None, examples=["1815-12-10"])
    location: Place | None = None
    role: Role = Role.VIEWER


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)  # not there is not null: it stays as it is


class AccountChange(In):
    """What is to be different; fields that are not there stay."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = Field(default=None)  # type: ignore[assignment]
    description: Description | None = None
    email: Email | None = None
    birthdate: Day | None = None
    location: Place | None = None
    role: Role = Field(default=None)  # type: ignore[assignment]


class Out(BaseModel):
    """What goes out, read from a row."""

    model_config = ConfigDict(from_attributes=True)


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
    version: int
    created_at: datetime
    updated_at: datetime


class Page(In):
    """Which part of a list."""

    limit: int = Field(50, ge=1, le=200)
    after: int | None = Field(None, ge=0, le=LARGEST_INTEGER, description=AFTER)


class AccountQuery(Page):
    """Which accounts."""

    name: str | None = Field(None, max_length=128, pattern=NO_CONTROL, description="A part of it.")
    email: str | None = Field(None, max_length=128, pattern=NO_CONTROL)
    role: Role | None = None


class AccountPage(BaseModel):
    """Accounts in the order they were made."""

    items: list[AccountOut]
    next: int | None


class TokenIn(In):
    """A new token."""

    name: Name = Field(examples=["deploy"])
    account_id: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number] | None = Field(
        None, description="Whose; yours if it is not there."
    )
    expires_days: Annotated[int, Field(ge=1, le=3650), Number] | None = Field(
        90, description="null: never."
    )


class TokenOut(Out):
    """A token, without its text."""

    id: int
    account_id: int
    name: str
    prefix: str
    one_time: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenIssued(TokenOut):
    """A token with its text, this once. null when it was made by an earlier, equal request."""

    token: str | None


class TokenQuery(Page):
    """Which tokens."""

    account_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)


class TokenPage(BaseModel):
    """Tokens in the order they were made."""

    items: list[TokenOut]
    next: int | None


class SignIn(In):
    """A one-time token."""

    token: str = Field(max_length=128, examples=["hw_first_…"])


class Me(BaseModel):
    """The account that asks."""

    id: int
    name: str
    role: Role


class EventOut(Out):
    """One line of the audit trail."""

    id: int
    at: datetime
    actor_id: int | None
    actor_name: str
    action: str
    subject_type: str
    subject_id: int | None
    detail: dict[str, Any]
    request_id: str | None
    ip: str | None


class EventQuery(Page):
    """Which events."""

    after: int | None = Field(None, ge=0, le=LARGEST_EVENT, description=AFTER)
    action: str | None = Field(None, max_length=64, pattern=NO_CONTROL)
    subject_type: str | None = Field(None, max_length=32, pattern=NO_CONTROL)
    subject_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)


class EventPage(BaseModel):
    """Events, newest first."""

    items: list[EventOut]
    next: int | None


class Idempotent(BaseModel):
    """A key that makes sending a POST twice safe."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=128, pattern=r"^[!-~]+$")
