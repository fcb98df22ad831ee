"""Grants: the roles of accounts in single projects, given and taken by an admin of the project."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.errors import GrantNotFound, InputInvalid
from app.extensions import db
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID, is_id
from app.fleet.projects.crud import get_project
from app.models import Account, Grant, Project, Role

ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
"""The roles that a grant may give."""


@dataclass(frozen=True, kw_only=True)
class GrantInfo:
    """A grant, with the names of its account and its project."""

    account_id: int
    account: str
    project_id: int
    project: str
    role: str
    created_at: datetime


def list_grants(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    project_id: int | None = None,
    account_id: int | None = None,
) -> tuple[list[GrantInfo], int | None]:
    """A page of the grants of a project, of an account, or of all that the actor may see.

    By the names of projects and accounts. Also returns the `after` of the next page: the number
    of grants before it.
    """
    actor.require("projects.read")
    if project_id is not None:
        get_project(actor, project_id)
    query = (
        select(Grant, Account.name.label("account"), Project.name.label("project"))
        .join(Account, Account.id == Grant.account_id)
        .join(Project, Project.id == Grant.project_id)
        .order_by(Project.name, Account.name, Account.id)
        .offset(after or 0)
        .limit(limit + 1)
    )
    for column, value in ((Grant.project_id, project_id), (Grant.account_id, account_id)):
        if value is not None:
            query = query.where(column == value)
    rows = db.session.execute(query).all()
    found = [_info(*row) for row in rows[:limit]]
    return found, (after or 0) + limit if len(rows) > limit else None


@repeated
def give_grant(actor: Actor, project_id: int, account: int | str, role: str) -> GrantInfo:
    """Give an account a role in a project, in place of the one that it has there.

    `account` is its id or e-mail address. Raises ProjectNotFound, InputInvalid.
    """
    actor.require("grants.change")
    if role not in ROLES:
        raise InputInvalid(
            f"There is no role {role!r} in a project. Use one of: {', '.join(ROLES)}.", field="role"
        )
    with writing() as session:
        project = get_project(actor, project_id)
        actor.require("grants.change", project_id)
        found = _account(session, account)
        grant = session.get(Grant, (found.id, project_id), with_for_update=True)
        before = grant.role if grant else None
        if grant is None:
            grant = Grant(account_id=found.id, project_id=project_id)
            session.add(grant)
        grant.role = role
        session.flush()
        if before != role:
            told = {"account": found.id, "name": found.name, "role": [before, role]}
            audit.record(session, actor, "project.grant_given", ("project", project_id), **told)
        return _info(grant, found.name, project.name)


@repeated
def take_grant(actor: Actor, project_id: int, account: int | str) -> None:
    """Take the role of an account in a project away. Raises GrantNotFound if it has none there."""
    actor.require("grants.change")
    with writing() as session:
        project = get_project(actor, project_id)
        actor.require("grants.change", project_id)
        found = _account(session, account)
        grant = session.get(Grant, (found.id, project_id), with_for_update=True)
        if grant is None:
            raise GrantNotFound(f"{found.name} has no role of its own in {project.name}.")
        session.delete(grant)
        told = {"account": found.id, "name": found.name, "role": [grant.role, None]}
        audit.record(session, actor, "project.grant_taken", ("project", project_id), **told)


def _info(grant: Grant, account: str, project: str) -> GrantInfo:
    return GrantInfo(
        account_id=grant.account_id,
        account=account,
        project_id=grant.project_id,
        project=project,
        role=grant.role,
        created_at=grant.created_at,
    )


def _account(session: CatalogSession, account: int | str) -> Account:
    """The account with this id or e-mail address."""
    text = str(account).strip()
    if is_id(text) and 0 < int(text) <= LARGEST_ID:
        found = session.get(Account, int(text))
    else:
        found = session.scalar(select(Account).where(Account.email == text.lower()))
    if found is None:
        raise InputInvalid(
            f"There is no account {text}. Give its id or its e-mail address.", field="account"
        )
    return found
