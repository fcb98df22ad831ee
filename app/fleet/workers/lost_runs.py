"""Recover lost runs: those whose worker is gone. The version in the database decides.

A run whose database is at the run's target has succeeded. If the database is where it was before
and no process migrates it, the run may be tried again. In any other case it has failed, and a
person has to look.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from app.errors import RunTimedOut
from app.extensions import db
from app.fleet.core.transactions import repeated, writing
from app.fleet.counts import positions, tallies
from app.fleet.counts.positions import joined, split
from app.fleet.isolation.remote import RemoteDatabase
from app.fleet.runs import create
from app.fleet.runs.tasks import Task
from app.fleet.workers import registry
from app.models import Kind, Rollout, Run, Stage, State
from headway.dialects.sqlite import snapshots
from headway.errors import DatabaseTorn, ErrorKind, HeadwayError, ProcessEnded
from headway.types import Position, Status

AT_ONCE = 50
ATTEMPTS = 5
LOCK_SECONDS = 0.2
MOVES = (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP, Kind.UNDO, Kind.CREATE)


def resolve_lost() -> None:
    """Mark the runs whose worker is gone as lost, and decide the outcome of each lost run."""
    _declare()
    query = select(Run.id).where(Run.state == State.LOST).order_by(Run.id).limit(AT_ONCE)
    found = list(db.session.scalars(query))
    db.session.rollback()
    for run_id in found:
        _examine(run_id)


@repeated
def _declare() -> None:
    holders = db.session.scalars(
        select(Run.worker).where(Run.state == State.RUNNING, Run.worker.is_not(None)).distinct()
    )
    gone = registry.gone([str(name) for name in holders])
    db.session.rollback()
    if not gone:
        return
    with writing() as session:
        session.execute(
            update(Run)
            .where(Run.state == State.RUNNING, Run.worker.in_(gone))
            .values(
                state=State.LOST,
                error="Its worker is lost; the database will be inspected.",
            )
            .execution_options(synchronize_session=False)
        )


def _examine(run_id: int) -> None:
    for task in Task.read([run_id], None, State.LOST):
        _decide(task)


def _decide(task: Task) -> None:
    try:
        member = task.member()
        if task.kind is Kind.CREATE and create.is_nothing_left(task, LOCK_SECONDS):
            seen, verdict = None, _again_or_failed(task, None)
        else:
            seen = _status_once_unlocked(member)
            verdict = _resolution(task, seen)
    except HeadwayError as error:
        if error.kind in (ErrorKind.BUSY, ErrorKind.UNREACHABLE):
            return  # it is still locked, or unreachable: try again later
        verdict = {"state": State.FAILED, "error": str(error), "problem": error.slug()}
        seen = None
    if verdict:
        _write(task, verdict, seen)


def _status_once_unlocked(member: RemoteDatabase) -> Status:
    """Its status once it is not locked any more: a server may continue after its client ended."""
    member.wait_for_lock(LOCK_SECONDS)
    return member.status()


def _resolution(task: Task, seen: Status) -> dict[str, Any]:
    """The new values of the run; {} if it stays lost for now."""
    run, now = task.run, datetime.now(UTC)
    if seen.position is Position.UNREACHABLE:
        return {}
    known = {"before": task.planned_from}
    current = joined(seen.current)
    if seen.position is Position.TORN:
        return known | {
            "state": State.FAILED,
            "after": current,
            "error": f"{_what_ended(run)} in the middle of revision {seen.torn}. `flask migrate "
            "repair` shows the part that was applied, and undoes it.",
            "problem": DatabaseTorn.slug(),
            "finished_at": now,
        }
    if task.kind in MOVES and current == _aim(task) and not _unchecked(task):
        task.say(f"{_ended_in_words(run)}; the database is at the target of the run")
        done = {"state": State.SUCCEEDED, "after": current, "error": None, "problem": None}
        return known | done | {"finished_at": now, "snapshot": _snapshot_of(task)}
    return _again_or_failed(task, current)


def _snapshot_of(task: Task) -> str | None:
    """The snapshot that a run took of its file before it began, if it is still there."""
    path, began = task.member().address.path, task.run.started_at
    if path is None or began is None or not task.rollout.snapshot:
        return None
    found = snapshots.taken_since(path, began, task.planned_from or "base")
    return str(found) if found else None


def _again_or_failed(task: Task, current: str | None) -> dict[str, Any]:
    """The new values of a run that did not finish; `current` is None if there is no database."""
    run, known = task.run, {"before": task.planned_from}
    if run.problem == RunTimedOut.slug() or run.losses >= ATTEMPTS:
        known = known if current is not None else {"before": None}
        return known | {
            "state": State.FAILED,
            "after": current,
            "error": _why_not_retried(run),
            "problem": run.problem or ProcessEnded.slug(),
            "finished_at": datetime.now(UTC),
        }
    task.say(f"{_ended_in_words(run)}; the database was inspected, and the run is tried again")
    state = State.CANCELLED if Stage(task.rollout.stage).is_final else State.PENDING
    again: dict[str, Any] = {"state": state, "worker": None, "attempt": run.attempt + 1}
    again |= {"after": current}
    return known | again | {"error": None, "problem": None, "started_at": None}


def _aim(task: Task) -> str | None:
    if task.kind is Kind.CREATE:
        return task.run.aim if task.run.before is not None else None
    return task.aim(split(task.planned_from or ""))


def _what_ended(run: Run) -> str:
    return "The process that ran it ended" if run.problem else "Its worker ended"


def _ended_in_words(run: Run) -> str:
    """For the log of a run: what ended, and how if that is known."""
    return (run.error or "").rstrip(".") if run.problem else "its worker ended"


def _why_not_retried(run: Run) -> str:
    """The error of a lost run that is not tried again."""
    if run.problem == RunTimedOut.slug():
        return run.error or ""
    if run.problem:
        return f"{run.error} This happened {run.losses} times."
    return (
        f"Its worker ended {run.losses} times. Perhaps it was killed because memory ran out: see "
        "the log of the kernel and of the worker."
    )


def _unchecked(task: Task) -> bool:
    """True if the gate has a check, which the worker may not have done."""
    return task.gate.check is not None and task.kind is not Kind.UNDO


@repeated
def _write(task: Task, values: dict[str, Any], seen: Status | None) -> None:
    log = (task.run.log or "") + "\n".join(task.lines) + "\n"
    with writing() as session:
        done = session.execute(
            update(Run)
            .where(Run.id == task.run.id, Run.state == State.LOST)
            .values(**values, log=log, x=task.run.x if task.used_x is None else task.used_x)
            .execution_options(synchronize_session=False)
        )
        if not done.rowcount:  # type: ignore[attr-defined]
            return
        run = task.run
        ended = tallies.Ended(run, values["state"], datetime.now(UTC), run.seconds)
        tallies.add_ended(session, [ended])
        if seen:
            rollout = session.get_one(Rollout, task.rollout.id)
            positions.place(session, {task.database.id: positions.found_at(seen)})
            if values["state"] == State.SUCCEEDED and task.kind is Kind.CREATE:
                create.record(session, rollout, task.database.id)
