"""The events of rollouts for webhooks. What they say is put together when they happen."""

from typing import Any

from app.fleet import webhooks
from app.fleet.addresses.paths import settings
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.fleet.rollouts.progress import Wave, counts_of, first_error, says
from app.models import Project, Role, Rollout

READER = Actor(id=None, name="webhooks", role=Role.VIEWER)
"""Webhooks are sent what every viewer may read, and no text of a database."""

COUNTED = ("succeeded", "failed", "running", "pending", "cancelled", "lost")
"""All states of a run, so that the numbers add up to the total."""


def announce(session: CatalogSession, event: str, rollout: Rollout) -> None:
    """Send an event of a rollout to the webhooks that listen; where none does, nothing is read."""
    webhooks.announce(session, event, lambda: _data_of(session, rollout))


def _data_of(session: CatalogSession, rollout: Rollout) -> dict[str, Any]:
    counts, first = counts_of(rollout), first_error(READER, rollout)
    place = settings().public_url
    undo = counts.undo
    return {
        "rollout": rollout.id,
        "link": f"{place}/rollouts/{rollout.id}" if place else None,
        "title": rollout.title,
        "project": rollout.project_id,
        "project_name": session.get_one(Project, rollout.project_id).name,
        "kind": rollout.kind,
        "target": rollout.target,
        "stage": rollout.stage,
        "wave": rollout.wave + 1,
        "waves": len(rollout.sizes),
        "databases": counts.total,
        "reason": rollout.reason,
        "says": says(rollout, counts.failed),
        "counts": _numbers(*counts.waves, total=counts.total),
        "undo": _numbers(undo, total=undo.size) if undo else None,
        "first_error": first
        and {
            "run": first.run_id,
            "database_id": first.database_id,
            "database": first.database,
            "before": first.before,
            "aim": first.aim,
            "error": first.error,
        },
    }


def _numbers(*waves: Wave, total: int) -> dict[str, int]:
    counts = {state: sum(getattr(wave, state) for wave in waves) for state in COUNTED}
    return {"done": counts.pop("succeeded"), **counts, "total": total}
