"""Databases go: one is retired from the fleet and left alone, or dropped for real."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, or_, select
from sqlalchemy.exc import ArgumentError

from app.errors import DatabaseNotFound, InputInvalid
from app.extensions import db
from app.fleet.addresses.urls import resolve, url_of
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import require_version
from app.fleet.counts import label_counts, positions
from app.fleet.databases.crud import find, get_database, require_free, require_may_leave
from app.fleet.isolation.parent import call, call_isolated
from app.models import Database, Event
from app.settings import RELEASE
from headway.dialects.search_path import tenant_of
from headway.dialects.urls import DatabaseURL
from headway.errors import DatabaseInUse, HeadwayError, StillNeeded

DROPPED = "database.dropped"
REQUEST_SECONDS = 60.0
"""How long a drop may take while a request waits for it."""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """What is left of a database that was dropped."""

    database: Database
    snapshot: Path | None
    note: str
    """Where the snapshot is, or why there is none."""


# --- retire ----------------------------------------------------------------------------------


@repeated
def retire_database(actor: Actor, database_id: int, *, version: int | None = None) -> Database:
    """The row of a database that is no member any more; the database itself is left alone.

    Its history stays, its name and URL are free for another. Raises StillNeeded within a
    rollout.
    """
    actor.require("databases.change")
    with writing() as session:
        database = _present(session, database_id, version)
        require_may_leave(actor, database)
        require_free(session, database)
        told = {"name": database.name, "address": database.address}
        left = [] if database.retired_at else [positions.place_of(database)]
        with label_counts.kept(session, [database.id]):
            positions.retire(session, database)
            session.flush()
        audit.record(session, actor, "database.retired", ("database", database.id), **told)
        positions.shift(session, left=left)
    return get_database(actor, database_id)


def _present(session: CatalogSession, database_id: int, version: int | None) -> Database:
    """One that can be retired: also one whose drop was interrupted, which still is somewhere."""
    database = find(session, database_id, lock=True)
    if database.retired_at and database.identity is None:
        raise DatabaseNotFound(f"Database {database_id} is retired already.", database=database_id)
    require_version(database, version)
    return database


# --- drop ------------------------------------------------------------------------------------


def drop_database(
    actor: Actor, database_id: int, *, confirm: str, seconds: float | None = None
) -> Dropped:
    """Remove the real database and all that is in it, and retire its row.

    Of a member whose URL names a schema that schema alone, in the database that it shares.
    `confirm` is its name. A SQLite file is copied first, and the copy stays beside it; a server
    has no snapshots. `seconds`, for requests: how long it may take. Raises InputInvalid,
    StillNeeded, DatabaseInUse after that time, and what the database says: it is in the fleet as
    before then.
    """
    actor.require("databases.drop")
    url, label = _withdraw(actor, database_id, confirm)
    try:
        snapshot = _drop(url, label, seconds)
    except BaseException:
        _bring_back(database_id)
        raise
    note = f"Its snapshot is {snapshot}." if snapshot else _why_no_snapshot(url)
    if url.schema:
        note = (
            f"The schema {url.schema} was dropped from {url.database}, and nothing else was "
            f"changed. {note}"
        )
    _forget(actor, database_id, str(snapshot) if snapshot else None)
    return Dropped(database=get_database(actor, database_id), snapshot=snapshot, note=note)


def schema_of(database: Database) -> str | None:
    """The schema that a drop of this member removes; None where that is a whole database.

    None too where its URL cannot be read here: then it is not dropped either.
    """
    try:
        return url_of(database).schema
    except HeadwayError:
        return None


def drop_of(actor: Actor, database: Database) -> Event | None:
    """Who dropped it, when, and where its copy is; None for one that was not dropped."""
    actor.require("databases.read")
    if database.retired_at is None:
        return None
    return db.session.scalar(
        select(Event).where(
            Event.subject_type == "database",
            Event.subject_id == database.id,
            Event.action == DROPPED,
        )
    )


@repeated
def _withdraw(actor: Actor, database_id: int, confirm: str) -> tuple[DatabaseURL, str]:
    """Out of everybody's reach, so that no rollout takes it; its URL."""
    with writing() as session:
        database = _present(session, database_id, None)
        actor.require("databases.drop", database.project_id)
        if confirm != database.name:
            raise InputInvalid(
                f"To drop database {database_id} permanently, confirm with its name.",
                field="confirm",
            )
        require_free(session, database)
        url = url_of(database)
        if tenant_of(url, "dropped") is None:
            _refuse_shared(session, database, url)
        if database.retired_at is None:
            with label_counts.kept(session, [database.id]):
                database.retired_at = datetime.now(UTC)
                session.flush()
            positions.shift(session, left=[positions.place_of(database)])
        return url, database.current or "base"


