"""A recording: the statements of a proven migration, for databases where it is the same."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from headway.dialects import VERSIONS, VersionTable
from headway.isolation.files import Files
from headway.plan.announced import Announced
from headway.proof.answers import Statement

REFERS = re.compile(r"REFERENCES|WRITABLE_SCHEMA|SQLITE_(MASTER|SCHEMA)", re.IGNORECASE)
"""What makes a foreign key, or writes a schema in another way."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The recorded statements of one revision."""

    revision: str
    statements: tuple[Statement, ...]
    may_lose_rows: bool
    announced: Announced
    """Losses that the script declares."""
    script: str

    @cached_property
    def changes(self) -> list[str]:
        """The statements without the queries whose answers are known."""
        return [one.sql for one in self.statements if one.answer is None]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The recorded statements of a run, or why there are none."""

    steps: tuple[Recorded, ...] = ()
    versions: VersionTable = VERSIONS
    """The project's version table."""
    why_not: str | None = None
    """Why the run cannot be replayed; None if it can."""
    files: Files = field(default_factory=Files)
    """Other files that the revisions read: if one changes, the recording is void."""

    @cached_property
    def may_lose_rows(self) -> bool:
        """True if rows have to be counted for any of it."""
        return any(step.may_lose_rows for step in self.steps)

    @cached_property
    def counted(self) -> int:
        """After how many steps the rows have to be counted: what one adds, another may lose."""
        losing = (number for number, step in enumerate(self.steps, 1) if step.may_lose_rows)
        return max(losing, default=0)

    @cached_property
    def refers(self) -> bool:
        """True if any of it may make a foreign key."""
        return any(map(REFERS.search, self.changes))

    @cached_property
    def asks(self) -> bool:
        """True if it serves databases that answer its queries as the recorded one did."""
        return any(one.answer for step in self.steps for one in step.statements)

    @cached_property
    def changes(self) -> list[str]:
        """The statements of all steps, without the queries whose answers are known."""
        return [sql for step in self.steps for sql in step.changes]
