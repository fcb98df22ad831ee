"""The snapshots of a database that runs have taken and that are still there."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from app.extensions import db
from app.fleet.core.permissions import Actor
from app.models import Database, Kind, Run
from headway.dialects.sqlite.snapshots import KEPT

MOST_RUNS = 20
"""Runs. Of each database the newest three snapshots are kept, so that no more need be asked for."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One copy of a database, beside it."""

    name: str
    taken_at: datetime
    current: str
    """The revisions that it is at, joined by `+`."""
    run: Run
    """What it was taken for."""
    size_bytes: int | None
    """None where this machine does not see the file: a worker's may."""


def list_snapshots(actor: Actor, database_id: int) -> list[Snapshot]:
    """Those that can be restored, newest first. Copies that no run has taken are not known."""
    actor.require("databases.read")
    database = db.session.get(Database, database_id)
    if database is None or database.dialect not in (None, "sqlite"):
        return []  # moved to a server: the copies of its former file are not of it
    query = (
        select(Run)
        .where(
            Run.database_id == database_id,
            Run.snapshot.is_not(None),
            Run.kind.not_in((Kind.RESTORE, Kind.UNDO)),  # they name the one they took
        )
        .order_by(Run.id.desc())
        .limit(MOST_RUNS)
    )
    found: dict[str, Snapshot] = {}
    for run in db.session.scalars(query):
        copy = Path(run.snapshot or "")
        if copy.name in found or (copy.parent.is_dir() and not copy.is_file()):
            continue  # the newer ones took its place
        found[copy.name] = Snapshot(
            name=copy.name,
            taken_at=run.finished_at or run.created_at,
            current=run.before or "",
            run=run,
            size_bytes=copy.stat().st_size if copy.is_file() else None,
        )
    return list(found.values())[:KEPT]
