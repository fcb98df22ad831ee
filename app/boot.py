"""The service's own database: what is special about it. It boots as any other: `headway.boot`."""

import logging
import os
import platform
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from flask import Flask, current_app
from sqlalchemy import delete, insert
from sqlalchemy.exc import SQLAlchemyError

from app import catalog, errors
from app.catalog import WORDS
from app.extensions import db
from app.models import SEARCH, Boot  # all models with it: the tables that `flask db check` compares
from app.settings import MIGRATIONS, RELEASE, Settings
from headway.boot import Booted
from headway.dialects import dialect_of
from headway.errors import HeadwayError
from headway.flask import Alembic, Headway
from headway.history import NAME as HISTORY
from headway.types import Position, Status

log = logging.getLogger(__name__)

NOT_COMPARED = (HISTORY, SEARCH, "ix_database_sought")
"""How names begin of tables and indexes that no model has: the indexes of the search are where the
server has trigrams."""
KEPT = 500
"""How many boots are remembered; the oldest go."""


class CatalogAlembic(Alembic):
    """Flask-Alembic whose revisions are numbered."""

    def rev_id(self) -> str:
        """The next free number: two branches that both add one collide in review.

        With a letter, because `flask db downgrade 0003` would mean "three down".
        """
        taken = {script.revision for script in self.script_directory.walk_revisions()}
        return next(f"c{n:04}" for n in range(1, 10_000) if f"c{n:04}" not in taken)


alembic = CatalogAlembic(run_mkdir=False)
headway = Headway()
readiness, state = headway.readiness, headway.state


def init_app(app: Flask) -> None:
    """Bind the catalog and its migrations to an app, unless they are. Opens nothing."""
    if "alembic" in app.extensions:
        return
    if "sqlalchemy" not in app.extensions:
        catalog.init_app(app)
    settings: Settings = app.extensions["headway"]
    dialect = dialect_of(settings.database_url)
    app.config["ALEMBIC"] = {"script_location": str(MIGRATIONS)}
    app.config["ALEMBIC_CONTEXT"] = {
        "compare_type": True,
        "compare_server_default": True,
        "transactional_ddl": dialect.transactional_ddl or None,
        "include_name": lambda name, *_: not (name or "").startswith(NOT_COMPARED),
    }
    alembic.init_app(app)
    headway.init_app(
        app,
        db,
        alembic,
        wait=settings.boot_wait_seconds,
        lock_wait=settings.boot_lock_seconds,
        migrate=settings.migrate_on_boot,
        on_newer=settings.on_newer_catalog,
        sole=True,
        release=RELEASE,
        words=WORDS,
        on_booted=_booted,
        on_upgraded=_enable_wal,
        command="",  # ours are `flask catalog`
    )


def bring_to_head(app: Flask) -> Status:
    """Bring the catalog to head and say where it stands: see Headway.bring_to_head."""
    booted = headway.bring_to_head(app, always=True)
    assert booted  # noqa: S101  # always
    return booted.after


def behind() -> errors.CatalogBehind | None:
    """Why requests fail, where the catalog was taken back while this release serves it."""
    db.session.rollback()
    try:
        now = state()
    except (HeadwayError, SQLAlchemyError):
        return None
    if now not in ("behind", "empty"):
        return None
    return errors.CatalogBehind(
        f"The catalog is {now}: it was downgraded while this release served it. Bring it to head "
        "again, or start the release that it is at."
    )


def _booted(booted: Booted) -> None:
    if booted.before.position is Position.EMPTY:
        _close_to_others()
    _enable_wal()
    try:
        _remember(booted)
    except SQLAlchemyError as error:  # the catalog is served all the same
        log.warning("this boot is not remembered: %s", error.__class__.__name__)


def _close_to_others() -> None:
    """Let nobody but its owner read a SQLite catalog that was made just now.

    One that was there keeps its mode. SQLite gives the mode to the files beside it.
    """
    name = db.engine.url.database
    if db.engine.name == "sqlite" and name:
        with suppress(OSError):
            Path(name).chmod(0o600)


def _enable_wal() -> None:
    """Switch a SQLite catalog to a write-ahead log: who reads does not stop who writes."""
    if db.engine.name != "sqlite":
        return
    # The driver's own, for it cannot be done in a transaction. A file that is in use just now,
    # read-only, or on a medium without shared memory works as it is.
    with suppress(sqlite3.OperationalError), closing(db.engine.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA journal_mode=WAL")


def _remember(booted: Booted) -> None:
    """Add this boot to the catalog: when, which release, from where to where, how long.

    One that failed is not added: it leaves the catalog as it was, and the history of the
    revisions says what broke.
    """
    values = {
        "host": platform.node()[:255],
        "pid": os.getpid(),
        "address": (current_app.extensions["headway"].address or "")[:255] or None,
        "release": RELEASE,
        "revision_from": "+".join(booted.before.current)[:255],
        "revision_to": "+".join(booted.after.current)[:255],
        "state": "head" if booted.after.position is Position.AT_HEAD else "degraded",
        "seconds": booted.seconds,
    }
    with db.engine.connect() as connection, connection.execution_options(write=True).begin():
        made = connection.execute(
            insert(db.metadata.tables[Boot.__tablename__]), values
        ).inserted_primary_key
        assert made is not None  # noqa: S101  # one row is inserted
        if made[0] > KEPT:
            connection.execute(delete(Boot).where(Boot.id <= made[0] - KEPT))
