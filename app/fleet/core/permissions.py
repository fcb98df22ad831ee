"""Permissions: the actor of a request, and the role that each right needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.errors import ConfirmationNeeded, RoleInsufficient
from app.fleet.core import visibility
from app.models import Account, Role, Scope, Token

PROOF_LASTS = timedelta(minutes=30)
"""How long a password, or a sign-in by the provider or an invitation, counts as fresh."""

RIGHTS = {
    "accounts.read": Role.VIEWER,
    "accounts.create": Role.OPERATOR,
    "accounts.change": Role.OPERATOR,
    "accounts.delete": Role.ADMIN,
    "accounts.set_role": Role.ADMIN,
    "events.read": Role.OPERATOR,
    "projects.create": Role.ADMIN,
    "projects.scripts": Role.ADMIN,  # they are code that workers run
    "secrets.rotate": Role.ADMIN,
    "service.read": Role.VIEWER,
    "tokens.own": Role.MEMBER,
    "tokens.any": Role.ADMIN,
    "webhooks.change": Role.ADMIN,
    "workers.read": Role.VIEWER,
    # A member sees no more than its projects: `core.visibility`.
    "databases.read": Role.MEMBER,
    "projects.read": Role.MEMBER,
    "rollouts.read": Role.MEMBER,
}
"""Right -> the lowest role in the fleet that has it. Accounts of a higher role cannot be changed,
and an account cannot change its own role."""
PROJECT_RIGHTS = {
    "databases.change": Role.OPERATOR,
    "databases.drop": Role.ADMIN,
    "grants.change": Role.ADMIN,
    "projects.change": Role.ADMIN,
    "rollouts.change": Role.OPERATOR,
    "rollouts.sql": Role.ADMIN,  # a check's query is run with the rights of the database's user
    "runs.texts": Role.OPERATOR,  # what databases and scripts say may hold rows
}
"""Right -> the lowest role that has it, in the fleet or in the project that it is about."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The account on whose behalf something is done; `id` is None for the command line.

    `token` is what signed the request; None if none did. `role` is what is left of the account's
    role by the scope of the token, and `grants` of its roles in single projects, by their ids.
    """

    id: int | None
    name: str
    role: Role
    request_id: str | None = None
    ip: str | None = None
    token: Token | None = None
    grants: Mapping[int, Role] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        account: Account,
        *,
        request_id: str | None,
        ip: str | None,
        token: Token | None = None,
    ) -> "Actor":
        """The account as the actor of a request; that of a token with its grants, once loaded."""

        def left(role: str) -> Role:
            return Scope(token.scope).narrow(Role(role)) if token and token.scope else Role(role)

        return cls(
            id=account.id,
            name=account.name,
            role=left(account.role),
            request_id=request_id,
            ip=ip,
            token=token,
            grants={
                grant.project_id: left(grant.role) for grant in (account.grants if token else ())
            },
        )

    @property
    def projects(self) -> frozenset[int] | None:
        """The ids of the only projects that this account sees; None if it sees all."""
        return frozenset(self.grants) if self.role is Role.MEMBER else None

    def role_in(self, project_id: int) -> Role:
        """What this account is in a project: the higher of its role in the fleet and its grant."""
        granted = self.grants.get(project_id, self.role)
        return granted if granted.includes(self.role) else self.role

    def may(self, right: str, project_id: int | None = None) -> bool:
        """True if this account has the right: in a project, or without one in any of them."""
        if right in RIGHTS:
            return self.role.includes(RIGHTS[right])
        needed = PROJECT_RIGHTS[right]
        if project_id is not None:
            return self.role_in(project_id).includes(needed)
        return any(role.includes(needed) for role in (self.role, *self.grants.values()))

    def require(self, right: str, project_id: int | None = None) -> None:
        """Raise RoleInsufficient unless this account has the right, as `may` says.

        From here on queries see what this account may: each use case begins with this.
        """
        visibility.narrow_to(self.projects)
        if self.may(right, project_id):
            return
        needed = RIGHTS.get(right) or PROJECT_RIGHTS[right]
        role, where = self.role, ""
        if project_id is not None and right in PROJECT_RIGHTS:
            role, where = self.role_in(project_id), " in this project"
        raise RoleInsufficient(
            f"This needs the role {needed}{where}; yours is {role}. Ask an admin.",
            needed=needed.value,
        )

    @property
    def is_proven(self) -> bool:
        """True if they proved lately who they are; the command line does not need to."""
        if self.token is None:
            return True
        proven = self.token.proven_at
        return proven is not None and datetime.now(UTC) - proven < PROOF_LASTS

    def require_proof(self) -> None:
        """Raise ConfirmationNeeded unless `is_proven`: a thief of the token alone gets no further.

        Raises RoleInsufficient if the token has a scope.
        """
        if self.token and self.token.scope:
            raise RoleInsufficient(
                f"Your token has the scope {self.token.scope}, which does not allow this. "
                "Use one without a scope."
            )
        if not self.is_proven:
            raise ConfirmationNeeded

    def require_over(self, account: Account) -> None:
        """Raise RoleInsufficient if the account's role is higher than ours."""
        if not self.role.includes(Role(account.role)):
            raise RoleInsufficient(
                f"Account {account.id} has the role {account.role}, which is above yours.",
                needed=account.role,
            )
