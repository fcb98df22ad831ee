"""`/api/v1/projects`."""

from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from app.api import access, conditions, responses
from app.api.schemas.common import Idempotent, Named
from app.api.schemas.projects import (
    ProjectChange,
    ProjectIn,
    ProjectOut,
    ProjectPage,
    ProjectQuery,
)
from app.errors import RecordChanged
from app.fleet import projects as fleet

bp = APIBlueprint("projects", __name__, url_prefix="/projects", tag="projects")


@bp.post("")
@bp.input(ProjectIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(ProjectOut, status_code=201)
@bp.doc(summary="Create a project; a worker reads its scripts", operation_id="createProject")
def create(body: ProjectIn, idempotent: Idempotent) -> Any:
    project, replayed = fleet.create_project(
        access.actor(), body.model_dump(), key=idempotent.idempotency_key
    )
    where = url_for("api.projects.read", project_id=project.id)
    headers = responses.made(where, replayed) | conditions.tag(project)
    return ProjectOut.model_validate(project), 201, headers


@bp.get("")
@bp.input(ProjectQuery, location="query", arg_name="query")
@bp.output(ProjectPage)
@bp.doc(summary="List projects", operation_id="listProjects")
def list_(query: ProjectQuery) -> Any:
    found, following = fleet.list_projects(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.get("/find")
@bp.input(Named, location="query", arg_name="query")
@bp.output(ProjectOut)
@bp.doc(summary="Find a project by its name or id", operation_id="findProject")
def find(query: Named) -> Any:
    project = fleet.find_project(access.actor(), query.name)
    return ProjectOut.model_validate(project), 200, conditions.tag(project)


@bp.get("/<int:project_id>")
@bp.output(ProjectOut)
@bp.doc(summary="Read a project", operation_id="readProject")
def read(project_id: int) -> Any:
    project = fleet.get_project(access.actor(), project_id)
    return ProjectOut.model_validate(project), 200, conditions.tag(project)


@bp.patch("/<int:project_id>")
@bp.input(ProjectChange, arg_name="body")
@bp.output(ProjectOut)
@bp.doc(summary="Change a project", operation_id="changeProject")
def change(project_id: int, body: ProjectChange) -> Any:
    version = conditions.expected(project_id, RecordChanged)
    values = body.model_dump(exclude_unset=True)
    project = fleet.change_project(access.actor(), project_id, values, version=version)
    return ProjectOut.model_validate(project), 200, conditions.tag(project)


@bp.delete("/<int:project_id>")
@bp.output({}, status_code=204)
@bp.doc(summary="Delete a project that has no databases", operation_id="deleteProject")
def delete(project_id: int) -> Any:
    version = conditions.expected(project_id, RecordChanged)
    fleet.delete_project(access.actor(), project_id, version=version)
    return "", 204
