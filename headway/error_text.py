"""An error's message as one printable line, without statements and their values."""

import re
from types import FrameType

LONGEST = 1000
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys in place of showing it, but for line ends and tabs."""
BARE = (LookupError, AttributeError, NameError, TypeError, AssertionError)
"""Python's own errors, whose messages are only names."""


def visible(text: str) -> str:
    """The text with its control characters written out, so that no terminal obeys them."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def plain(error: BaseException) -> str:
    """The error's message as one printable line, without the statement and the full stop."""
    found = getattr(error, "orig", None) or error
    text = _message(found).partition("\nLINE ")[0]  # where PostgreSQL shows the statement
    text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in " ".join(text.split()))
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} …"
    return text.rstrip(".") or type(found).__name__  # `raise NotImplementedError`


def raised_in(error: BaseException) -> FrameType | None:
    """The innermost frame that an error came from; None if it was never raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace.tb_frame if trace else None


def is_raised_by_sqlalchemy(error: BaseException) -> bool:
    """True if SQLAlchemy's code raised it: its dialects query a server for what they need."""
    frame = raised_in(error)
    module = frame.f_globals.get("__name__") if frame else ""
    return str(module).startswith("sqlalchemy.")


def with_kind(error: BaseException) -> str:
    """The error's message, with its class name if the message alone is not clear."""
    found = getattr(error, "orig", None) or error
    text, kind = plain(error), type(found).__name__
    if (
        kind == "NoSuchTableError"
    ):  # SQLAlchemy's, which a command that fails early has not imported
        return f"table {text} does not exist ({kind})"
    return f"{kind}: {text}" if isinstance(found, BARE) and text != kind else text


def _message(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        inner = "; ".join(f"{type(one).__name__}: {plain(one)}" for one in error.exceptions)
        return f"{error.message} ({inner})"
    if isinstance(error, SystemExit):
        return f"it ended the program ({error.code})"
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an error that cannot even say what it is
        return ""
