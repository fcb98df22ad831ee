"""Rollouts: create, read, list."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select

from app.errors import RolloutNotFound
from app.extensions import db
from app.fleet.core import audit, idempotency
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID
from app.fleet.rollouts.request import new_rollout
from app.models import Kind, Rollout, Run


@repeated
def create_rollout(
    actor: Actor, values: Mapping[str, Any], *, key: str | None = None
) -> tuple[Rollout, bool]:
    """Create a rollout, not started. Returns it, and True if an equal request made it before.

    `values`: `project_id`, `kind`, `target`, `selector`, `waves`, `gate`, `window`,
    `concurrency`, `per_server`, `timeout_seconds`, `snapshot`, `retreat`, `title`; all but the
    first have a default. Raises InputInvalid, ProjectNotFound, ProjectNotReady.
    """
    actor.require("rollouts.change")
    asked = dict(values)
    request = idempotency.Request(actor=actor, key=key, about=("rollouts", asked))

    def make() -> Rollout:
        rollout = new_rollout(actor, asked)
        actor.require("rollouts.change", rollout.project_id)
        with writing() as session:
            session.add(rollout)
            session.flush()
            request.remember(session, rollout.id)
            record(session, actor, "created", rollout)
        return rollout

    return request.once(make, lambda made: get_rollout(actor, made))


def get_rollout(actor: Actor, rollout_id: int) -> Rollout:
    """The rollout, or RolloutNotFound."""
    actor.require("rollouts.read")
    return find(db.session, rollout_id)


def list_rollouts(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    project_id: int | None = None,
    stages: Sequence[str] = (),
    begun: bool = False,
) -> tuple[list[Rollout], int | None]:
    """A page of rollouts, newest first, and the `after` of the next; `begun`: only started ones."""
    actor.require("rollouts.read")
    query = begin_after(select(Rollout), Rollout.id, after, newest=True)
    if project_id is not None:
        query = query.where(Rollout.project_id == project_id)
    if stages:
        query = query.where(Rollout.stage.in_(stages))
    if begun:
        query = query.where(Rollout.started_at.is_not(None))
    return page_of(query, limit)


def last_migrating(actor: Actor, project_id: int) -> Rollout | None:
    """The newest rollout of a project that was started to migrate more than one by name."""
    actor.require("rollouts.read")
    query = select(Rollout).where(
        Rollout.project_id == project_id,
        Rollout.kind.in_((Kind.UPGRADE, Kind.DOWNGRADE)),
        Rollout.by_hand.is_(False),
        Rollout.started_at.is_not(None),
    )
    return db.session.scalar(query.order_by(Rollout.id.desc()).limit(1))


def find(session: CatalogSession, rollout_id: int, *, lock: bool = False) -> Rollout:
    """The rollout, locked if asked for, or RolloutNotFound."""
    query = select(Rollout).where(Rollout.id == rollout_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    rollout = session.scalar(query) if 0 < rollout_id <= LARGEST_ID else None
    if rollout is None:
        raise RolloutNotFound(f"There is no rollout {rollout_id}.", rollout=rollout_id)
    return rollout


def latest_runs(rollout: Rollout, kind: str | None = None) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the last attempt on each database, of the rollout's kind or of `kind`."""
    return (
        Run.rollout_id == rollout.id,
        Run.kind == (kind or rollout.kind),
        Run.replaced_by.is_(None),
    )


def any_run(session: CatalogSession, *which: ColumnElement[bool]) -> bool:
    """True if some run meets these conditions; one is looked for, none is counted."""
    return session.scalar(select(Run.id).where(*which).limit(1)) is not None


def record(
    session: CatalogSession, actor: Actor, word: str, rollout: Rollout, **details: object
) -> None:
    """Record an action on a rollout in the audit trail: `started`, `paused` and so on.

    `details` is what else is to be known of it, and what it changed, before and after.
    """
    now = {
        "title": rollout.title,
        "kind": rollout.kind,
        "target": rollout.target,
        "stage": rollout.stage,
        "databases": sum(rollout.sizes),
    }
    audit.record(
        session,
        actor,
        f"rollout.{word}",
        ("rollout", rollout.id),
        **now | details,
    )
