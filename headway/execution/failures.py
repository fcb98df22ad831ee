"""Options of a guarded run, names of its steps, and the errors that a failed run raises."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from alembic.runtime.migration import MigrationInfo
from sqlalchemy.exc import DBAPIError

from headway.dialects import Beside
from headway.error_text import plain, raised_in, with_kind
from headway.errors import HeadwayError, MigrationFailed
from headway.scripts.files import Scripts
from headway.words import PLAIN, Words

Step = Any  # Alembic's RevisionStep or StampStep, which share `info` but no typed base


@dataclass(frozen=True, kw_only=True)
class GuardOptions:
    """Options of a guarded run."""

    history: bool = False
    """Keep a history table. Where DDL cannot be rolled back there is one while a run lasts."""
    snapshot: bool = False
    """Take a snapshot first, where the database can."""
    words: Words = PLAIN
    adopts: bool = False
    """A stamp that was found by comparing schemas: the history says so."""
    beside: Beside | None = None
    """Opens another session on the same database; by default through the connection's engine."""
    on_ended: Callable[[str], None] | None = None
    """Called with each revision that ended its transaction itself: the run is not all or
    nothing."""
    joins: bool = False
    """The run is part of a transaction that is open already and that the caller ends."""
    follows: bool = False
    """The same env.py has already run and committed migrations, of another schema perhaps."""

    def action_of(self, info: MigrationInfo) -> str:
        """What a step does, as the history calls it."""
        if info.is_stamp:
            return "adopt" if self.adopts else "stamp"
        return "upgrade" if info.is_upgrade else "downgrade"


NOTHING = "Nothing was changed."
"""Sentence in the messages of guards, true if the database was rolled back."""
SERVERS = ("gunicorn", "celery", "billiard")
"""Servers whose signal handlers raise SystemExit wherever the process is."""


def name_of(info: MigrationInfo) -> str:
    """The revision of a step; `base` for a stamp that removes all."""
    if info.is_stamp:
        return next(iter(info.destination_revision_ids), "base")
    return str(info.up_revision_id)


def refuse_leaving(steps: Sequence[Step], scripts: Scripts) -> None:
    """Raise MigrationFailed for a step that would commit the transaction of others."""
    for name in (name_of(step.info) for step in steps):
        if (script := scripts.by_id.get(name)) and script.autocommits:
            raise MigrationFailed(
                f"Revision {name} has an `autocommit_block`, which would commit the transaction "
                "that is open on this connection. Nothing was changed. Give the URL or the engine, "
                "or a connection without a transaction.",
                failed=name,
            )


def needs_message(error: BaseException) -> bool:
    """True if an error has no message of its own for people: not ours, and no stop signal."""
    if isinstance(error, SystemExit):
        return not is_signalled(error)
    return not isinstance(error, HeadwayError | KeyboardInterrupt | GeneratorExit)


def is_signalled(error: SystemExit) -> bool:
    """True if a server's signal handler ended the program, not the code of a project."""
    frame = raised_in(error)
    file = frame.f_code.co_filename if frame else ""
    return any(f"{os.sep}{name}{os.sep}" in file for name in SERVERS)


def reason(error: BaseException) -> str:
    """The driver's or the script's message, without the statement and its values."""
    return plain(error)


def is_lost(error: BaseException) -> bool:
    """True if the connection broke, so that the server's answer is unknown."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def explained(
    error: BaseException,
    *,
    names: Sequence[str],
    failed: int,
    done: Sequence[str],
    stays: str | None,
    follows: bool = False,
) -> MigrationFailed:
    """MigrationFailed with what was applied, what failed and what is left.

    `stays` is a sentence on what remains of the failed revision, why, and what to do; None if
    nothing does.
    """
    left = names[failed + 1 :]
    after = describe_remains(done, stays, follows=follows) or "The database is as it was."
    return MigrationFailed(
        f"Revision {names[failed]} failed: {with_kind(error)}. {after}"
        + (f" Not applied: {', '.join(left)}." if left else ""),
        applied=tuple(done),
        failed=names[failed],
        pending=tuple(left),
    )


def describe_remains(done: Sequence[str], stays: str | None, *, follows: bool) -> str:
    """Sentences on what a failed run leaves in the database; "" if nothing."""
    if not (done or stays or follows):
        return ""
    after = f"{stays or 'Nothing of it stays'}."
    if done:
        after += f" Applied before it: {', '.join(done)}."
    if follows:
        after += " What env.py had migrated before, in runs of its own, stays."
    return after


def guard_error(error: HeadwayError, remains: str, kind: type[HeadwayError]) -> HeadwayError:
    """A guard's error as `kind`, with what remains in the database; itself if nothing does."""
    if not remains:
        return error
    return kind(str(error).replace(NOTHING, remains), **error.context)
