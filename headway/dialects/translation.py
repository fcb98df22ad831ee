"""Translates driver errors into Headway's: only those that a person can resolve, never defects."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from headway.dialects.base import Dialect
from headway.dialects.driver import Raw, display_url, open_raw
from headway.error_text import plain
from headway.errors import (
    AddressInvalid,
    DatabaseDamaged,
    DatabaseDenied,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseRefused,
    DatabaseUnreachable,
    HeadwayError,
)

ADVICE: dict[type[HeadwayError], str] = {
    DatabaseUnreachable: "{url} does not answer: {reason}",
    DatabaseDenied: "{url} refuses the user or the password: {reason}",
    DatabaseDamaged: "{url} cannot be read: {reason}. Check the path, or restore a snapshot.",
    DatabaseReadOnly: "{url} cannot be used: {reason}. Give it a place that can be written.",
    DatabaseInUse: (
        "{url} gave up on a statement: {reason}. Nothing more was done. Try again when others "
        "are done, or allow it more time."
    ),
    DatabaseRefused: "{url} refuses a statement: {reason}. Nothing more was done.",
}
RIGHT_MISSING = (
    "{url} does not allow this: {reason}. Nothing more was done. {missing}, or give the URL of an "
    "account that has it."
)


@contextmanager
def translating(dialect: Dialect, url: URL, *, all: bool = False) -> Iterator[None]:  # noqa: A002
    """Translate the driver's connection errors into ours.

    With `all`, every driver error: the database is the caller's, and its faults are no defects of
    Headway.
    """
    try:
        yield
    except Exception as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not cause or not _is_drivers(cause):
            raise
        kind = dialect.refusal(cause) or (DatabaseRefused if all else None)
        if kind is None:
            raise
        place = display_url(url)
        statement = str(getattr(error, "statement", None) or "")
        words = ADVICE[kind]
        missing = dialect.missing_right(cause, statement)
        if kind is DatabaseDenied and missing:
            words = RIGHT_MISSING
        message = words.format(url=place, reason=plain(cause), missing=f"Grant it {missing}")
        raise kind(message, url=place) from error


@contextmanager
def unwrapped() -> Iterator[None]:
    """What the database refuses of a caller's operations or models stays the error they know."""
    try:
        yield
    except DatabaseRefused as error:
        raise error.__cause__ or error from None


def opened(url: URL, more: Mapping[str, Any] | None = None) -> Raw:
    """A new connection of the driver's. Raises AddressInvalid for options that it does not know."""
    try:
        return open_raw(url, more)
    except (OSError, UnicodeError) as error:  # a name that is none, a socket that is not there
        raise DatabaseUnreachable(
            ADVICE[DatabaseUnreachable].format(url=display_url(url), reason=plain(error)),
            url=display_url(url),
        ) from error
    except (TypeError, ValueError) as error:
        if _is_drivers(error):
            raise
        raise AddressInvalid(f"{display_url(url)} cannot be used: {plain(error)}.") from error


def _is_drivers(error: BaseException) -> bool:
    """True for an error class of PEP 249. Drivers share the names, not the classes."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"DatabaseError", "InterfaceError"})
