"""`/api/v1/workers`: the processes that migrate databases, read-only."""

from typing import Any

from apiflask import APIBlueprint

from app.api import access, responses
from app.api.schemas.workers import WorkerPage, WorkerQuery
from app.fleet import workers as fleet

bp = APIBlueprint("workers", __name__, url_prefix="/workers", tag="workers")


@bp.get("")
@bp.input(WorkerQuery, location="query", arg_name="query")
@bp.output(WorkerPage)
@bp.doc(summary="List workers", operation_id="listWorkers")
def list_(query: WorkerQuery) -> Any:
    found, following = fleet.list_workers(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)
