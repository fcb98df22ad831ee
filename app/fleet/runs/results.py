"""Store the results of runs, the new positions of their databases, and the SQL they sent.

The results of quick runs are written together. A worker that dies before leaves runs that are
found to be lost: the database itself then says what became of them.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import current_app
from sqlalchemy import select, update

from app.fleet.core import error_texts
from app.fleet.core.transactions import CatalogSession, repeated, write_many, writing
from app.fleet.counts import tallies
from app.fleet.counts.positions import found_at, place, split
from app.fleet.rollouts import advance
from app.fleet.runs import create, queries
from app.fleet.runs.tasks import Ended, Task
from app.models import Kind, Revision, Run, State
from headway.types import Position

log = logging.getLogger(__name__)

MOST_UNWRITTEN, UNWRITTEN_SECONDS = 50, 1.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended, to be written."""

    task: Task
    ended: Ended
    retry_at: datetime | None = None
    """When it is tried again, of one whose database was busy or unreachable."""
    position: dict[str, Any]
    """Where its database stands, as columns; {} if that is unknown."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, task: Task, ended: Ended, retry_at: datetime | None = None) -> "Result":
        """With where the database stands, which is asked of it unless the run has told it."""
        position = _position_values(task, ended)
        return cls(task=task, ended=ended, retry_at=retry_at, position=position)

    @property
    def can_wait(self) -> bool:
        """True if nobody waits for it: a failure halts a rollout, which is to be known at once."""
        is_move = self.task.kind in (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP, Kind.UNDO)
        return is_move and self.ended.state is State.SUCCEEDED

    @property
    def state(self) -> State:
        """The state of the run from now on."""
        return self.ended.state if self.retry_at is None else State.PENDING


class Unwritten:
    """The results that a worker process has not written yet. Safe between threads."""

    def __init__(self) -> None:
        self._results: list[Result] = []
        self._since = 0.0
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._results)

    @property
    def rollouts(self) -> set[int]:
        """The rollouts of which there are some."""
        with self._lock:
            return {result.task.rollout.id for result in self._results}

    def add(self, result: Result) -> None:
        """Keep a result until it is written."""
        with self._lock:
            self._since = self._since if self._results else time.monotonic()
            self._results.append(result)

    @property
    def is_due(self) -> bool:
        """True if they are so many or so old, or one is so important, that they are written now."""
        with self._lock:
            return bool(self._results) and (
                len(self._results) >= MOST_UNWRITTEN
                or time.monotonic() > self._since + UNWRITTEN_SECONDS
                or not all(result.can_wait for result in self._results)
            )

    def write(self) -> int:
        """Write them all, and advance their rollouts. Returns how many.

        Raises the errors of the catalog; then they are kept.
        """
        with self._writing:
            with self._lock:
                found = tuple(self._results)
            if found:
                finish(found)
            with self._lock:
                self._results = self._results[len(found) :]
        return len(found)

    def forget(self) -> None:
        """Write none of them: their worker is reported lost, and their databases are asked."""
        with self._lock:
            self._results = []


def finish(found: Sequence[Result]) -> None:
    """Write results, and advance the rollouts that waited for them."""
    written = _write(found)
    kept = [result for result in found if result.task.run.id in written]
    for rollout in {r.task.rollout.id for r in kept if r.state is State.FAILED}:
        advance.judge(rollout)
    last: dict[tuple[int, str], Run] = {}
    for run in (result.task.run for result in kept if result.state.is_final):
        key = (run.rollout_id, run.kind)
        last[key] = max(last.get(key, run), run, key=lambda one: one.wave)
    for run in last.values():
        advance.go_on_after(run)


@repeated
def _write(found: Sequence[Result]) -> set[int]:
    """Write the results of runs that are still their worker's. Returns these runs."""
    with writing() as session:
        query = select(Run.id, Run.worker).where(
            Run.id.in_([result.task.run.id for result in found]), Run.state == State.RUNNING
        )
        mine = {(row.id, row.worker) for row in session.execute(query.with_for_update())}
        kept = []
        for result in found:
            if (result.task.run.id, result.task.worker) in mine:
                kept.append(result)
            else:
                run = result.task.run.id
                log.warning("run %s was given to another; what it did is not recorded", run)
        if not kept:
            return set()
        digests = queries.keep_sql(session, [result.ended.statements for result in kept])
        many = [_run_values(one, digest) for one, digest in zip(kept, digests, strict=True)]
        write_many(session, Run, many)
        for result in kept:
            if result.state is State.SUCCEEDED and result.task.kind is Kind.UPGRADE:
                _note_origin(session, result.task, result.ended)
        ended = [
            tallies.Ended(
                *(one.task.run, one.state, one.at, one.ended.seconds),
                differs=bool(one.ended.differences),
            )
            for one in kept
        ]
        tallies.add_ended(session, ended)
        place(session, {result.task.database.id: result.position for result in kept})
        for result in kept:
            if result.state is State.SUCCEEDED and result.task.kind is Kind.CREATE:
                create.record(session, result.task.rollout, result.task.database.id)
    return {result.task.run.id for result in kept}


@repeated
def add_to_error(run_id: int, sentence: str) -> None:
    """Add a sentence to the error of a run that has failed and was not tried again."""
    with writing() as session:
        run = session.scalar(select(Run).where(Run.id == run_id).with_for_update())
        if run and run.state == State.FAILED and run.replaced_by is None:
            run.error = f"{run.error}\n{sentence}"
            run.log = f"{run.log or ''}{sentence}\n"


def _run_values(result: Result, digest: str | None) -> dict[str, Any]:
    task, run = result.task, result.task.run
    is_final = result.state.is_final
    return _result_values(task, result.ended) | {
        "id": run.id,
        "state": result.state,
        "finished_at": result.at if is_final else None,
        "sql_digest": digest if is_final else run.sql_digest,
        "attempt": run.attempt if is_final else run.attempt + 1,
        "waits": run.waits if is_final else run.waits + 1,
        "retry_at": result.retry_at,
        "worker": task.worker if is_final else None,
    }


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
        "differences": ended.differences,
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


def _position_values(task: Task, ended: Ended) -> dict[str, Any]:
    """The position columns of the database; {} if its position is unknown."""
    if task.kind is Kind.REHEARSE:
        return {}
    compared = {} if ended.differences is None else {"drift_at": datetime.now(UTC)}
    return _position_of(task, ended) | compared


def _position_of(task: Task, ended: Ended) -> dict[str, Any]:
    now, seen = datetime.now(UTC), ended.look
    if seen is None and ended.after is None:
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
