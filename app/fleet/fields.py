"""Values that fit their columns, whichever face they come from."""

import re
from typing import Any

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import inspect

from app.errors import InputInvalid
from app.extensions import Base

# PostgreSQL keeps no NUL, UTF-8 no half of a surrogate pair; nobody means the other control
# characters.
UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")


def fitting(model: type[Base], values: dict[str, Any]) -> dict[str, Any]:
    """The same values, the address normalised. Raises InputInvalid for one that does not fit."""
    values = dict(values)
    if "name" in values and not (values["name"] or "").strip():
        raise InputInvalid("A name needs at least one letter.")
    if values.get("email") is not None:
        values["email"] = address(values["email"])
    columns = inspect(model).columns
    for name, value in values.items():
        if isinstance(value, str):
            _check(name, value, getattr(columns[name].type, "length", None))
    return values


def quoted(said: str) -> str:
    """What somebody typed, to be said again; not where it may be a URL with its password."""
    return "This" if "://" in said or "@" in said else repr(said)


def address(said: str) -> str | None:
    """An e-mail address as it is kept: trimmed, in lower case; None for an empty one."""
    if not said.strip():
        return None
    try:
        return validate_email(said.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise InputInvalid(f"{said.strip()!r} is no e-mail address: {error}") from error


def _check(name: str, value: str, longest: int | None) -> None:
    if longest and len(value) > longest:
        raise InputInvalid(
            f"The {name} has {len(value)} characters; at most {longest} are kept.", field=name
        )
    if UNFIT.search(value):
        raise InputInvalid(f"The {name} holds a character that cannot be kept.", field=name)
