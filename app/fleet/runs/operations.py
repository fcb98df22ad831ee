"""The operations of runs: one function for each kind, which returns the result of the run."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.errors import CheckFailed
from app.fleet import drift
from app.fleet.counts.positions import joined, split
from app.fleet.isolation.remote import RemoteDatabase, RemoteProject
from app.fleet.rollouts.rules.gates import Check
from app.fleet.runs.create import create
from app.fleet.runs.tasks import TRANSIENT, Ended, Task
from app.models import Kind, State
from headway.dialects.sqlite import snapshots
from headway.errors import (
    DatabaseAhead,
    DatabaseMissing,
    DatabaseMoved,
    HeadwayError,
    MigrationFailed,
    SnapshotFailed,
    SnapshotNotFound,
)
from headway.plan.plans import Direction
from headway.types import Outcome, Position, Status


def operate(task: Task) -> Ended:
    """Execute the operation of a run. Raises the HeadwayError of a refusal or failure."""
    path = task.member().address.path
    if path is not None and not path.exists() and task.kind is not Kind.CREATE:
        raise DatabaseMissing(
            f"There is no file {path} where this worker runs. Nothing was created in its place."
        )
    return OPERATIONS[task.kind](task)


def _upgrade(task: Task) -> Ended:
    return _move(task, Direction.UPGRADE)


def _downgrade(task: Task) -> Ended:
    return _move(task, Direction.DOWNGRADE)


def _stamp(task: Task) -> Ended:
    member = task.member()
    seen = member.status()
    before = seen.current
    target = _target(task, task.scripts, seen)
    if target is None:
        return _ended(Outcome(before=before, after=before, status=seen))
    return _checked(task, member, _ended(replace(member.stamp(target), before=before)))


def _move(task: Task, direction: Direction) -> Ended:
    scripts = task.scripts
    try:
        return _move_with(task, scripts, direction)
    except DatabaseAhead:
        if direction is Direction.UPGRADE:
            raise
        return _move_with(task, task.scripts_for(task.member().status()), direction)


def _move_with(task: Task, scripts: RemoteProject, direction: Direction) -> Ended:
    """Up or down with these scripts. Raises DatabaseAhead where a way down needs others."""

    def found(seen: Status) -> str | None:
        if direction is Direction.DOWNGRADE and seen.newer:
            raise DatabaseAhead(
                f"{task.database.name} has revisions of a newer release. Use that release, or its "
                "downgrade."
            )
        return _target(task, scripts, seen)

    member = task.member(scripts)
    outcome = member.move(direction, on_found=found, on_step=task.on_step, waiting=task.waiting)
    return _checked(task, member, _ended(outcome))


def _target(task: Task, scripts: RemoteProject, seen: Status) -> str | None:
    """Where a database that was found there is to go; None if it is there.

    Called under the lock. Raises DatabaseMoved.
    """
    task.refuse_lost()
    if task.undone is not None:
        current = joined(seen.current)
        if current == task.undone.before:
            task.say("it is there already")
            return None
        if current != task.undone.after:
            raise DatabaseMoved(
                f"The rollout left {task.database.name} at {task.undone.after or 'base'}, and it "
                f"is at {current or 'base'} now: somebody moved it since. Nothing was changed."
            )
    refuse_moved(task, scripts, seen)
    return task.target(scripts, task.aim(seen.current))


def refuse_moved(task: Task, scripts: RemoteProject, seen: Status) -> None:
    """Raise DatabaseMoved where a database lost what it had when this was planned.

    One that others brought further on the same way meanwhile has only fewer steps to go. An undo
    has a plan of its own.
    """
    known = split(task.planned_from or "")
    is_known = seen.position not in (Position.UNREACHABLE, Position.TORN)
    if not known or set(known) == set(seen.current) or task.undone is not None or not is_known:
        return  # where it is torn or away, the run itself says so
    if task.rollout.kind == Kind.DOWNGRADE and seen.current:
        is_on_the_way = scripts.ancestors(known).issuperset(seen.current)
    else:
        is_on_the_way = scripts.ancestors(seen.current).issuperset(known)
    if not is_on_the_way:
        where = f"at {', '.join(seen.current)}" if seen.current else "empty"
        raise DatabaseMoved(
            f"{task.database.name} was at {', '.join(known)} when this was planned, and is {where} "
            "now. Nothing was changed. If it lost its contents, bring them back from a copy; if "
            "it is meant to be there, refresh it and plan again."
        )


def _undo(task: Task) -> Ended:
    """Back to where a run found the database: the way down, or else its snapshot."""
    undone = task.undone
    assert undone is not None  # noqa: S101  # an undo has one
    try:
        return _go_back(task, undone.kind)
    except HeadwayError as error:
        is_refused = isinstance(error, DatabaseMoved) or error.kind in TRANSIENT
        if is_refused or not undone.snapshot or not Path(undone.snapshot).is_file():
            raise
        task.say(f"{error} Its snapshot is restored instead.")
    return _restore_from(task, Path(undone.snapshot))


def _go_back(task: Task, undone: Kind) -> Ended:
    if undone is Kind.STAMP:
        return _stamp(task)
    return _move(task, Direction.DOWNGRADE if undone is Kind.UPGRADE else Direction.UPGRADE)


def _check(task: Task) -> Ended:
    began = time.monotonic()
    member = task.member()
    seen = member.status()
    found = drift.compare_and_store(task.database, member)
    task.say(f"{found} differences" if found else "no drift")
    current = joined(seen.current)
    return Ended(
        state=State.SUCCEEDED,
        before=current,
        after=current,
        seconds=time.monotonic() - began,
        look=seen,
        differences=found,
    )


def _snapshot(task: Task) -> Ended:
    began = time.monotonic()
    member = task.member()
    current = joined(member.status().current)
    copy = member.snapshot()
    if copy is None:
        raise SnapshotFailed(
            f"{task.database.name} has no snapshots: they are copies of SQLite files. Use the "
            "server's own tools."
        )
    return Ended(
        state=State.SUCCEEDED,
        before=current,
        after=current,
        snapshot=str(copy),
        seconds=time.monotonic() - began,
    )


def _restore(task: Task) -> Ended:
    """The snapshot that is named, or the newest beside the file."""
    path = task.member().address.path
    taken = snapshots.taken(path) if path else []
    named = [copy for copy in taken if copy.name == Path(task.rollout.target).name]
    if task.rollout.target and not named:
        there = ", ".join(copy.name for copy in taken) or "none"
        raise SnapshotNotFound(
            f"{task.database.name} has no snapshot {task.rollout.target}. It has: {there}."
        )
    if not taken:
        raise SnapshotNotFound(f"{task.database.name} has no snapshot.")
    return _restore_from(task, (named or taken)[-1])


def _restore_from(task: Task, copy: Path) -> Ended:
    began = time.monotonic()
    member = task.member()
    before = joined(member.status().current)
    member.restore(copy)
    seen = member.status()
    task.say(f"restored {copy.name}; what it held is beside it as .replaced")
    return Ended(
        state=State.SUCCEEDED,
        before=before,
        after=joined(seen.current),
        snapshot=str(copy),
        seconds=time.monotonic() - began,
        look=seen,
    )


def _rehearse(task: Task) -> Ended:
    """The rollout's move on a copy, or in a transaction that is rolled back."""
    member = task.member()
    seen = member.status()
    scripts = task.scripts_for(seen)
    member = task.member(scripts)
    refuse_moved(task, scripts, seen)
    moves = Kind(task.rollout.kind)
    target = task.target(scripts, task.aim(seen.current))
    revisions, told = member.rehearse(target, _direction(moves))
    for line in told.lines():
        task.say(line)
    current = joined(seen.current)
    return Ended(
        state=State.FAILED if told.failed else State.SUCCEEDED,
        before=current,
        after=current,
        applied=revisions,
        seconds=told.seconds,
        error=told.failed,
        problem=MigrationFailed.slug() if told.failed else None,
        statements=told.statements,
        look=seen,
    )


