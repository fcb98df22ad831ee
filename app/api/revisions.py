"""`/api/v1/projects/{id}/revisions` and `/api/v1/projects/{id}/refresh`."""

from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from app.api import access, responses
from app.api.schemas.projects import ProjectOut
from app.api.schemas.revisions import (
    Former,
    RefreshIn,
    RevisionDetail,
    RevisionOut,
    RevisionPage,
    RevisionQuery,
)
from app.fleet import projects
from app.fleet.counts import positions
from app.fleet.projects import revisions as fleet
from app.models import Revision

bp = APIBlueprint("revisions", __name__, url_prefix="/projects", tag="revisions")


@bp.get("/<int:project_id>/revisions")
@bp.input(RevisionQuery, location="query", arg_name="query")
@bp.output(RevisionPage)
@bp.doc(summary="List all revisions that any release brought", operation_id="listRevisions")
def list_(project_id: int, query: RevisionQuery) -> Any:
    found, following = fleet.list_revisions(access.actor(), project_id, **query.model_dump())
    at = positions.at_revisions(project_id)
    items = [_revision_values(row, at) for row in found]
    return {"items": items, "next": following}, 200, responses.next_link(following)


@bp.get("/<int:project_id>/revisions/<string:revision>")
@bp.output(RevisionDetail)
@bp.doc(summary="Read a revision, its script and its SQL", operation_id="readRevision")
def read(project_id: int, revision: str) -> Any:
    row, *former = fleet.versions_of(access.actor(), project_id, revision)
    values = _revision_values(row, positions.at_revisions(project_id))
    return values | {
        "script": row.script,
        "sql": row.sql,
        "former": [Former.model_validate(one).model_dump() for one in former],
    }


@bp.post("/<int:project_id>/refresh")
@bp.input(RefreshIn, arg_name="body")
@bp.output(ProjectOut, status_code=202)
@bp.doc(
    summary="Ask that all databases of a project are looked at; a worker does it",
    operation_id="refreshProject",
)
def refresh(project_id: int, body: RefreshIn) -> Any:  # noqa: ARG001
    project = projects.ask_refresh(access.actor(), project_id)
    where = url_for("api.projects.read", project_id=project.id)
    return ProjectOut.model_validate(project), 202, {"Location": where}


def _revision_values(row: Revision, at: dict[str, int]) -> dict[str, Any]:
    names = RevisionOut.model_fields.keys() - {"databases"}
    return {name: getattr(row, name) for name in names} | {"databases": at.get(row.revision, 0)}
