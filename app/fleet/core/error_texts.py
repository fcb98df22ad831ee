"""What whom is told of a failure: the text of a database or a script is for operators.

It may hold rows ("Key (email)=(…)"), and anything that a database's owner writes into an error.
"""

from functools import cache

from app.errors import ArgumentMissing, CheckFailed, ProjectNotReady, RunTimedOut
from app.fleet.core.permissions import Actor
from headway.errors import (
    DatabaseAhead,
    DatabaseExists,
    DatabaseForeign,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseMoved,
    DatabaseUnstamped,
    HeadwayError,
    MigrationFailed,
    SnapshotNotFound,
)

OURS = {
    one.slug()
    for one in (
        *(ArgumentMissing, CheckFailed, DatabaseAhead, DatabaseExists, DatabaseForeign),
        *(DatabaseLocked, DatabaseMissing, DatabaseMoved, DatabaseUnstamped, ProjectNotReady),
        *(RunTimedOut, SnapshotNotFound),
    )
}
"""Errors whose whole text is of our own words."""


@cache
def class_of(slug: str | None) -> type[HeadwayError]:
    """The error class with this slug; MigrationFailed if there is none."""
    todo = [HeadwayError]
    while todo:
        kind = todo.pop()
        if kind.slug() == slug:
            return kind
        todo += kind.__subclasses__()
    return MigrationFailed


def for_all(error: str | None, problem: str | None) -> str | None:
    """The error of a run as everybody may read it, with the slug of its page."""
    if error is None or problem in OURS:
        return error
    kind = class_of(problem)
    return f"{kind.title()} ({kind.slug()})."


def for_actor(actor: Actor, project_id: int, error: str | None, problem: str | None) -> str | None:
    """The error of a run of a project as this account may read it: whole for its operators."""
    return error if actor.may("runs.texts", project_id) else for_all(error, problem)
