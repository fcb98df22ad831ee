"""What the migrator tells: frozen values that travel between processes."""

import os
import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


class Position(StrEnum):
    """Where a database stands, seen from the scripts."""

    AT_HEAD = "at_head"
    BEHIND = "behind"
    DIVERGED = "diverged"  # it has what these scripts do not know, and lacks what they have
    AHEAD = "ahead"  # a newer release of the same project was here
    EMPTY = "empty"
    UNSTAMPED = "unstamped"  # tables, but no version
    TORN = "torn"  # a revision began and never ended
    FOREIGN = "foreign"  # the version is another project's
    UNREACHABLE = "unreachable"


NEXT_STEPS = {
    Position.AT_HEAD: "",
    Position.BEHIND: "`upgrade` brings it to head.",
    Position.EMPTY: "`upgrade` brings it to head.",
    Position.AHEAD: "A newer release was here: use that one, or its `downgrade`.",
    Position.DIVERGED: "It has what these scripts lack, and lacks what they have. Merge them.",
    Position.UNSTAMPED: "`adopt` finds the revision that it is.",
    Position.TORN: "`repair` mends it.",
    Position.FOREIGN: "It is another project's: check the URL and the scripts.",
    Position.UNREACHABLE: "Check the URL and the server.",
}


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock. A field is None where the database cannot tell."""

    host: str | None = None
    pid: int | None = None
    release: str | None = None
    since: datetime | None = None

    @classmethod
    def myself(cls, release: str) -> "Holder":
        """This process, from now on."""
        now = datetime.fromtimestamp(int(time.time()), UTC)
        return cls(host=platform.node(), pid=os.getpid(), release=release, since=now)

    def __str__(self) -> str:
        who = f"process {self.pid}" if self.pid else "a process"
        where = f" on {self.host}" if self.host else ""
        what = f", release {self.release}" if self.release else ""
        when = f", since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"{who}{where}{what}{when}"

    def as_json(self) -> dict[str, str | int | None]:
        """The same for machines: `since` is ISO 8601."""
        since = self.since.isoformat() if self.since else None
        return {"host": self.host, "pid": self.pid, "release": self.release, "since": since}


@dataclass(frozen=True, kw_only=True)
class Status:
    """What one look at a database found, without a lock and without importing a revision."""

    position: Position
    current: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    """Applied revisions whose script is not the one that was applied."""
    missing: tuple[str, ...] = ()
    """Applied revisions that have no script any more."""
    out_of_order: tuple[str, ...] = ()
    """Revisions below the current one that never ran here: inserted after it had passed."""
    torn: str | None = None
    newer: tuple[str, ...] = field(default=())
    """Applied revisions that only a newer release knows."""
    leftovers: tuple[str, ...] = ()
    """Tables that a batch operation of another tool left half-way."""
    reason: str | None = None
    """Why it is unreachable."""
    milliseconds: float | None = None
    """How long it took to connect and answer."""

    @property
    def next_step(self) -> str:
        """What to do about it, in a sentence; "" if nothing."""
        if self.position is Position.EMPTY and not self.pending:
            return ""  # of a project that has no revision yet
        return NEXT_STEPS[self.position]

    @property
    def direction(self) -> str | None:
        """`up` if these scripts can bring it further, `down` if only a newer release can say."""
        if self.position in (Position.BEHIND, Position.EMPTY):
            return "up"
        return "down" if self.position is Position.AHEAD else None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. A run that failed raises; `MigrationFailed.context` has the same names."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    applied: tuple[str, ...] = ()
    replayed: bool = False
    """True if recorded statements ran, False if Python did."""
    seconds: float = 0.0
    snapshot: str | None = None
    """The copy taken before, which `restore` takes."""
    statements: tuple[str, ...] = ()
    """The SQL that was sent, without values."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a boot is doing right now; readiness shows it."""

    state: str
    """`waiting_for_database`, `waiting_for_lock`, `migrating` or `verifying`."""
    started: float = field(default_factory=time.time)
    revision: str | None = None
    """ "4 of 9": the one that is running."""
    name: str | None = None
    holder: Holder | None = None

    def as_json(self) -> dict[str, object]:
        """The body that readiness answers with."""
        body: dict[str, object] = {"state": self.state}
        if self.revision:
            body |= {"revision": self.revision, "running": self.name}
        body["seconds"] = round(time.time() - self.started)
        body["lock"] = {"holder": self.holder.as_json()} if self.holder else None
        return body
