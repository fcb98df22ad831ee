"""Lost runs: their worker is gone, so the database itself is asked what became of them.

Its version is the truth. One that stands where the run was to bring it is done; one that stands
where it came from, and that nobody holds, may be tried again; anything else is shown to a person.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update

from app.extensions import db
from app.fleet.core import positions
from app.fleet.core.positions import joined, split
from app.fleet.core.transactions import repeated, writing
from app.fleet.isolation.remote import RemoteDatabase
from app.fleet.runs import create
from app.fleet.runs.tasks import Task
from app.fleet.workers import registry
from app.models import Kind, Rollout, Run, Stage, State
from headway.errors import HeadwayError, ProcessEnded
from headway.errors import Kind as ErrorKind
from headway.types import Look, Position

AT_ONCE = 50
ATTEMPTS = 5
LOCK_SECONDS = 0.2
MOVES = (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP, Kind.UNDO, Kind.CREATE)


def look_after() -> None:
    """Find the runs whose worker is gone, and see what became of them."""
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
                error="Its worker is gone; the database will be looked at.",
            )
            .execution_options(synchronize_session=False)
        )


def _examine(run_id: int) -> None:
    task = Task.of(run_id, None, State.LOST)
    if task is None:
        return
    try:
        member = task.member()
        if task.kind is Kind.CREATE and create.is_nothing_left(task, LOCK_SECONDS):
            seen, verdict = None, _again_or_failed(task, None)
        else:
            seen = _seen(member)
            verdict = _verdict(task, seen)
    except HeadwayError as error:
        if error.kind in (ErrorKind.BUSY, ErrorKind.UNREACHABLE):
            return  # somebody is still in there, or it is away: look again later
        verdict = {"state": State.FAILED, "error": str(error), "problem": error.slug()}
        seen = None
    if verdict:
        _write(task, verdict, seen)


def _seen(member: RemoteDatabase) -> Look:
    """Where it stands, once nobody holds it any more: a server may go on after its client."""
    member.wait_for_lock(LOCK_SECONDS)
    return member.status()


def _verdict(task: Task, seen: Look) -> dict[str, Any]:
    """What the run is now; {} to leave it lost."""
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
            "repair` shows the half that is there and takes it back.",
            "problem": "database-torn",
            "finished_at": now,
        }
    if task.kind in MOVES and current == _aim(task) and not _unchecked(task):
        task.say(f"{_ended_in_words(run)}; the database is where the run was to bring it")
        done = {"state": State.SUCCEEDED, "after": current, "error": None, "problem": None}
        return known | done | {"finished_at": now}
    return _again_or_failed(task, current)


def _again_or_failed(task: Task, current: str | None) -> dict[str, Any]:
    """What a run is that did not come to its end; `current` is None where there is no database."""
    run, known = task.run, {"before": task.planned_from}
    if run.problem == "run-timed-out" or run.attempt >= ATTEMPTS:
        known = known if current is not None else {"before": None}
        return known | {
            "state": State.FAILED,
            "after": current,
            "error": _given_up(run),
            "problem": run.problem or ProcessEnded.slug(),
            "finished_at": datetime.now(UTC),
        }
    task.say(f"{_ended_in_words(run)}; the database was looked at, and it is tried again")
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
    """For the log of a run: what ended, and how as far as that is known."""
    return (run.error or "").rstrip(".") if run.problem else "its worker ended"


def _given_up(run: Run) -> str:
    """Why a run that was lost is not tried once more."""
    if run.problem == "run-timed-out":
        return run.error or ""
    if run.problem:
        return f"{run.error} So it went {run.attempt} times."
    return (
        f"Its worker ended, {run.attempt} times: perhaps it was killed because memory ran out. "
        "The kernel's log and the worker's last words tell."
    )


def _unchecked(task: Task) -> bool:
    """True if the gate asks for a check, which the worker may not have come to."""
    return task.gate.check is not None and task.kind is not Kind.UNDO


@repeated
def _write(task: Task, values: dict[str, Any], seen: Look | None) -> None:
    log = (task.run.log or "") + "\n".join(task.lines) + "\n"
    with writing() as session:
        done = session.execute(
            update(Run)
            .where(Run.id == task.run.id, Run.state == State.LOST)
            .values(**values, log=log)
            .execution_options(synchronize_session=False)
        )
        if done.rowcount and seen:  # type: ignore[attr-defined]
            rollout = session.get_one(Rollout, task.rollout.id)
            positions.place(session, rollout, task.database.id, positions.found_at(seen))
            if values["state"] == State.SUCCEEDED and task.kind is Kind.CREATE:
                create.record(session, rollout, task.database.id)
