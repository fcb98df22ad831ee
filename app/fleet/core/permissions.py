"""Permissions: the actor of a request, and the role that each right needs."""

from dataclasses import dataclass

from app.errors import RoleInsufficient
from app.models import Account, Role

RIGHTS = {
    "accounts.read": Role.VIEWER,
    "accounts.create": Role.OPERATOR,
    "accounts.change": Role.OPERATOR,
    "accounts.delete": Role.ADMIN,
    "accounts.set_role": Role.ADMIN,
    "databases.change": Role.OPERATOR,
    "databases.drop": Role.ADMIN,
    "databases.read": Role.VIEWER,
    "events.read": Role.OPERATOR,
    "projects.change": Role.ADMIN,  # its scripts are code that workers run
    "projects.read": Role.VIEWER,
    "rollouts.change": Role.OPERATOR,
    "rollouts.read": Role.VIEWER,
    "rollouts.sql": Role.ADMIN,  # a check's query is run with the rights of the member's user
    "runs.texts": Role.OPERATOR,  # what databases and scripts say may hold rows
    "secrets.rotate": Role.ADMIN,
    "service.read": Role.VIEWER,
    "tokens.own": Role.VIEWER,
    "tokens.any": Role.ADMIN,
    "webhooks.change": Role.ADMIN,
    "workers.read": Role.VIEWER,
}
"""Right -> the lowest role that has it. Accounts of a higher role cannot be changed, and an account
cannot change its own role."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The account on whose behalf something is done; `id` is None for the command line."""

    id: int | None
    name: str
    role: Role
    request_id: str | None = None
    ip: str | None = None

    @classmethod
    def of(cls, account: Account, *, request_id: str | None, ip: str | None) -> "Actor":
        """The account as the actor of a request."""
        return cls(
            id=account.id,
            name=account.name,
            role=Role(account.role),
            request_id=request_id,
            ip=ip,
        )

    def may(self, right: str) -> bool:
        """True if the role of this account has the right."""
        return self.role.includes(RIGHTS[right])

    def require(self, right: str) -> None:
        """Raise RoleInsufficient unless this account has the right."""
        if not self.may(right):
            raise RoleInsufficient(
                f"This needs the role {RIGHTS[right]}; yours is {self.role}. Ask an admin.",
                needed=RIGHTS[right].value,
            )

    def require_over(self, account: Account) -> None:
        """Raise RoleInsufficient if the account's role is higher than ours."""
        if not self.role.includes(Role(account.role)):
            raise RoleInsufficient(
                f"Account {account.id} has the role {account.role}, which is above yours.",
                needed=account.role,
            )
