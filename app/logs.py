"""Logging: lines of text or JSON, each with the id of its request.

All logging, also that of libraries, goes through one handler. No line contains a token, a header
or a query string.
"""

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, Processor

from app.settings import Settings
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
QUIET = (
    *("alembic.runtime.plugins", "alembic.ddl.postgresql", "authlib", "sqlalchemy"),
    *("httpcore", "httpx"),  # which would log the URLs of webhooks
)


def configure(settings: Settings) -> None:
    """Send all logging to standard error, as the settings say. May be called again."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    # Flask-Alembic gives these a handler of their own when it is made.
    for name in ("alembic", "sqlalchemy"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("alembic").setLevel(logging.NOTSET)  # a command may have hushed it
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


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


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Our handler, to recognise it among those of the root logger."""


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
