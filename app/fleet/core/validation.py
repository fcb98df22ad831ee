"""Values that fit their columns, whichever face they come from."""

import re
from collections.abc import Mapping
from typing import Any

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import inspect

from app.errors import InputInvalid
from app.extensions import Base
from app.models import Strategy

# PostgreSQL keeps no NUL, UTF-8 no half of a surrogate pair; nobody means the other control
# characters.
UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")
MISLEADING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""What no name holds: control characters, line ends, and those that turn the direction of text or
are not seen, by which a name looks like another."""


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
    if (MISLEADING if name == "name" else UNFIT).search(value):
        raise InputInvalid(f"The {name} holds a character that cannot be kept.", field=name)


LARGEST_ID = 2**31 - 1


LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")


LONGEST_VALUE = 128


MOST_LABELS = 64


def labels_of(labels: Mapping[str, str | None]) -> dict[str, str | None]:
    """Labels that can be kept; a value of None takes one away. Raises InputInvalid."""
    if len(labels) > MOST_LABELS:
        raise InputInvalid(f"A database has at most {MOST_LABELS} labels.", field="labels")
    for name, value in labels.items():
        if not LABEL.fullmatch(name):
            raise InputInvalid(
                f"{quoted(name)} is no name of a label: up to 64 letters, digits and . _ / -, "
                "beginning with a letter or digit.",
                field="labels",
            )
        if value is not None and (len(value) > LONGEST_VALUE or MISLEADING.search(value)):
            raise InputInvalid(
                f"The label {name} has a value that cannot be kept: up to {LONGEST_VALUE} "
                "characters, none of them a control character.",
                field="labels",
            )
    return dict(labels)


def is_id(said: str) -> bool:
    """True for a text that may be the number of a row."""
    is_number = said.isascii() and said.isdecimal() and len(said) <= len(str(LARGEST_ID))
    return is_number and int(said) <= LARGEST_ID


def whole(said: str, what: str = "This") -> int | None:
    """A number as it is typed, of a row or of so many; None for nothing. Raises InputInvalid."""
    said = said.strip()
    if not said:
        return None
    if not is_id(said):
        raise InputInvalid(f"{what} is a whole number from 0 to {LARGEST_ID}.")
    return int(said)


def strategy_of(said: str) -> str:
    """`wave` or `on_open`. Raises InputInvalid."""
    if said not in list(Strategy):
        raise InputInvalid(f"There is no strategy {said!r}. There are: {', '.join(Strategy)}.")
    return str(said)
