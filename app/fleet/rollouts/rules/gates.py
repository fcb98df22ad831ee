"""Gates: the rule between two waves. A pure function decides what follows a wave."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import floor
from typing import Any

from app.errors import InputInvalid
from app.fleet.core.validation import Mistakes

LONGEST_SOAK = 30 * 24 * 3600


class Check(StrEnum):
    """A check that each database has to pass after its migration."""

    DRIFT = "drift"  # its schema is what its revisions make
    SQL = "sql"  # a query of the rollout's gives one true value


class Next(StrEnum):
    """The action that follows a finished wave."""

    HALT = "halt"
    SOAK = "soak"
    APPROVAL = "approval"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The conditions for the next wave to begin."""

    failures: int = 0
    """How many databases of the rollout may fail before it halts."""
    failures_percent: float | None = None
    """The same limit as a percentage of the databases begun; the larger of the two counts."""
    soak_seconds: float = 0.0
    """How long to wait after a wave."""
    approval: bool = False
    """True if another account than the creator has to approve each further wave."""
    check: str | None = None
    sql: str | None = None
    """The query of the check `sql`: one row, whose first value must be true."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Gate":
        """From the fields of a request, or the JSON of a rollout. Raises InputInvalid."""
        if unknown := set(values) - set(cls.__dataclass_fields__):
            raise InputInvalid(f"A gate has no option {', '.join(sorted(unknown))}.")
        gate = cls(**{name: value for name, value in values.items() if value is not None})
        mistakes = Mistakes()
        for field, is_wrong, words in gate._rules():
            if is_wrong:
                mistakes.add(field, words)
        mistakes.refuse()
        return gate

    def _rules(self) -> Iterator[tuple[str, bool, str]]:
        """A field, whether its value breaks a rule, and the rule."""
        failures = "The allowed failures must be a number from 0, or a percentage from 0 to 100."
        yield "failures", self.failures < 0, failures
        yield "failures_percent", not 0 <= (self.failures_percent or 0) <= 100, failures  # noqa: PLR2004
        soak = f"The soak time must be 0 to {LONGEST_SOAK} seconds."
        yield "soak_seconds", not 0 <= self.soak_seconds <= LONGEST_SOAK, soak
        known = f"There is no check {self.check!r}: use {' or '.join(Check)}."
        yield "check", self.check not in (None, *Check), known
        one_query = "The check `sql` needs a query in `sql`; other checks must not have one."
        yield "sql", (self.check == Check.SQL) != bool(self.sql), one_query
        several = bool(self.sql) and ";" in (self.sql or "").rstrip().rstrip(";")
        yield "sql", several, "Write the query of a check as one statement, without `;`."

    def as_json(self) -> dict[str, Any]:
        """The gate as JSON values."""
        return asdict(self)

    def allowed(self, begun: int) -> int:
        """How many may fail when `begun` databases were begun."""
        part = floor(begun * (self.failures_percent or 0) / 100)
        return max(self.failures, part)

    def soaks_until(self, done_at: datetime) -> datetime:
        """When the soak time of a wave that was done at this time ends."""
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
        """The action that follows a wave with no active runs."""
        if failed > self.allowed(begun):
            return Next.HALT
        if is_last:
            return Next.OPEN
        if now < self.soaks_until(done_at):
            return Next.SOAK
        if self.approval and not approved:
            return Next.APPROVAL
        return Next.OPEN
