"""Store the result of a run, the new position of its database, and the SQL it sent."""

import logging
from datetime import UTC, datetime
from typing import Any

from flask import current_app
from sqlalchemy import update

from app.fleet.core import error_texts
from app.fleet.core.positions import found_at, place, split
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.runs import create, queries
from app.fleet.runs.tasks import Ended, Task
from app.models import Kind, Revision, Run, State
from headway.types import Position

log = logging.getLogger(__name__)


@repeated
def finish(task: Task, ended: Ended) -> bool:
    """Store the result of a run; False if the run is not this worker's any more."""
    position_values = _position_values(task, ended)
    with writing() as session:
        values = {
            "state": ended.state,
            "finished_at": datetime.now(UTC),
            "sql_digest": queries.keep_sql(session, ended.statements),
            **_result_values(task, ended),
        }
        if not _write(session, task, values):
            log.warning("run %s was given to another; what it did is not recorded", task.run.id)
            return False
        if ended.state is State.SUCCEEDED and task.kind is Kind.UPGRADE:
            _note_origin(session, task, ended)
        place(session, task.rollout, task.database.id, position_values)
        if ended.state is State.SUCCEEDED and task.kind is Kind.CREATE:
            create.record(session, task.rollout, task.database.id)
    return True


@repeated
def put_off(task: Task, ended: Ended, until: datetime) -> None:
    """Make a run pending again from a time on: its database was unreachable or busy."""
    position_values = _position_values(task, ended)
    with writing() as session:
        values = _result_values(task, ended) | {
            "state": State.PENDING,
            "attempt": task.run.attempt + 1,
            "retry_at": until,
            "worker": None,
        }
        if _write(session, task, values):
            place(session, task.rollout, task.database.id, position_values)


def _result_values(task: Task, ended: Ended) -> dict[str, Any]:
    earlier = task.run.log or ""
    return {
        **_way(task, ended),
        "aim": task.run.aim,
        "applied": list(ended.applied) or None,
        "replayed": ended.replayed,
        "seconds": ended.seconds,
        "error": ended.error,
        "problem": ended.problem,
        "snapshot": ended.snapshot,
        "x": task.run.x if task.used_x is None else task.used_x,
        "log": earlier + "\n".join(task.lines) + "\n",
    }


def _way(task: Task, ended: Ended) -> dict[str, str | None]:
    """The revisions before and after the run."""
    run = task.run
    if task.kind is Kind.CREATE:
        return {"before": ended.before, "after": ended.after}
    if ended.state is State.FAILED and task.found is None and run.before is not None:
        return {"before": run.before, "after": run.after}  # it migrated nothing
    # Of several attempts the first that moved it knows where it came from.
    return {"before": run.before if task.has_moved else ended.before, "after": ended.after}


def _write(session: CatalogSession, task: Task, values: dict[str, Any]) -> bool:
    done = session.execute(
        update(Run)
        .where(Run.id == task.run.id, Run.state == State.RUNNING, Run.worker == task.worker)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]


def _position_values(task: Task, ended: Ended) -> dict[str, Any]:
    """The position columns of the database; {} if its position is unknown."""
    now, seen = datetime.now(UTC), ended.look
    if task.kind is Kind.REHEARSE or (seen is None and ended.after is None):
        return {}
    at_head = set(split(ended.after or "")) == set(task.scripts.heads)
    if seen is None and not at_head:
        seen = task.member().status()
    if seen is None:
        return {
            "position": Position.AT_HEAD.value,
            "current": ended.after,
            "pending": 0,
            "reason": None,
            "asked_at": now,
            "seen_at": now,
        }
    return found_at(seen, error_texts.for_all(ended.error, ended.problem))


def _note_origin(session: CatalogSession, task: Task, ended: Ended) -> None:
    """Store which rollout first applied a revision to a database."""
    # Revisions that are recorded already. An edited script counts as another revision.
    brought = current_app.extensions.setdefault("headway.brought", set())
    project = (task.project.id, task.project.digest)
    new = [name for name in ended.applied if (*project, name) not in brought]
    if not new:
        return
    session.execute(
        update(Revision)
        .where(
            Revision.project_id == task.project.id,
            Revision.revision.in_(new),
            Revision.rollout_id.is_(None),
        )
        .values(rollout_id=task.rollout.id)
        .execution_options(synchronize_session=False)
    )
    brought.update((*project, name) for name in new)
