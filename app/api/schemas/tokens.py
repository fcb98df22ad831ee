"""Tokens, in and out, and the account that asks."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas.common import LARGEST_INTEGER, In, Name, Number, Out, Page
from app.models import Role


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
