"""Bring a database to head: wait, look, lock, look again, snapshot, upgrade, verify."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, Engine
from sqlalchemy.exc import DBAPIError

from headway.boot import refusals
from headway.boot.progress import Narrator, Report, Reporting
from headway.connections.address import Address
from headway.database import Database
from headway.dialects.reach import until_reachable
from headway.errors import DatabaseAhead, DatabaseUnreachable, HeadwayError, MigrationFailed
from headway.project import Project
from headway.status import ask
from headway.types import Position, Status
from headway.words import PLAIN, Words

log = logging.getLogger(__name__)

SERVABLE = (Position.AT_HEAD, Position.AHEAD)


@dataclass(frozen=True, kw_only=True)
class Booted:
    """A database that may be served."""

    before: Status
    after: Status
    """At head; or `ahead`, and served `degraded`. `unreachable` only for a process of a server that
    had brought it to head before."""
    seconds: float


def bring_to_head(
    scripts: str | os.PathLike[str] | Project,
    database: str | URL | Path | Engine,
    *,
    x: Mapping[str, str] | None = None,
    wait: float = 60.0,
    lock_wait: float = 300.0,
    migrate: bool = True,
    on_newer: str = "serve",
    snapshot: bool = True,
    history: bool = True,
    release: str = "",
    report: Report | None = None,
    words: Words | None = None,
) -> Booted:
    """Bring a database to head before this program serves it. Any number of processes may call it.

    `scripts` is a script directory, as Project.load takes it. `wait` are the seconds to wait for
    the server, `lock_wait` those to wait for another process that is migrating. `on_newer`:
    `serve` a database that a newer release has migrated, or `refuse` it. `migrate=False` refuses
    one that is behind. `report` is told what is going on (by default it is logged). `words` name
    commands and settings in messages. Raises the HeadwayError that says why the database cannot
    be served; it is then as it was.
    """
    words = words or PLAIN
    project = scripts if isinstance(scripts, Project) else Project.load(scripts)
    policy = {"lock_wait": lock_wait, "snapshot": snapshot, "history": history}
    target = project.at(database, x, **policy, release=release or "headway", words=words)
    progress = Reporting(report or Narrator(words), release)
    return Boot(
        database=target, wait=wait, on_newer=on_newer, migrate=migrate, progress=progress
    ).run()


@dataclass(kw_only=True)
class Boot:
    """A database on its way to head."""

    database: Database
    wait: float = 60.0
    on_newer: str = "serve"
    migrate: bool = True
    progress: Reporting = field(default_factory=lambda: Reporting(Narrator(PLAIN)))
    upgrade: Callable[[], object] | None = None
    """Another way to adopt and upgrade it, as careful as Database's own."""
    on_booted: Callable[[Booted], object] | None = None
    """Told of a boot that went well, unless the server had booted before."""
    booted: bool = False
    """This server has brought it to head already: an outage is no reason to end a process of it."""

    @property
    def words(self) -> Words:
        """What messages call things."""
        return self.database.policy.words

    def run(self) -> Booted:
        """Do it. Raises the HeadwayError that says why it cannot be served."""
        self.progress.began = began = time.time()
        try:
            before, after = self._brought()
            booted = Booted(before=before, after=after, seconds=round(time.time() - began, 3))
            if self.on_booted and not self.booted:
                self.on_booted(booted)
        except DBAPIError as error:
            raise refusals.in_words(error, self.words) from error
        finally:
            address = self.database.address
            if address.engine is not None and not _is_in_memory(address):
                # A preloaded program is forked, and one that is refused leaves no session behind.
                address.engine.dispose()
        return booted

    def _brought(self) -> tuple[Status, Status]:
        try:
            before = self._status(wait=0 if self.booted else self.wait)
        except DatabaseUnreachable as error:
            if not self.booted:
                raise
            log.warning("%s; it was at head when this server started", error)
            gone = Status(position=Position.UNREACHABLE, heads=self.database.project.heads)
            return gone, gone
        if self._is_settled(before):
            return before, before
        try:
            if self.upgrade:
                self.upgrade()
            else:
                self._upgrade(before)
        except DatabaseAhead:  # a newer release was quicker
            if self.on_newer == "refuse":
                raise
        self.progress.send("verifying")
        return before, self._verified(self._status())

    def _status(self, *, wait: float = 0) -> Status:
        def waiting(_: HeadwayError) -> None:
            self.progress.send("waiting_for_database")

        one = self.database
        return until_reachable(
            lambda: ask(one.project, one.address, one.x, one.policy),
            wait=wait,
            limit=self.words.setting("wait"),
            waiting=waiting,
        )

    def _upgrade(self, before: Status) -> None:
        if before.position is Position.UNSTAMPED:
            self.database.adopt(waiting=self.progress.waiting)
        self.database.upgrade(on_step=self.progress.on_step, waiting=self.progress.waiting)

    def _verified(self, status: Status) -> Status:
        name = self.words.subject or str(self.database.address)
        if status.newer:
            self._is_settled(status)
        if status.position not in SERVABLE:
            raise MigrationFailed(
                f"The upgrade ran, and {name} is {status.position}: {status.current} instead of "
                f"{status.heads}. Something else changes it; stop that and "
                "start again."
            )
        log.info("%s is at %s", name, ", ".join(status.current))
        return status

    def _is_settled(self, status: Status) -> bool:
        """True if it can be served as it is; False if it has to be upgraded first."""
        name = self.words.name(self.database.address)
        refusals.refuse_several_heads(status, self.words)
        if status.position is Position.AHEAD and self.on_newer != "refuse":
            newer = ", ".join(status.newer)
            log.warning("%s is at %s, newer than this release: serving degraded", name, newer)
            return True
        # Without the lock, half a revision is most often another process's that runs just now.
        if status.position is not Position.TORN:
            refusals.refuse(name, status, self.words)
        if status.position is Position.AT_HEAD:
            return True
        if not self.migrate:
            refusals.refuse_behind(name, status, self.words)
        return False


def _is_in_memory(address: Address) -> bool:
    """True for a SQLite database that would be gone with its connection."""
    return address.dialect.name == "sqlite" and address.path is None
