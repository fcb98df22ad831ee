"""`/service`: the workers, the starts, the migrations of the catalog, and the settings."""

from dataclasses import asdict
from datetime import UTC
from typing import Any

from apiflask import APIBlueprint
from flask import render_template

from app import boot
from app.boot import headway
from app.fleet import workers
from app.fleet.reports import service as fleet
from app.web import access
from app.web.pagination import after
from headway.history import Row

bp = APIBlueprint("service", __name__, enable_openapi=False, url_prefix="/service")

ROWS = 20


@bp.get("/")
def show() -> str:
    """The page of the service."""
    actor = access.actor()
    alive, more_workers = workers.list_workers(actor, limit=100)
    boots, following = fleet.list_boots(actor, limit=ROWS, after=after())
    return render_template(
        "service.html",
        catalog=boot.readiness()[1],
        workers=alive,
        more_workers=more_workers,
        boots=boots,
        following=following,
        history=[_row(row) for row in reversed(headway.database.history(ROWS))],
        settings=fleet.settings_in_force(actor),
    )


def _row(row: Row) -> dict[str, Any]:
    took = row.duration_ms
    return asdict(row) | {
        "started_at": row.started_at.replace(tzinfo=UTC),
        "seconds": None if took is None else took / 1000,
    }
