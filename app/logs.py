"""Logging: lines of text or JSON, each with the id of its request.

All logging, also that of libraries, goes through one handler.
"""

import logging
import sys

from app.settings import Settings

QUIET = (
    *("alembic.runtime.plugins", "alembic.ddl.postgresql", "authlib", "sqlalchemy"),
    *("httpcore", "httpx"),  # which would log the URLs of webhooks
)


def configure(settings: Settings) -> None:
    """Send all logging to standard error, as the settings say. May be called again."""
    handler = _Handler(settings.log_format)
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


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Our handler, to recognise it among those of the root logger.

    A command that logs nothing does not import what makes a line.
    """

    def __init__(self, log_format: str) -> None:
        super().__init__(sys.stderr)
        self.log_format = log_format

    def format(self, record: logging.LogRecord) -> str:
        if self.formatter is None:
            from app.log_lines import formatter  # noqa: PLC0415  # see above

            self.setFormatter(formatter(self.log_format))
        return super().format(record)
