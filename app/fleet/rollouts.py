"""Rollouts: asked for, started, paused, resumed, tried again, taken back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from app.errors import ApprovalRefused, RolloutNotFound, RolloutRefused
from app.extensions import db
from app.fleet import advance, attempts, audit, idempotency, single, starting, undoing, webhooks
from app.fleet.accounts import LARGEST_ID
from app.fleet.actors import Actor
from app.fleet.drafting import drafted
from app.fleet.pages import page_of
from app.fleet.transactions import CatalogSession, repeated, writing
from app.models import BEGUN, Approval, Kind, Rollout, Run, Stage

UNDER_WAY = (Stage.RUNNING, Stage.SOAKING, Stage.WAITING)


@repeated
def create_rollout(
    actor: Actor, values: Mapping[str, Any], *, key: str | None = None
) -> tuple[Rollout, bool]:
    """A new rollout, not started, and whether it was there already for the same key.

    `values`: `project_id`, `kind`, `target`, `selector`, `waves`, `gate`, `window`,
    `concurrency`, `per_server`, `timeout_seconds`, `snapshot`, `retreat`, `title`; all but the
    first have a default. Raises InputInvalid, ProjectNotFound, ProjectNotReady.
    """
    actor.require("rollouts.change")
    asked = dict(values)
    request = idempotency.Request(actor=actor, key=key, about=("rollouts", asked))
    if (made := request.made()) is not None:
        return get_rollout(actor, made), True
    rollout = drafted(actor, asked)
    try:
        with writing() as session:
            session.add(rollout)
            session.flush()
            request.remember(session, rollout.id)
            _record(session, actor, "created", rollout)
    except idempotency.RACES as error:
        if (made := request.made()) is None:
            raise error.with_traceback(None) from error
        return get_rollout(actor, made), True
    return rollout, False


def get_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """The rollout, or RolloutNotFound."""
    actor.require("rollouts.read")
    return _find(db.session, rollout_id)


def list_rollouts(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    project_id: int | None = None,
    stages: Sequence[str] = (),
    begun: bool = False,
) -> tuple[list[Rollout], int | None]:
    """A page of rollouts, newest first, and the `after` of the next; `begun`: none unstarted."""
    actor.require("rollouts.read")
    query = select(Rollout).order_by(Rollout.id.desc())
    if after is not None:
        query = query.where(Rollout.id < after)
    if project_id is not None:
        query = query.where(Rollout.project_id == project_id)
    if stages:
        query = query.where(Rollout.stage.in_(stages))
    if begun:
        query = query.where(Rollout.started_at.is_not(None))
    return page_of(query, limit)


def start_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """Choose its databases, cut them into waves, and open the first one."""

    def start(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "start", Stage.PENDING)
        starting.start(session, rollout)
        webhooks.announce(session, "rollout.started", advance.told(rollout))

    return _change(actor, rollout_id, "started", start)


def pause_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """Begin no further database; what runs goes on to its end."""

    def pause(_: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "pause", *UNDER_WAY, Stage.UNDOING)
        rollout.resumes_as = rollout.resumes_as or rollout.stage
        rollout.stage, rollout.reason = Stage.PAUSED, f"Paused by {actor.name}."

    return _change(actor, rollout_id, "paused", pause)


def resume_rollout(actor: Actor, rollout_id: int, *, skip_failed: bool = False) -> Rollout:
    """Go on where it was paused or halted. Those that failed are tried again, or left out."""

    def resume(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "resume", Stage.PAUSED, Stage.HALTED)
        paused, to = rollout.stage == Stage.PAUSED, rollout.resumes_as
        rollout.resumes_as = Stage.HALTED if paused and to == Stage.HALTED else None
        rollout.stage = _resumed(paused, to)
        rollout.reason, rollout.wave_done_at = None, None if not paused else rollout.wave_done_at
        if rollout.stage == Stage.UNDOING:
            attempts.again_back(session, rollout)
        elif skip_failed:
            attempts.leave_out(session, rollout)
        elif attempts.again_forward(session, rollout):
            # Where a wave soaked or waited, it has something to do again.
            rollout.stage, rollout.wave_done_at = Stage.RUNNING, None

    return _change(actor, rollout_id, "resumed", resume)


def retry_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """Try those again that failed, also after its end."""

    def retry(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "retry", Stage.HALTED, Stage.SUCCEEDED)
        if rollout.resumes_as == Stage.UNDOING:
            rollout.resumes_as = None
            rollout.stage, rollout.reason = Stage.UNDOING, None
            attempts.again_back(session, rollout)
            return
        if not attempts.again_forward(session, rollout):
            raise RolloutRefused(f"Nothing failed in rollout {rollout.id}.")
        rollout.stage, rollout.reason = Stage.RUNNING, None
        rollout.wave_done_at = rollout.finished_at = None

    return _change(actor, rollout_id, "retried", retry)


def cancel_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """Begin nothing more, and end it. What is done stays done; `undo` takes it back."""

    def cancel(session: CatalogSession, rollout: Rollout) -> None:
        if Stage(rollout.stage).is_final:
            raise RolloutRefused(f"Rollout {rollout.id} has ended: it is {rollout.stage}.")
        attempts.cancel_pending(session, rollout)
        advance.finish(session, rollout, Stage.CANCELLED, f"Cancelled by {actor.name}.")

    return _change(actor, rollout_id, "cancelled", cancel)


def undo_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """Take every database back to the revision, or the snapshot, that it came from."""

    def undo(session: CatalogSession, rollout: Rollout) -> None:
        if rollout.stage in (Stage.PENDING, Stage.UNDOING, Stage.UNDONE):
            raise RolloutRefused(f"There is nothing to take back: it is {rollout.stage}.")
        if rollout.kind not in undoing.BACK:
            raise RolloutRefused(f"A {rollout.kind} changes no revision: nothing to take back.")
        attempts.cancel_pending(session, rollout)
        back = undoing.take_back(session, rollout, again=True)
        back += attempts.again_back(session, rollout)
        if not back and not attempts.count(session, rollout, Run.state.in_(BEGUN)):
            raise RolloutRefused("No database was moved by it, or all were taken back.")
        starting.hold(session, rollout)
        rollout.stage, rollout.reason, rollout.resumes_as = Stage.UNDOING, None, None
        rollout.finished_at = None

    return _change(actor, rollout_id, "undone", undo)


def approve_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """Let the next wave begin. Not for the account that made the rollout."""

    def approve(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "approve", Stage.WAITING)
        if actor.id is None:
            raise ApprovalRefused(
                "An approval is an account's: send it with a token. The command line is nobody's."
            )
        if actor.id == rollout.by_id:
            raise ApprovalRefused(
                f"{rollout.by_name} made this rollout, so another account has to approve it."
            )
        given = select(Approval.id).where(
            Approval.rollout_id == rollout.id, Approval.wave == rollout.wave
        )
        if session.scalar(given) is not None:
            return  # sent twice, or two were of one mind
        session.add(
            Approval(
                rollout_id=rollout.id,
                wave=rollout.wave,
                account_id=actor.id,
                account_name=actor.name[:128],
            )
        )

    return _change(actor, rollout_id, "approved", approve)


def rehearse_rollout(actor: Actor, rollout_id: int, *, sample: int | None = None) -> Rollout:
    """Try it on copies before it starts: on so many of each plan, or on every database."""

    def rehearse(session: CatalogSession, rollout: Rollout) -> None:
        _expect(rollout, "rehearse", Stage.PENDING)
        if rollout.kind not in (Kind.UPGRADE, Kind.DOWNGRADE):
            raise RolloutRefused(f"A {rollout.kind} cannot be rehearsed.")
        if not starting.rehearse(session, rollout, sample):
            raise RolloutRefused("It has no database to be rehearsed on.")

    return _change(actor, rollout_id, "rehearsed", rehearse)


@repeated
def run_one(
    actor: Actor,
    database_id: int,
    kind: str,
    target: str = "",
    *,
    key: str | None = None,
    **more: Any,
) -> Rollout:
    """A rollout of one database, started. Raises RolloutRefused if it cannot take part in one.

    With the `key` of a request that was sent before: the rollout that was started then.
    """
    from app.fleet.databases import get_database

    actor.require("rollouts.change")
    about = ("runs", [database_id, kind, target, more])
    request = idempotency.Request(actor=actor, key=key, about=about)
    if (made := request.made()) is not None:
        return get_rollout(actor, made)
    database = get_database(actor, database_id)
    rollout = single.drafted_for(actor, database, kind, target, **more)
    try:
        with writing() as session:
            session.add(rollout)
            session.flush()
            request.remember(session, rollout.id)
            starting.start(session, rollout)
            _record(session, actor, "started", rollout)
    except idempotency.RACES as error:
        if (made := request.made()) is None:
            raise error.with_traceback(None) from error
        return get_rollout(actor, made)
    return rollout


def _change(
    actor: Actor, rollout_id: int, word: str, change: Callable[[CatalogSession, Rollout], None]
) -> Rollout:
    @repeated
    def once() -> Rollout:
        actor.require("rollouts.change")
        with writing() as session:
            rollout = _find(session, rollout_id, lock=True)
            change(session, rollout)
            _record(session, actor, word, rollout)
        return rollout

    return once()


def _find(session: CatalogSession, rollout_id: int, *, lock: bool = False) -> Rollout:
    query = select(Rollout).where(Rollout.id == rollout_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    rollout = session.scalar(query) if 0 < rollout_id <= LARGEST_ID else None
    if rollout is None:
        raise RolloutNotFound(f"There is no rollout {rollout_id}.", rollout=rollout_id)
    return rollout


def _expect(rollout: Rollout, verb: str, *stages: Stage) -> None:
    if rollout.stage not in stages:
        raise RolloutRefused(
            f"Rollout {rollout.id} is {rollout.stage}; `{verb}` is for one that is "
            f"{' or '.join(stages)}.",
            stage=rollout.stage,
        )


def _resumed(paused: bool, to: str | None) -> Stage:
    if paused:
        return Stage.UNDOING if to == Stage.HALTED else Stage(to or Stage.RUNNING)
    return Stage.UNDOING if to == Stage.UNDOING else Stage.RUNNING


def _record(session: CatalogSession, actor: Actor, word: str, rollout: Rollout) -> None:
    audit.record(
        session,
        actor,
        f"rollout.{word}",
        ("rollout", rollout.id),
        title=rollout.title,
        kind=rollout.kind,
        target=rollout.target,
        stage=rollout.stage,
        databases=sum(rollout.sizes),
    )
