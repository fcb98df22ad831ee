"""What several nouns share."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# PostgreSQL cannot keep a NUL, and nobody means the other control characters.
NO_CONTROL = r"^[^\u0000-\u0008\u000b-\u001f]*$"
LARGEST_INTEGER = 2**31 - 1
LARGEST_EVENT = 2**63 - 1
AFTER = "`next` of the page before."


class In(BaseModel):
    """What comes in: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=False, str_strip_whitespace=False)


class Out(BaseModel):
    """What goes out, read from a row."""

    model_config = ConfigDict(from_attributes=True)


Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[^\u0000-\u001f]*[^\u0000-\u0020][^\u0000-\u001f]*$",
    ),
]
Description = Annotated[str, Field(max_length=200, pattern=NO_CONTROL)]


def _number(value: object) -> object:
    """A text is no number, though pydantic would read it as one."""
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  # pydantic's way to refuse
    return value


Number = BeforeValidator(_number)


def without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)  # not there is not null: it stays as it is


class Page(In):
    """Which part of a list."""

    limit: int = Field(50, ge=1, le=200)
    after: int | None = Field(None, ge=0, le=LARGEST_INTEGER, description=AFTER)


class Idempotent(BaseModel):
    """A key that makes sending a POST twice safe."""

    idempotency_key: str | None = Field(None, min_length=1, max_length=128, pattern=r"^[!-~]+$")
