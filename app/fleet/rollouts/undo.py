"""Undo a rollout: create the runs that return databases to their earlier revisions."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, exists, func, insert, literal, select, true
from sqlalchemy.orm import Session, aliased

from app.fleet.core.transactions import CatalogSession
from app.fleet.counts import tallies
from app.fleet.rollouts.crud import any_run, latest_runs
from app.models import BEGUN, Database, Kind, Rollout, Run, Stage, State
from headway.errors import DatabaseMoved

BACK = (Kind.UPGRADE, Kind.DOWNGRADE, Kind.STAMP)
"""The operations that can be undone."""


def retreat(session: CatalogSession, rollout: Rollout) -> None:
    """Undo a failed canary automatically, once none of its runs is active."""
    active = (Run.rollout_id == rollout.id, Run.state.in_(BEGUN))
    if not _may_retreat(rollout) or any_run(session, *active):
        return
    if take_back(session, rollout):
        rollout.stage, rollout.resumes_as = Stage.UNDOING, Stage.HALTED


def retreats(session: CatalogSession, rollout: Rollout) -> bool:
    """True if a failed canary is still to be undone automatically."""
    return _may_retreat(rollout) and session.execute(_moved(rollout).limit(1)).first() is not None


def take_back(session: CatalogSession, rollout: Rollout, *, again: bool = False) -> int:
    """Create undo runs for the databases that this rollout changed. Returns how many.

    Databases with an undo run are left out; with `again`, except where it was cancelled.
    """
    columns = [
        *(Run.rollout_id, Run.database_id, Run.kind, Run.wave, Run.seq, Run.server),
        *(Run.state, Run.attempt, Run.undoes),
    ]
    made = insert(Run).from_select(columns, _moved(rollout, again=again))
    # Without this, a driver may return -1 in any case.
    done = session.execute(made.execution_options(preserve_rowcount=True))
    if back := int(done.rowcount):  # type: ignore[attr-defined]
        tallies.settle(session, rollout.id)
    return back


def returns(session: CatalogSession, rollout: Rollout) -> Counter[tuple[str | None, str, str]]:
    """How many databases an undo would return: by dialect, their revisions now and afterwards.

    The revisions are joined by `+`; "" for none.
    """
    asked = select(Run.undoes).where(*latest_runs(rollout, Kind.UNDO))
    failed, waiting = (asked.where(Run.state == one) for one in (State.FAILED, State.PENDING))
    ids = _moved(rollout, again=True).with_only_columns(Run.id)
    some = Run.id.in_(ids) | Run.id.in_(failed) | Run.id.in_(waiting)
    earlier = aliased(Run)
    has_earlier = exists().where(
        earlier.rollout_id == Run.rollout_id,
        earlier.database_id == Run.database_id,
        earlier.kind == Run.kind,
        earlier.id < Run.id,
        earlier.after != earlier.before,
    )
    # Only one with an earlier attempt, or whose undo failed, has to be asked for its origin.
    is_plain = ~has_earlier & Run.id.not_in(failed)
    plain = select(Database.dialect, Run.after, Run.before, func.count()).where(some, is_plain)
    found: Counter[tuple[str | None, str, str]] = Counter()
    for dialect, after, before, count in session.execute(
        plain.join(Database, Database.id == Run.database_id)
        .group_by(Database.dialect, Run.after, Run.before)
        .order_by(None)
    ):
        found[dialect, after or "", before or ""] += count
    others = select(Run, Database.dialect).join(Database, Database.id == Run.database_id)
    rows = session.execute(others.where(some, ~is_plain)).all()
    moved = [run for run, _ in rows]
    left, first = left_at(session(), moved), origins(session(), moved)
    for run, dialect in rows:
        found[dialect, left[run.id], first[run.id].before or ""] += 1
    return found


def origins(session: Session, runs: Sequence[Run]) -> dict[int, Run]:
    """Run id -> the first attempt of its rollout on its database, which found the old revision.

    A failed attempt may have applied some revisions, and the next one continued from there.
    """
    query = select(Run).where(
        Run.rollout_id.in_({run.rollout_id for run in runs}),
        Run.database_id.in_({run.database_id for run in runs}),
        Run.after != Run.before,
    )
    attempts: dict[tuple[int, int, str], list[Run]] = {}
    for one in session.scalars(query.order_by(Run.id.desc())):
        attempts.setdefault((one.rollout_id, one.database_id, one.kind), []).append(one)
    found = {}
    for run in runs:
        first = run
        for earlier in attempts.get((run.rollout_id, run.database_id, run.kind), ()):
            if earlier.id >= run.id:
                continue
            if earlier.after != first.before:
                break  # it was undone in between
            first = earlier
        found[run.id] = first
    return found


def left_at(session: Session, runs: Sequence[Run]) -> dict[int, str]:
    """Run id -> the revisions of its database after it, or after an undo that failed half-way."""
    undo = select(Run.undoes, Run.after).where(
        Run.undoes.in_([run.id for run in runs]),
        Run.database_id.in_({run.database_id for run in runs}),
        Run.after != Run.before,
        Run.problem != DatabaseMoved.slug(),  # which changed nothing
    )
    found = {run.id: run.after or "" for run in runs}
    found.update((row.undoes, row.after) for row in session.execute(undo.order_by(Run.id)))
    return found


def _may_retreat(rollout: Rollout) -> bool:
    is_canary = rollout.wave == 0 and rollout.kind in BACK
    return rollout.retreat and is_canary and not rollout.resumes_as


def _moved(rollout: Rollout, *, again: bool = False) -> "Select[*tuple[Any, ...]]":
    """Rows for undo runs: one for each database that the rollout changed and that is not undone.

    Of several attempts on a database the last one that changed it counts: it has the present
    revision, and its `origin` the old one.
    """
    undo, later = aliased(Run), aliased(Run)
    moved_later = exists().where(
        later.rollout_id == Run.rollout_id,
        later.database_id == Run.database_id,
        later.kind == Run.kind,
        later.id > Run.id,
        later.after != later.before,
    )
    at_work = exists().where(
        later.rollout_id == Run.rollout_id,
        later.database_id == Run.database_id,
        later.kind == Run.kind,
        later.state.in_(BEGUN),
    )
    counts = (undo.undoes == Run.id) & (undo.state != State.CANCELLED if again else true())
    return (
        select(
            Run.rollout_id,
            Run.database_id,
            literal(Kind.UNDO.value),
            Run.wave,
            -Run.seq,  # last in, first out
            Run.server,
            literal(State.PENDING.value),
            literal(1),
            Run.id,
        )
        .outerjoin(undo, counts)
        .where(
            Run.rollout_id == rollout.id,
            Run.kind == rollout.kind,
            Run.state.in_((State.SUCCEEDED, State.FAILED, State.CANCELLED)),
            Run.after != Run.before,
            ~moved_later,
            ~at_work,
            undo.id.is_(None),
        )
    )
