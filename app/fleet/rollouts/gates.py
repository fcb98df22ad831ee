"""Gates: the rule between waves. Pure: told how a wave went, it says what happens next."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import floor
from typing import Any

from app.errors import InputInvalid

LONGEST_SOAK = 30 * 24 * 3600


class Check(StrEnum):
    """What each database has to pass after its migration."""

    DRIFT = "drift"  # its schema is what its revisions make
    SQL = "sql"  # a query of the rollout's gives one true value


class Next(StrEnum):
    """What happens when a wave is done."""

    HALT = "halt"
    SOAK = "soak"
    APPROVAL = "approval"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What has to hold before the next wave begins."""

    failures: int = 0
    """How many databases of the rollout may fail."""
    failures_percent: float | None = None
    """Or which part of those that were begun; the larger of the two counts."""
    soak_seconds: float = 0.0
    """How long to wait and see after a wave."""
    approval: bool = False
    """True if another account than the one that made the rollout has to let each wave through."""
    check: str | None = None
    sql: str | None = None
    """The query of the check `sql`: one row, whose first value must be true."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Gate":
        """From what a face was given, or what a rollout keeps. Raises InputInvalid."""
        if unknown := set(values) - set(cls.__dataclass_fields__):
            raise InputInvalid(f"A gate has no {', '.join(sorted(unknown))}.")
        gate = cls(**{name: value for name, value in values.items() if value is not None})
        if gate.failures < 0 or not 0 <= (gate.failures_percent or 0) <= 100:  # noqa: PLR2004
            raise InputInvalid("Failures are allowed as a number from 0, or as 0 to 100 percent.")
        if not 0 <= gate.soak_seconds <= LONGEST_SOAK:
            raise InputInvalid(f"A wave soaks for 0 to {LONGEST_SOAK} seconds.")
        if gate.check not in (None, *Check):
            raise InputInvalid(f"There is no check {gate.check!r}: use {' or '.join(Check)}.")
        if (gate.check == Check.SQL) != bool(gate.sql):
            raise InputInvalid("The check `sql` needs its query in `sql`, and only it has one.")
        if gate.sql and ";" in gate.sql.rstrip().rstrip(";"):
            raise InputInvalid("The query of a check is one statement, without `;` in it.")
        return gate

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    def allowed(self, begun: int) -> int:
        """How many may fail when so many were begun."""
        part = floor(begun * (self.failures_percent or 0) / 100)
        return max(self.failures, part)

    def soaks_until(self, done_at: datetime) -> datetime:
        """When a wave that was done at this moment has soaked."""
        return done_at + timedelta(seconds=self.soak_seconds)

    def after_wave(
        self,
        *,
        failed: int,
        begun: int,
        done_at: datetime,
        approved: bool,
        is_last: bool,
        now: datetime,
    ) -> Next:
        """What follows a wave of which nothing runs any more."""
        if failed > self.allowed(begun):
            return Next.HALT
        if is_last:
            return Next.OPEN
        if now < self.soaks_until(done_at):
            return Next.SOAK
        if self.approval and not approved:
            return Next.APPROVAL
        return Next.OPEN
