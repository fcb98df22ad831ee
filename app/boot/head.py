"""Bring the catalog to head: wait, look, lock, look again, snapshot, upgrade, verify."""

import logging
import os
import sqlite3
import time
from contextlib import closing, suppress

from flask import Flask
from sqlalchemy.exc import DBAPIError

from app.boot import boots
from app.boot.bind import Catalog, catalog
from app.extensions import alembic, db
from headway.dialects.reach import connect, reaching
from headway.errors import (
    CatalogAhead,
    CatalogBehind,
    CatalogForeign,
    DatabaseDenied,
    DatabaseUnreachable,
    HeadwayError,
    HistoryInvalid,
    MigrationFailed,
    SeveralHeads,
)
from headway.execution.failures import reason
from headway.status import status_of
from headway.types import Position, Status

log = logging.getLogger(__name__)

BOOTED = "HEADWAY_BOOTED_HEADS"
"""Set by a gunicorn master that has already brought the catalog to these heads."""

SERVABLE = (Position.AT_HEAD, Position.AHEAD)


def bring_to_head(app: Flask) -> Status:
    """Bring the catalog to head and say where it stands. Any number of processes may call it.

    Only in an app that serves nothing yet: Flask-Alembic closes a running migration's
    connection when any request of the same app ends. Raises the HeadwayError that says why the
    catalog cannot be served; it is then as it was.
    """
    try:
        return _brought(app)
    except DBAPIError as error:
        raise _in_words(error) from error
    finally:
        with app.app_context():
            # A preloaded app is forked, and one that is refused leaves no session at the server.
            db.engine.dispose()


def _brought(app: Flask) -> Status:
    with app.app_context():
        here = catalog()
        here.began = time.time()
        booted = os.environ.get(BOOTED) == ",".join(here.scripts.heads)
        try:
            before = _look(here, wait=0 if booted else here.settings.boot_wait_seconds)
        except DatabaseUnreachable:
            if not booted:
                raise
            # A worker that comes back during an outage must not take the server down with it.
            log.warning("the catalog does not answer; it was at head when this server started")
            return Status(position=Position.UNREACHABLE, heads=here.scripts.heads)
        settled = _settle(here, before)
    seen = before if settled else _upgrade(app)
    with app.app_context():
        if settled:  # an upgrade has done it
            let_readers_be()
        if not booted:  # a worker of a server that has booted is no other boot
            boots.remember(before, seen)
    return seen


def _in_words(error: DBAPIError) -> HeadwayError:
    """What the server refuses, as a sentence."""
    said = reason(error)
    if "denied" in said.lower() or "privilege" in said.lower():
        return DatabaseDenied(
            f"The user of the catalog may not do what this needs: {said}. "
            "Let it make tables in that schema and read and write them (PostgreSQL: GRANT CREATE, "
            "USAGE ON SCHEMA), or bring the catalog to head as its owner: `flask db upgrade`."
        )
    return MigrationFailed(f"The catalog was not brought to head: {said}.")


def let_readers_be() -> None:
    """Switch a SQLite catalog to a write-ahead log: who reads does not stop who writes."""
    if db.engine.name != "sqlite":
        return
    # The driver's own, for it cannot be done in a transaction. A file that is in use just now,
    # read-only, or on a medium without shared memory works as it is.
    with suppress(sqlite3.OperationalError), closing(db.engine.raw_connection()) as raw:
        raw.cursor().execute("PRAGMA journal_mode=WAL")


def _look(here: Catalog, *, wait: float = 0) -> Status:
    def waiting(_: HeadwayError) -> None:
        here.tell("waiting_for_database")

    limit = "HEADWAY_BOOT_WAIT_SECONDS"
    with (
        connect(db.engine, wait=wait, limit=limit, waiting=waiting) as connection,
        reaching(db.engine.url),
    ):
        return status_of(connection, here.scripts)


def _upgrade(app: Flask) -> Status:
    """The way under the lock. A context of its own: Flask-Alembic keeps a connection in each."""
    with app.app_context():
        here = catalog()
        alembic.upgrade()
        here.tell("verifying")
        seen = _look(here)
    if seen.position not in SERVABLE:
        raise MigrationFailed(
            f"The upgrade ran, and the catalog is {seen.position}: {seen.current} instead of "
            f"{seen.heads}. Something else changes it; stop that and start again."
        )
    log.info("the catalog is at %s", ", ".join(seen.current))
    return seen


def _settle(here: Catalog, seen: Status) -> bool:
    """True if the catalog can be served as it is; False if it has to be upgraded first."""
    refuse_several_heads(seen)
    if seen.position is Position.FOREIGN:
        raise CatalogForeign(
            f"The database says it is at {', '.join(seen.newer)}, which no release of Headway is "
            "known to have put there. HEADWAY_DATABASE_URL probably names another program's "
            "database. Nothing was changed.",
            current=seen.current,
        )
    if seen.position is Position.AHEAD:
        return _accept_newer(here, seen)
    refuse_edited(seen)
    if seen.position is Position.AT_HEAD:
        return True
    if not here.settings.migrate_on_boot:
        raise CatalogBehind(
            f"The catalog is {seen.position}, this release needs {', '.join(seen.heads)}, and "
            "HEADWAY_MIGRATE_ON_BOOT is off. Run `flask db upgrade`, or switch it on.",
            pending=seen.pending,
        )
    return False


def refuse_several_heads(seen: Status) -> None:
    """Raise SeveralHeads: which of them the models mean, nobody can tell."""
    if len(seen.heads) > 1:
        raise SeveralHeads(
            f"The scripts have {len(seen.heads)} heads: {', '.join(seen.heads)}. Nothing was "
            "changed. Join them with `flask db merge`, or take one out of this release.",
            heads=seen.heads,
        )


def refuse_edited(seen: Status) -> None:
    """Raise HistoryInvalid where the scripts are not the ones that made this catalog."""
    told = []
    if seen.edited:
        told.append(f"edited after it was applied: {', '.join(seen.edited)}")
    if seen.out_of_order:
        told.append(f"inserted below and never applied: {', '.join(seen.out_of_order)}")
    if told:
        raise HistoryInvalid(
            f"The scripts are not the ones that made this catalog: {'; '.join(told)}. Nothing was "
            "changed. Bring the old scripts back and write a new revision instead; if the change "
            "means nothing to the schema, say so with `flask catalog repair`.",
            edited=seen.edited,
            out_of_order=seen.out_of_order,
        )
    if seen.missing:
        log.warning("applied revisions without a script: %s", ", ".join(seen.missing))


def _accept_newer(here: Catalog, seen: Status) -> bool:
    newer = ", ".join(seen.newer)
    if here.settings.on_newer_catalog == "refuse":
        raise CatalogAhead(
            f"The catalog is at {newer}, which a newer release brought, and "
            "HEADWAY_ON_NEWER_CATALOG is `refuse`. Nothing was changed. Start that release, or "
            "take the catalog back with its `flask db downgrade`.",
            current=seen.current,
            heads=seen.heads,
        )
    log.warning("the catalog is at %s, newer than this release: serving degraded", newer)
    return True