def _drop(url: DatabaseURL, label: str, seconds: float | None) -> Path | None:
    """In another process, which a request does not wait for without end."""
    found: Path | None
    if seconds is None:
        found = call("drop", url, label, RELEASE)
        return found
    late = DatabaseInUse(
        f"{url} did not confirm its drop within {seconds:g} seconds. It may be gone, but it is in "
        "the fleet as before. Drop it again, or use `flask databases drop`, which has no time "
        "limit."
    )
    found = call_isolated("drop", url, label, RELEASE, seconds=seconds, late=late)
    return found


@repeated
def _bring_back(database_id: int) -> None:
    with writing() as session:
        database = find(session, database_id, lock=True)
        if database.retired_at is None or database.identity is None:
            return  # another has brought it back, or retired it for good
        with label_counts.kept(session, [database.id]):
            database.retired_at = None
            session.flush()
        positions.shift(session, entered=[positions.place_of(database)])


@repeated
def _forget(actor: Actor, database_id: int, snapshot: str | None) -> None:
    with writing() as session:
        database = find(session, database_id, lock=True)
        told = {"name": database.name, "address": database.address, "snapshot": snapshot}
        # One that another drop has brought back meanwhile is gone all the same.
        left = [] if database.retired_at else [positions.place_of(database)]
        with label_counts.kept(session, [database.id]):
            if database.identity is not None:
                positions.retire(session, database)
            session.flush()
        audit.record(session, actor, DROPPED, ("database", database.id), **told)
        positions.shift(session, left=left)


def _why_no_snapshot(url: DatabaseURL) -> str:
    if url.dialect == "sqlite":
        return "There is no snapshot, because there was nothing to keep."
    return "There is no snapshot: only the backups of the server can bring it back."


def _refuse_shared(session: CatalogSession, database: Database, url: DatabaseURL) -> None:
    """Schemas of one database are members of their own: dropping it would drop them."""
    if database.server is None and url.dialect == "sqlite":
        return
    others = select(Database.id, Database.server, Database.address, Database.reference).where(
        or_(
            Database.server == (url.server or "")[:255],
            Database.server.is_(None) & Database.reference.is_not(None),
        ),
        Database.id != database.id,
        Database.retired_at.is_(None),
    )
    for row in session.execute(others):
        if _is_in(row, url):
            raise StillNeeded(
                f"Database {row.id} of the fleet is in the same database: {row.address}. Retire it "
                "first.",
                database=row.id,
            )


def _is_in(row: Any, url: DatabaseURL) -> bool:
    """True for a member in the same database, by whatever URL or reference."""
    try:
        theirs = resolve(row.reference) if row.reference else _shown_at(row.address)
    except ArgumentError:
        return False
    except HeadwayError as error:
        # One that was never found may be anywhere: its tables are, if it has any, found by asking
        # the server.
        if row.server is None:
            return False
        raise StillNeeded(
            f"Database {row.id} is on the same server and may be in the same database: its "
            f"reference {row.reference} cannot be read here ({error}). Nothing was dropped. Run "
            f"the drop where the reference can be read, or retire database {row.id} first.",
            database=row.id,
        ) from error
    if url.dialect == "mysql":  # where, on some machines, Shop and shop are one
        theirs, url = (one.at((one.database or "").lower()) for one in (theirs, url))
    return theirs.is_same(url)


def _shown_at(address: str) -> DatabaseURL:
    """A URL as people are shown it, which says where a database is and not all else."""
    return DatabaseURL.of(make_url(address))
