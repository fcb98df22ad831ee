"""Values that the library returns: frozen, and picklable between processes. And Bounded."""

import os
import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Position(StrEnum):
    """Where a database stands, compared with the scripts."""

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
    Position.TORN: "`repair` fixes it.",
    Position.FOREIGN: "It is another project's: check the URL and the scripts.",
    Position.UNREACHABLE: "Check the URL and the server.",
}


class Verdict(StrEnum):
    """What a person says of a torn revision."""

    APPLIED = "applied"
    NOT_APPLIED = "not-applied"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The holder of a lock. A field is None if the database cannot tell."""

    host: str | None = None
    pid: int | None = None
    release: str | None = None
    since: datetime | None = None

    @classmethod
    def myself(cls, release: str) -> "Holder":
        """This process as a holder, from now on."""
        now = datetime.fromtimestamp(int(time.time()), UTC)
        return cls(host=platform.node(), pid=os.getpid(), release=release, since=now)

    def __str__(self) -> str:
        who = f"process {self.pid}" if self.pid else "a process"
        where = f" on {self.host}" if self.host else ""
        what = f", release {self.release}" if self.release else ""
        when = f", since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"{who}{where}{what}{when}"

    def as_json(self) -> dict[str, str | int | None]:
        """The holder for JSON; `since` is ISO 8601."""
        since = self.since.isoformat() if self.since else None
        return {"host": self.host, "pid": self.pid, "release": self.release, "since": since}


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a database stands: read without a lock and without importing a revision."""

    position: Position
    current: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    """Applied revisions whose script has changed since."""
    missing: tuple[str, ...] = ()
    """Applied revisions that have no script any more."""
    out_of_order: tuple[str, ...] = ()
    """Revisions below the current one that never ran here: inserted after it had passed."""
    torn: str | None = None
    newer: tuple[str, ...] = field(default=())
    """Applied revisions that only a newer release has."""
    leftovers: tuple[str, ...] = ()
    """Temporary tables of another tool's broken batch operation."""
    reason: str | None = None
    """Why it is unreachable, or a warning about its connection."""
    milliseconds: float | None = None
    """Time to connect and answer, in milliseconds."""

    @property
    def next_step(self) -> str:
        """What to do next, in a sentence; "" if nothing."""
        if self.position is Position.EMPTY and not self.pending:
            return ""  # of a project that has no revision yet
        return NEXT_STEPS[self.position]

    @property
    def direction(self) -> str | None:
        """`up` if there are pending revisions, `down` if only a newer release can downgrade."""
        if self.position in (Position.BEHIND, Position.EMPTY):
            return "up"
        return "down" if self.position is Position.AHEAD else None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a run. A failed run raises; `MigrationFailed.context` has the same names."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    status: Status | None = None
    """Where the database stands now, as it was read after the last step, under the lock."""
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
    """What a boot is doing now, for readiness."""

    state: str
    """`waiting_for_database`, `waiting_for_lock`, `migrating` or `verifying`."""
    started: float = field(default_factory=time.time)
    revision: str | None = None
    """"4 of 9": the revision that is running."""
    name: str | None = None
    holder: Holder | None = None

    def as_json(self) -> dict[str, object]:
        """The JSON body of the readiness response."""
        body: dict[str, object] = {"state": self.state}
        if self.revision:
            body |= {"revision": self.revision, "running": self.name}
        body["seconds"] = round(time.time() - self.started)
        body["lock"] = {"holder": self.holder.as_json()} if self.holder else None
        return body


class Bounded(dict[Any, Any]):
    """A dict that forgets its oldest entry when it would hold more than so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        for oldest in list(self)[: len(self) - self.most] if len(self) > self.most else ():
            self.pop(oldest, None)
