"""Remember each boot that went well: when, which release, from where to where, how long."""

import logging
import os
import platform
import time

from sqlalchemy import delete, insert
from sqlalchemy.exc import SQLAlchemyError

from app.boot.bind import catalog
from app.extensions import db
from app.models import Boot
from app.settings import RELEASE
from headway.types import Position, Status

log = logging.getLogger(__name__)

KEPT = 500
"""How many are remembered; the oldest go."""


def remember(before: Status, after: Status) -> None:
    """Add this boot. One that cannot be written is a warning: the catalog is served all the same.

    A boot that failed is not added: it leaves the catalog as it was, and the history of the
    revisions says what broke.
    """
    values = {
        "host": platform.node()[:255],
        "pid": os.getpid(),
        "release": RELEASE,
        "revision_from": "+".join(before.current)[:255],
        "revision_to": "+".join(after.current)[:255],
        "state": "head" if after.position is Position.AT_HEAD else "degraded",
        "seconds": round(time.time() - catalog().began, 3),
    }
    try:
        with db.engine.connect() as connection, connection.execution_options(write=True).begin():
            made = connection.execute(insert(Boot).values(values)).inserted_primary_key
            assert made is not None  # noqa: S101  # one row is inserted
            connection.execute(delete(Boot).where(Boot.id <= made[0] - KEPT))
    except SQLAlchemyError as error:
        log.warning("this boot is not remembered: %s", error.__class__.__name__)
