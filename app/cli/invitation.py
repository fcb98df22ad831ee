"""How the first person gets in: printed once, by the first start."""

import logging
import os
import sys

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.extensions import db
from app.fleet.accounts.invitations import invite_first_admin
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

TEXT = """
Nobody can sign in yet. This one-time token is good for 24 hours and for one use:

    {token}

Sign in with it at {url}/sign-in, or change it for a token of your own:

    curl -s {url}/api/v1/sign-in -H 'Content-Type: application/json' -d '{{"token": "{token}"}}'

"""


def invite(app: Flask) -> None:
    """Print a one-time token to standard error if there is no admin who could sign in.

    Not through the log, which is kept.
    """
    try:
        token = _invited(app)
    except (SQLAlchemyError, HeadwayError):
        # Of a catalog that is away for a moment, or newer: the next start looks again.
        log.warning("whether anybody can sign in could not be asked")
        return
    if token:
        sys.stderr.write(TEXT.format(token=token, url=address()))
        sys.stderr.flush()


def address() -> str:
    """Where the service answers, as far as this process can know."""
    host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000")
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104


def _invited(app: Flask) -> str | None:
    with app.app_context():
        try:
            return invite_first_admin()
        finally:
            db.session.remove()
            db.engine.dispose()  # a preloaded app is forked: no connection may be shared
