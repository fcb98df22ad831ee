"""Validation of values before they are stored, for the API, the pages and the commands."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import inspect

from app.errors import AccountNotFound, DatabaseNotFound, InputInvalid, RecordChanged
from app.extensions import Base
from app.models import Account, Database, Project, Strategy
from headway.errors import HeadwayError, RevisionNotFound

# PostgreSQL cannot store NUL, UTF-8 cannot encode half of a surrogate pair; the other control
# characters are never intended.
UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")
MISLEADING_SET = (
    r"\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
)
"""Characters that no name may contain, as in a regular expression: control characters, line ends,
and those that are invisible or turn the direction of text: one name would look like another."""
MISLEADING = re.compile(rf"[{MISLEADING_SET}\ud800-\udfff]")


GATHERED = (InputInvalid, RevisionNotFound, DatabaseNotFound, AccountNotFound)
"""What is wrong with the value of one field."""


class Mistakes:
    """The mistakes in a request, gathered so that a person hears of all of them at once.

    Each is of a field, named as in the request.
    """

    def __init__(self) -> None:
        self.errors: list[HeadwayError] = []

    def __bool__(self) -> bool:
        return bool(self.errors)

    @contextmanager
    def gathered(self, field: str | None = None) -> Iterator[None]:
        """Keep what is raised within instead of raising it; of this field, if it names none."""
        try:
            yield
        except GATHERED as error:
            error.context["field"] = error.context.get("field") or field
            self.errors.append(error)

    def add(self, field: str, text: str) -> None:
        """Keep an invalid value of this field."""
        self.errors.append(InputInvalid(text, field=field))

    def refuse(self) -> None:
        """Raise the mistake if there is one; of several, an InputInvalid with `errors`.

        `errors` is as in a problem of the API: `[{"in", "pointer", "detail"}]`.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            said = [one for error in self.errors for one in _field_errors(error)]
            raise InputInvalid(
                " ".join(one["detail"] for one in said),
                field=self.errors[0].context["field"],
                errors=said,
            )


def _field_errors(error: HeadwayError) -> list[dict[str, str]]:
    several: Any = error.context.get("errors")
    pointer = f"/{error.context['field'] or ''}"
    return several or [{"in": "body", "pointer": pointer, "detail": str(error)}]


def fitting(model: type[Base], values: dict[str, Any]) -> dict[str, Any]:
    """Validated values for the columns of a model; an e-mail address is normalised.

    Raises InputInvalid.
    """
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


def quoted(text: str) -> str:
    """The repr of an input, for an error message; "This" if it may be a URL with a password."""
    return "This" if "://" in text or "@" in text else repr(text)


def address(text: str) -> str | None:
    """An e-mail address, trimmed and in lower case; None if empty. Raises InputInvalid."""
    if not text.strip():
        return None
    # Its tables are a twentieth of what a command imports, and most never see an address.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    try:
        return validate_email(text.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise InputInvalid(f"{text.strip()!r} is not an e-mail address: {error}") from error


def _check(name: str, value: str, longest: int | None) -> None:
    if longest and len(value) > longest:
        raise InputInvalid(
            f"The {name} has {len(value)} characters; at most {longest} are allowed.", field=name
        )
    if (MISLEADING if name == "name" else UNFIT).search(value):
        raise InputInvalid(f"The {name} holds a character that is not allowed.", field=name)


LARGEST_ID = 2**31 - 1


LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")


LONGEST_VALUE = 128


MOST_LABELS = 64


def labels_of(labels: Mapping[str, str | None]) -> dict[str, str | None]:
    """Validated labels; a value of None removes a label. Raises InputInvalid."""
    if len(labels) > MOST_LABELS:
        raise InputInvalid(f"A database has at most {MOST_LABELS} labels.", field="labels")
    for name, value in labels.items():
        if not LABEL.fullmatch(name):
            raise InputInvalid(
                f"{quoted(name)} is not a valid name of a label. A name has up to 64 letters, "
                "digits and . _ / -, and begins with a letter or digit.",
                field="labels",
            )
        if value is not None and (len(value) > LONGEST_VALUE or MISLEADING.search(value)):
            raise InputInvalid(
                f"The label {name} has an invalid value. A value has up to {LONGEST_VALUE} "
                "characters and no control characters.",
                field="labels",
            )
    return dict(labels)


def is_id(text: str) -> bool:
    """True for a text that may be the number of a row."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_ID))
    return is_number and int(text) <= LARGEST_ID


def parse_whole(text: str, what: str = "This") -> int | None:
    """A number as it is typed, of a row or of so many; None for nothing. Raises InputInvalid."""
    text = text.strip()
    if not text:
        return None
    if not is_id(text):
        raise InputInvalid(f"{what} is a whole number from 0 to {LARGEST_ID}.")
    return int(text)


def require_version(
    row: Account | Database | Project,
    version: int | None,
    changed: type[HeadwayError] = RecordChanged,
) -> None:
    """Raise `changed` if a row is not at the version that was read; None stands for any."""
    if version is not None and row.version != version:
        raise changed(
            f"{type(row).__name__} {row.id} is at version {row.version}, not {version}. Read it "
            "again."
        )


def strategy_of(value: str) -> str:
    """`wave` or `on_open`. Raises InputInvalid."""
    if value not in list(Strategy):
        raise InputInvalid(f"There is no strategy {value!r}. Use one of: {', '.join(Strategy)}.")
    return str(value)
