"""`/api/v1/drifts`: differences between databases and their revisions, and which are accepted."""

from typing import Any

from apiflask import APIBlueprint

from app.api import access, responses
from app.api.schemas.drifts import (
    DifferencePage,
    DifferenceQuery,
    DriftPage,
    DriftQuery,
    IgnoredOut,
    IgnoreIn,
)
from app.fleet import drift as fleet

bp = APIBlueprint("drifts", __name__, url_prefix="/drifts", tag="drifts")


@bp.get("")
@bp.input(DriftQuery, location="query", arg_name="query")
@bp.output(DriftPage)
@bp.doc(summary="List differences, and how many databases share each", operation_id="listDrifts")
def list_(query: DriftQuery) -> Any:
    found, following = fleet.list_groups(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.get("/differences")
@bp.input(DifferenceQuery, location="query", arg_name="query")
@bp.output(DifferencePage)
@bp.doc(summary="List differences of single databases", operation_id="listDifferences")
def list_differences(query: DifferenceQuery) -> Any:
    found, following = fleet.list_differences(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.post("/ignored")
@bp.input(IgnoreIn, arg_name="body")
@bp.output(IgnoredOut)
@bp.doc(summary="Accept a difference, and say why", operation_id="ignoreDrift")
def ignore(body: IgnoreIn) -> Any:
    return fleet.ignore(access.actor(), **body.model_dump())


@bp.delete("/ignored/<int:project_id>/<string:digest>")
@bp.output({}, status_code=204)
@bp.doc(summary="Accept a difference no more", operation_id="unignoreDrift")
def unignore(project_id: int, digest: str) -> Any:
    fleet.unignore(access.actor(), project_id, digest)
    return "", 204