def _direction(kind: Kind) -> str:
    return {Kind.DOWNGRADE: Direction.DOWNGRADE, Kind.STAMP: Direction.STAMP}.get(
        kind, Direction.UPGRADE
    )


def _compared_again(task: Task, member: RemoteDatabase, ended: Ended) -> Ended:
    """Compare a database that had drift and was moved: what was found before may be gone."""
    if not task.database.drift or ended.after == ended.before:
        return ended
    try:
        return replace(ended, differences=drift.compare_and_store(task.database, member))
    except HeadwayError as error:
        task.say(f"not compared again: {error}")
        return ended


def _checked(task: Task, member: RemoteDatabase, ended: Ended) -> Ended:
    """The gate's check on what was just migrated. What fails it stays migrated, and failed."""
    gate = task.gate
    if task.kind is Kind.UNDO or gate.check is None:
        return _compared_again(task, member, ended)
    try:
        if gate.check == Check.DRIFT:
            found = drift.compare_and_store(task.database, member)
            ended = replace(ended, differences=found)
            if found:
                many = "a difference" if found == 1 else f"{found} differences"
                raise CheckFailed(
                    f"Its schema has {many} from its revisions: see `flask drifts list`."
                )
        else:
            _ask(member, gate.sql or "")
    except HeadwayError as error:
        return replace(ended, state=State.FAILED, error=str(error), problem=error.slug())
    return ended


def _ask(member: RemoteDatabase, query: str) -> None:
    if not member.query(query):
        raise CheckFailed("The query of the check did not return true.")


def _ended(outcome: Outcome) -> Ended:
    return Ended(
        state=State.SUCCEEDED,
        before=joined(outcome.before),
        after=joined(outcome.after),
        applied=outcome.applied,
        replayed=outcome.replayed,
        seconds=outcome.seconds,
        snapshot=outcome.snapshot,
        statements=outcome.statements,
        look=outcome.status,
    )


OPERATIONS: dict[Kind, Callable[[Task], Ended]] = {
    Kind.UPGRADE: _upgrade,
    Kind.DOWNGRADE: _downgrade,
    Kind.STAMP: _stamp,
    Kind.CHECK: _check,
    Kind.SNAPSHOT: _snapshot,
    Kind.RESTORE: _restore,
    Kind.REHEARSE: _rehearse,
    Kind.UNDO: _undo,
    Kind.CREATE: create,
}
