"""Execute a run: whether it may still begin, its operation, and what became of it."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from app.errors import ProjectNotReady, RunTimedOut
from app.extensions import db
from app.fleet import drift
from app.fleet.core.transactions import repeated, writing
from app.fleet.counts.positions import joined
from app.fleet.rollouts.rules import windows
from app.fleet.runs import create, operations, results
from app.fleet.runs.tasks import TRANSIENT, Ended, Task
from app.models import Database, Kind, Rollout, Run, Stage, State
from headway.errors import DatabaseMissing, HeadwayError, ProcessEnded
from headway.execution.failures import reason
from headway.types import Position

log = logging.getLogger(__name__)

PAUSES = (2, 10, 30, 120, 300)
"""Seconds before each retry of a busy or unreachable database; after the last the run fails."""

NAMES_OBJECT = re.compile(
    r"already exists|does not exist|doesn't exist|no such (table|column|index|view|trigger)"
    r"|duplicate (column|key) name|unknown (column|table)|check that (it|column/key) exists",
    re.IGNORECASE,
)
"""How databases say that what a statement names is there already, or is not there."""

MAY_BEGIN = (
    select(Rollout.stage, Database.pin_until)
    .select_from(Run)
    .join(Rollout, Rollout.id == Run.rollout_id)
    .join(Database, Database.id == Run.database_id)
    .where(
        Run.id == bindparam("run_id"),
        Run.worker == bindparam("worker"),
        Run.state == State.RUNNING,
    )
)
"""Asked for each run, so it is built once."""


@dataclass(frozen=True)
class CurrentRun:
    """The run that this process executes now, for the watchdog."""

    run_id: int
    worker: str
    began_at: float
    """On the monotonic clock, as is its deadline."""
    ends_at: float


current_run: CurrentRun | None = None


def execute(run_id: int, worker: str) -> None:
    """Execute a claimed run, and write its result."""
    for task in Task.read([run_id], worker):
        if result := execute_task(task):
            results.finish([result])
            explain(result)


def execute_task(task: Task) -> results.Result | None:
    """Execute a claimed run. An error of the database is its result, and is not raised.

    An error of the catalog is raised: then the run has to be reported lost, and its database is
    asked what became of it. None if it did not begin, or was lost: then that is written.
    """
    if not _may_begin(task):
        return None
    try:
        with _watched(task):
            return _result(task, _run_operation(task))
    except ProcessEnded as error:
        log.warning("run %s of %s: %s", task.run.id, task.database.name, error)
        note_lost(task.run.id, task.worker, problem=error.slug(), error=str(error))
        return None


def explain(result: results.Result) -> None:
    """After a failure that names an object: compare its database, and add what is found there.

    For a run whose failure is written already, so that its rollout did not wait for this.
    """
    task, error = result.task, result.ended.error or ""
    moves = task.kind in (Kind.UPGRADE, Kind.DOWNGRADE)
    if result.state is not State.FAILED or not moves or not NAMES_OBJECT.search(error):
        return
    if result.position.get("position") == Position.TORN:
        return  # half of a revision is there, which is no drift
    try:
        with _watched(task):
            found = drift.explain_failure(task.database, task.member(), error)
    except HeadwayError as refusal:
        log.info("%s is not compared after its failure: %s", task.database.name, refusal)
        return
    if found:
        results.add_to_error(task.run.id, found)


@contextmanager
def _watched(task: Task) -> Iterator[None]:
    """The watchdog ends what takes longer than the rollout allows."""
    global current_run  # noqa: PLW0603  # a process does one at a time
    began = time.monotonic()
    ends = began + task.rollout.timeout_seconds
    current_run = CurrentRun(task.run.id, task.worker, began, ends)
    try:
        yield
    finally:
        current_run = None


def note_timeout(run_id: int, worker: str) -> None:
    """Mark a run as lost because it took too long, before its process is ended."""
    note_lost(
        run_id,
        worker,
        problem=RunTimedOut.slug(),
        error="It took longer than its rollout allows, and was stopped.",
    )


@repeated
def note_lost(run_id: int, worker: str, *, problem: str, error: str) -> None:
    """Mark a run as lost, so that its outcome is decided by inspecting the database."""
    with writing() as session:
        session.execute(
            update(Run)
            .where(Run.id == run_id, Run.worker == worker, Run.state == State.RUNNING)
            .values(state=State.LOST, problem=problem, error=error)
        )


def _may_begin(task: Task) -> bool:
    """True if a run is its worker's, and its rollout lets it begin; else it is given up.

    Asked just before it begins: since it was claimed the rollout may have been halted, the
    database pinned, the window closed.
    """
    task.seen_ours = time.monotonic()
    with db.engine.connect() as connection:
        mine = {"run_id": task.run.id, "worker": task.worker}
        found = connection.execute(MAY_BEGIN, mine).one_or_none()
    if found is None:
        return False
    stage, now = Stage(found.stage), datetime.now(UTC)
    goes_on = stage in (Stage.RUNNING, Stage.PENDING)
    if stage is Stage.UNDOING:
        goes_on = task.kind is Kind.UNDO
    pinned = found.pin_until and found.pin_until > now and not task.rollout.by_hand
    is_closed = windows.closed_reason(task.rollout.window, now) is not None
    if goes_on and (stage is Stage.PENDING or not (pinned or is_closed)):
        return True
    _give_up(task, State.CANCELLED if stage.is_final else State.PENDING)
    return False


@repeated
def _give_up(task: Task, state: State) -> None:
    with writing() as session:
        session.execute(
            update(Run)
            .where(Run.id == task.run.id, Run.worker == task.worker, Run.state == State.RUNNING)
            .values(state=state, worker=None, started_at=None)
        )


def _run_operation(task: Task) -> Ended:
    task.say(f"{task.kind} of {task.database.address} by {task.worker}")
    began = time.monotonic()
    try:
        task.refuse_unready()
        return operations.operate(task)
    except (ProcessEnded, SQLAlchemyError):
        # The second is the catalog's: databases are opened by the child, which raises ours alone.
        raise
    except HeadwayError as error:
        result = _failed(task, error)
    except Exception as error:
        log.exception("run %s of %s failed", task.run.id, task.database.name)
        message = f"{type(error).__name__}: {reason(error)}"
        result = Ended(state=State.FAILED, error=message, problem=HeadwayError.slug())
    return _with_status(task, replace(result, seconds=time.monotonic() - began))


def _failed(task: Task, error: HeadwayError) -> Ended:
    task.say(str(error))
    return Ended(
        state=State.FAILED,
        error=str(error),
        problem=error.slug(),
        statements=error.sent,
        transient=error.kind in TRANSIENT or isinstance(error, ProjectNotReady),
    )


def _with_status(task: Task, ended: Ended) -> Ended:
    """The result with the status read now: a run that failed may have migrated its database."""
    if task.kind is Kind.CREATE:
        return create.left_by_failure(task, ended)
    if ended.problem == DatabaseMissing.slug():
        return ended  # a missing file is not an empty database
    try:
        status = task.member().status()
    except HeadwayError:
        return ended
    after = joined(status.current) if status.reason is None else None
    # Not what the catalog believed: undo would go back to there, further than this rollout came.
    before = after if task.found is None else task.found
    return replace(ended, look=status, before=before, after=after)


def _result(task: Task, ended: Ended) -> results.Result:
    waits = task.run.waits  # attempts whose worker was killed do not make the pauses longer
    if not ended.transient or waits >= len(PAUSES):
        return results.Result.of(task, ended)
    pause = PAUSES[waits]
    task.say(f"tried again in {pause} s")
    return results.Result.of(task, ended, datetime.now(UTC) + timedelta(seconds=pause))
