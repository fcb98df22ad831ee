"""Schemas of tokens, of sign-in and of the caller's own account."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas.common import LARGEST_INTEGER, In, Name, Number, Out, Page
from app.models import Role, Scope, TokenKind


class TokenIn(In):
    """A new token."""

    name: Name = Field(examples=["deploy"])
    account_id: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Number] | None = Field(
        None, description="The account that owns it. Default: your own."
    )
    expires_days: Annotated[int, Field(ge=1, le=3650), Number] | None = Field(
        90, description="null: it never expires. `HEADWAY_TOKEN_DAYS` may set a limit."
    )
    scope: Scope | None = Field(
        None, description="Narrows what the role of the account allows. null: all that it allows."
    )
    password: str | None = Field(
        None,
        max_length=256,
        description="The password of your account. Needed half an hour after the sign-in, "
        "invitation or command that your token came from.",
    )


class TokenOut(Out):
    """A token, without its text."""

    id: int
    account_id: int
    name: str
    prefix: str
    kind: TokenKind
    scope: Scope | None
    one_time: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenIssued(TokenOut):
    """A token with its text, which is shown only once: null if an equal request made it before."""

    token: str | None


class TokenQuery(Page):
    """Filters for a list of tokens."""

    account_id: int | None = Field(None, ge=1, le=LARGEST_INTEGER)


class TokenPage(BaseModel):
    """A page of tokens, in the order they were created."""

    items: list[TokenOut]
    next: int | None


class SignIn(In):
    """A one-time token to exchange."""

    token: str = Field(max_length=128, examples=["hw_first_…"])


class Me(BaseModel):
    """The account that the token of this request belongs to."""

    id: int
    name: str
    role: Role
