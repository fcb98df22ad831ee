"""Permissions: the actor of a request, and the role that each right needs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.errors import ConfirmationNeeded, RoleInsufficient
from app.models import Account, Role, Scope, Token

PROOF_LASTS = timedelta(minutes=30)
"""How long a password, or a sign-in by the provider or an invitation, counts as fresh."""

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
    """The account on whose behalf something is done; `id` is None for the command line.

    `token` is what signed the request; None if none did. `role` is what is left of the account's
    role by the scope of the token.
    """

    id: int | None
    name: str
    role: Role
    request_id: str | None = None
    ip: str | None = None
    token: Token | None = None

    @classmethod
    def of(
        cls,
        account: Account,
        *,
        request_id: str | None,
        ip: str | None,
        token: Token | None = None,
    ) -> "Actor":
        """The account as the actor of a request."""
        role = Role(account.role)
        return cls(
            id=account.id,
            name=account.name,
            role=Scope(token.scope).narrow(role) if token and token.scope else role,
            request_id=request_id,
            ip=ip,
            token=token,
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
