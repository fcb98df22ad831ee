"""Execute a run and store its result.

The result is stored only if the run still belongs to this worker: a run that was reported lost
may have been given to another.
"""

import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from app.errors import ProjectNotReady, RunTimedOut
from app.fleet.core.positions import joined
from app.fleet.core.transactions import repeated, writing
from app.fleet.rollouts import advance, windows
from app.fleet.runs import create, operations, results
from app.fleet.runs.tasks import Ended, Task
from app.models import Kind, Run, Stage, State
from headway.errors import DatabaseMissing, ErrorKind, HeadwayError, ProcessEnded
from headway.execution.failures import reason

log = logging.getLogger(__name__)

TRANSIENT = (ErrorKind.BUSY, ErrorKind.UNREACHABLE)
PAUSES = (2, 10, 30, 120, 300)
"""Seconds before each retry of a busy or unreachable database; after the last the run fails."""


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
    """Execute a claimed run. An error of the database is its result, and is not raised."""
    global current_run  # noqa: PLW0603  # a process does one at a time
    task = Task.of(run_id, worker)
    if task is None:
        return  # it is not this worker's any more
    if _stopped(task):
        return
    began = time.monotonic()
    current_run = CurrentRun(run_id, worker, began, began + task.rollout.timeout_seconds)
    try:
        ended = _run_operation(task)
    except ProcessEnded as error:
        log.warning("run %s of %s: %s", run_id, task.database.name, error)
        note_lost(run_id, worker, problem=error.slug(), error=str(error))
        return
    finally:
        current_run = None
    _finish(task, ended)


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


def _stopped(task: Task) -> bool:
    """Give the run up, and return True, if its rollout does not allow it to begin any more."""
    stage = Stage(task.rollout.stage)
    goes_on = stage in (Stage.RUNNING, Stage.PENDING)
    if stage is Stage.UNDOING:
        goes_on = task.kind is Kind.UNDO
    if goes_on and not (stage is not Stage.PENDING and _held_back(task)):
        return False
    _give_up(task, State.CANCELLED if stage.is_final else State.PENDING)
    return True


def _held_back(task: Task) -> bool:
    """True if its database was pinned or the window closed since the run was claimed."""
    now, until = datetime.now(UTC), task.database.pin_until
    pinned = until is not None and until > now and not task.rollout.by_hand
    return pinned or windows.closed_reason(task.rollout.window, now) is not None


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
    except ProcessEnded:
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


def _finish(task: Task, ended: Ended) -> None:
    attempt = task.run.attempt
    if ended.transient and attempt <= len(PAUSES):
        pause = PAUSES[attempt - 1]
        task.say(f"tried again in {pause} s")
        results.put_off(task, ended, datetime.now(UTC) + timedelta(seconds=pause))
        return
    if results.finish(task, ended):
        if ended.state is State.FAILED:
            advance.judge(task.rollout.id)
        advance.go_on_after(task.run)
