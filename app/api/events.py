"""`/api/v1/events`: the audit trail, read-only."""

from typing import Any

from apiflask import APIBlueprint

from app.api import access, responses
from app.api.schemas.events import EventPage, EventQuery
from app.fleet.core import audit

bp = APIBlueprint("events", __name__, url_prefix="/events", tag="events")


@bp.get("")
@bp.input(EventQuery, location="query", arg_name="query")
@bp.output(EventPage)
@bp.doc(summary="List events, newest first", operation_id="listEvents")
def list_(query: EventQuery) -> Any:
    found, following = audit.list_events(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)
