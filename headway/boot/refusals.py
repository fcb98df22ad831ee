"""Why a database is not served, in the words of the program that would."""

import logging

from sqlalchemy.exc import DBAPIError

from headway.errors import (
    DatabaseAhead,
    DatabaseBehind,
    DatabaseDenied,
    HeadwayError,
    HistoryInvalid,
    MigrationFailed,
    SeveralHeads,
)
from headway.execution.failures import reason
from headway.status import refusal
from headway.types import Position, Status
from headway.words import Words

log = logging.getLogger(__name__)


def refuse(name: str, status: Status, words: Words) -> None:
    """Raise why a database in this position is neither served nor upgraded.

    One without a version is no such: it is adopted first.
    """
    if status.position in (Position.AHEAD, Position.DIVERGED):
        raise refused_newer(name, status, words)
    why = refusal(name, status, words)
    if why and status.position is not Position.UNSTAMPED:
        raise why
    refuse_edited(status, words)


def refused_newer(name: str, status: Status, words: Words) -> HeadwayError:
    """A newer release has migrated it, and this one is told to refuse that, or lacks more."""
    setting, newer = words.setting("on_newer"), ", ".join(status.newer)
    why = f", and {setting} is `refuse`" if setting and status.position is Position.AHEAD else ""
    return words.error(
        DatabaseAhead,
        f"{name} is at {newer}, which a newer release brought{why}. Nothing was changed. Start "
        f"that release, or take the database back with the `{words.command('downgrade')}` of that "
        "release.",
        current=status.current,
        heads=status.heads,
    )


def refuse_several_heads(status: Status, words: Words) -> None:
    """Raise SeveralHeads: which of them is meant cannot be told."""
    if len(status.heads) > 1:
        raise SeveralHeads(
            f"The scripts have {len(status.heads)} heads: {', '.join(status.heads)}. Nothing was "
            f"changed. Join them with `{words.command('merge')}`, or remove one of them from this "
            "release.",
            heads=status.heads,
        )


def refuse_edited(status: Status, words: Words) -> None:
    """Raise HistoryInvalid where the scripts are not the ones that made this database."""
    found = []
    if status.edited:
        found.append(f"edited after it was applied: {', '.join(status.edited)}")
    if status.out_of_order:
        found.append(f"inserted below and never applied: {', '.join(status.out_of_order)}")
    if found:
        raise HistoryInvalid(
            f"The scripts are not the ones that made {words.subject or 'this database'}: "
            f"{'; '.join(found)}. Nothing was changed. Bring the old scripts back and write a new "
            "revision instead; if the change does not affect the schema, accept it with "
            f"`{words.command('repair')}`.",
            edited=status.edited,
            out_of_order=status.out_of_order,
        )
    if status.missing:
        log.warning("applied revisions without a script: %s", ", ".join(status.missing))


def refuse_behind(name: str, status: Status, words: Words) -> None:
    """Raise DatabaseBehind: this program was told not to migrate."""
    setting = words.setting("migrate")
    why = f"{setting} is off" if setting else "it is told not to migrate"
    other = f"switch {setting} on" if setting else "let this program migrate it"
    raise words.error(
        DatabaseBehind,
        f"{name} is {status.position}, this release needs {', '.join(status.heads)}, and {why}. "
        f"Run `{words.command('upgrade')}`, or {other}.",
        pending=status.pending,
    )


def in_words(error: DBAPIError, words: Words) -> HeadwayError:
    """What the server refuses, as a sentence."""
    text, subject = reason(error), words.subject or "the database"
    if "denied" in text.lower() or "privilege" in text.lower():
        return DatabaseDenied(
            f"The user of {subject} may not do what this needs: {text}. Allow it to create tables "
            "in that schema, and to read and write them (PostgreSQL: GRANT CREATE, USAGE ON "
            f"SCHEMA), or bring it to head as its owner: `{words.command('upgrade')}`."
        )
    return MigrationFailed(f"{words.name('The database')} was not brought to head: {text}.")
