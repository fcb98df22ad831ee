"""The invitation of the first admin, which the first start prints once."""

import logging
import sys

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from app.extensions import db
from app.fleet.accounts.invitations import invite_first_admin
from app.fleet.reports.service import last_address
from app.settings import Settings
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

USUAL = "http://127.0.0.1:8000"
TEXT = """
No account can sign in yet. This one-time token is valid for 24 hours and for one sign-in:

    {token}

Sign in with it at {url}/sign-in, or exchange it for a token:

    curl -s {url}/api/v1/sign-in -H 'Content-Type: application/json' -d '{{"token": "{token}"}}'

"""


def invite(app: Flask) -> None:
    """Print a one-time token to standard error if no admin can sign in.

    Not to the log, which is stored.
    """
    try:
        token = _invited(app)
    except (SQLAlchemyError, HeadwayError):
        # The catalog is unreachable for a moment, or newer: the next start tries again.
        log.warning("cannot check whether an admin can sign in")
        return
    if token:
        with app.app_context():
            # Nothing is asked of the catalog: a connection would be shared by what is forked.
            sys.stderr.write(TEXT.format(token=token, url=_own_address() or USUAL))
        sys.stderr.flush()


def address() -> str:
    """The URL of the service: its public one, or else the one that it last booted at."""
    return _own_address() or last_address() or USUAL


def _own_address() -> str | None:
    settings: Settings = current_app.extensions["headway"]
    return settings.address


def _invited(app: Flask) -> str | None:
    with app.app_context():
        try:
            return invite_first_admin()
        finally:
            db.session.remove()
            db.engine.dispose()  # a preloaded app is forked, and must not share a connection
