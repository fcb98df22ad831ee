"""`/api/v1/grants`: the roles of accounts in single projects."""

from typing import Any

from apiflask import APIBlueprint

from app.api import access, responses
from app.api.schemas.grants import GrantIn, GrantOut, GrantPage, GrantQuery
from app.fleet.projects import grants as fleet

bp = APIBlueprint("grants", __name__, url_prefix="/grants", tag="grants")


@bp.get("")
@bp.input(GrantQuery, location="query", arg_name="query")
@bp.output(GrantPage)
@bp.doc(summary="List the roles of accounts in projects", operation_id="listGrants")
def list_(query: GrantQuery) -> Any:
    found, following = fleet.list_grants(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.post("")
@bp.input(GrantIn, arg_name="body")
@bp.output(GrantOut)
@bp.doc(summary="Give an account a role in a project", operation_id="giveGrant")
def give(body: GrantIn) -> Any:
    return fleet.give_grant(access.actor(), **body.model_dump())


@bp.delete("/<int:project_id>/<int:account_id>")
@bp.output({}, status_code=204)
@bp.doc(summary="Take the role of an account in a project away", operation_id="takeGrant")
def take(project_id: int, account_id: int) -> Any:
    fleet.take_grant(access.actor(), project_id, account_id)
    return "", 204
