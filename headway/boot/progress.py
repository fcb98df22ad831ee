"""What a boot is doing: sent to a callback, or logged."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from headway.types import Holder, Progress
from headway.words import Words

log = logging.getLogger(__name__)

Report = Callable[[Progress], None]
SECONDS = 10
"""How often the same is logged again."""
observers: list[Report] = []
"""Who else is told of each boot of this process: a parent that answers probes (`boot.child`)."""


@dataclass
class Reporting:
    """Sends a callback what a boot does, several times a second while it waits."""

    report: Report
    release: str = ""
    began: float = field(default_factory=time.time)

    def send(self, state: str, **more: object) -> None:
        """One state of a boot: see Progress."""
        progress = Progress(state=state, started=self.began, **more)  # type: ignore[arg-type]
        for report in (self.report, *observers):
            report(progress)

    def waiting(self, holder: Holder | None) -> None:
        """Another process has the lock."""
        self.send("waiting_for_lock", holder=holder)

    def on_step(self, number: int, total: int, name: str) -> None:
        """A revision is about to run."""
        me = Holder.myself(self.release)
        self.send("migrating", revision=f"{number} of {total}", name=name, holder=me)


class Narrator:
    """Logs what changes, and what stays as it was every ten seconds."""

    def __init__(self, words: Words) -> None:
        self.subject = words.subject or "the database"
        self.last: tuple[object, ...] = ()
        self.at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Log it unless it was just logged."""
        now = time.time()
        key = (progress.state, progress.revision, progress.holder and progress.holder.pid)
        if key == self.last and now - self.at < SECONDS:
            return
        self.last, self.at = key, now
        if progress.state == "waiting_for_lock":  # Alembic itself logs each upgrade
            who = progress.holder or "another"
            log.info("%s is being migrated by %s; waiting", self.subject, who)
        elif progress.state == "waiting_for_database":
            log.info("the server of %s does not answer yet; waiting", self.subject)
