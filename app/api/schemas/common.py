"""Types and base classes that the schemas share."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.fleet.core.validation import MISLEADING_SET

# PostgreSQL cannot store a NUL; the other control characters are never intended.
NO_CONTROL = r"^[^\u0000-\u0008\u000b-\u001f]*$"
NOT_MISLEADING = rf"^[^{MISLEADING_SET}]*$"
LARGEST_INTEGER = 2**31 - 1
Key = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
"""The id of an object."""
LARGEST_EVENT = 2**63 - 1
AFTER = "`next` of the previous page."


class In(BaseModel):
    """Base of request bodies and queries: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=False, str_strip_whitespace=False)


class Out(BaseModel):
    """Base of responses, read from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True)


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=rf"^[^{MISLEADING_SET}]*[^{MISLEADING_SET}\s][^{MISLEADING_SET}]*$",
    ),
]
Description = Annotated[str, Field(max_length=200, pattern=NO_CONTROL)]


def _number(value: object) -> object:
    """Refuse text and booleans, which pydantic would convert to a number."""
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  # pydantic's way to refuse
    return value


Number = BeforeValidator(_number)


def without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)  # a field that is left out stays as it is; it is not null


class Page(In):
    """Which page of a list."""

    limit: int = Field(50, ge=1, le=200)
    after: int | None = Field(None, ge=0, le=LARGEST_INTEGER, description=AFTER)


class Named(In):
    """What to find."""

    name: str = Field(min_length=1, max_length=256, pattern=NO_CONTROL)


class Idempotent(BaseModel):
    """A key with which a POST can be sent twice and is done once."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=128, pattern=r"^[!-~]+$")
