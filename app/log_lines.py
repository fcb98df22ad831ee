"""A line of a log: text or JSON, with the id of its request, and without secrets.

No line contains a token, a header or a query string.
"""

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, Processor

from headway.error_text import visible

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
TOKEN = re.compile(r"(hw_[a-z0-9]{4,16}_)[A-Za-z0-9_-]{16,}")
"""No code logs a token on purpose, but a path, an error message or a library might contain one."""


def formatter(log_format: str) -> logging.Formatter:
    """A formatter for log records: `text` or `json`."""
    return _Formatter(
        foreign_pre_chain=SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(log_format),
        ],
    )


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Structlog's formatter, which also removes the secret part of tokens."""

    def format(self, record: logging.LogRecord) -> str:
        return TOKEN.sub(r"\1…", super().format(record))


def _renderers(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Not the default traceback: where rich is installed, that prints local variables, and one of
    # them is the token of the request.
    plain = structlog.dev.plain_traceback
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    return [structlog.processors.format_exc_info, _write_out, console]


def _write_out(_: object, __: str, event: EventDict) -> EventDict:
    """Control characters as text: no terminal obeys them, and no event makes a second line."""
    for name, value in event.items():
        if isinstance(value, str):
            shown = visible(value)
            event[name] = shown if name == "exception" else shown.replace("\n", "\\n")
    return event
