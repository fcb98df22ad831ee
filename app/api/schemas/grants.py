"""Schemas of grants: the roles of accounts in single projects."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.schemas.common import NO_CONTROL, In, Key, Number, Out, Page
from app.models import Role


class GrantIn(In):
    """A role of an account in a project; it takes the place of the one that it has there."""

    project_id: Annotated[Key, Number]
    account: str = Field(
        min_length=1,
        max_length=128,
        pattern=NO_CONTROL,
        description="Its id or its e-mail address.",
        examples=["ada@example.org"],
    )
    role: Literal[Role.VIEWER, Role.OPERATOR, Role.ADMIN]


class GrantOut(Out):
    """A role of an account in a project. Its role in the fleet holds too, if that is higher."""

    project_id: int
    project: str
    account_id: int
    account: str
    role: Role
    created_at: datetime


class GrantQuery(Page):
    """Filters for a list of grants."""

    project_id: Key | None = None
    account_id: Key | None = None


class GrantPage(BaseModel):
    """A page of grants, by the names of their projects and accounts."""

    items: list[GrantOut]
    next: int | None
