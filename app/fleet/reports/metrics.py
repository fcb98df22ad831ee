"""Metrics of the fleet for a monitoring system. Each is a short query on the catalog."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from app.extensions import db
from app.fleet.core.leases import clock
from app.fleet.core.selectors import POSITIONS
from app.fleet.counts.positions import DatabaseCount, counts
from app.fleet.reports import run_counts
from app.fleet.reports.run_counts import Tally
from app.fleet.webhooks.deliveries import DeliveryState
from app.fleet.workers import LOST_SECONDS
from app.models import Delivery, Project, Revision, Rollout, Stage, State, Worker
from headway.types import Position


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Metrics of the fleet. `/metrics` is public, so they contain only the names of projects."""

    runs: Tally
    databases: Counter[tuple[str, str]]
    """(project, position) -> how many."""
    oldest_behind: dict[str, float]
    """Project -> the age in seconds of the oldest revision that a database lacks; 0 if none."""
    workers: int
    rollouts: Counter[str]
    deliveries: int
    """Pending messages to webhooks, including retries."""


def measure() -> Measures:
    """Measure, with a few queries whose cost does not grow with the fleet."""
    now = clock(db.session.connection())
    names = {one.id: one.name for one in db.session.execute(select(Project.id, Project.name))}
    here = [count for count in counts() if count.project_id in names]
    alive = (Worker.stopped_at.is_(None), Worker.beat_at >= now - timedelta(seconds=LOST_SECONDS))
    pending = select(func.count()).where(Delivery.state == DeliveryState.PENDING)
    return Measures(
        runs=_with_zeros(run_counts.runs()),
        databases=_by_position(here, names),
        oldest_behind=_waiting(here, names, now),
        workers=db.session.scalar(select(func.count()).select_from(Worker).where(*alive)) or 0,
        rollouts=_staged(),
        deliveries=db.session.scalar(pending) or 0,
    )


def _staged() -> Counter[str]:
    found = Counter(dict.fromkeys(map(str, Stage), 0))
    query = select(Rollout.stage, func.count()).group_by(Rollout.stage)
    for stage, number in db.session.execute(query):
        found[stage] += number
    return found


def _with_zeros(tally: Tally) -> Tally:
    # A time series must not disappear when its value is 0.
    return Tally(
        states=Counter(dict.fromkeys(map(str, State), 0) | tally.states),
        seconds=tally.seconds,
        timed=tally.timed,
    )


def _by_position(here: Iterable[DatabaseCount], names: dict[int, str]) -> Counter[tuple[str, str]]:
    found = Counter({(name, position): 0 for name in names.values() for position in POSITIONS})
    for count in here:
        found[names[count.project_id], count.position] += count.databases
    return found


def _waiting(
    here: Iterable[DatabaseCount], names: dict[int, str], now: datetime
) -> dict[str, float]:
    """Project -> the age in seconds of the oldest revision that a database lacks."""
    since: dict[int, datetime] = {}
    behind = [count for count in here if count.position == Position.BEHIND]
    for project_id in {count.project_id for count in behind}:
        first_seen = _first_seen(project_id)
        for count in behind:
            if count.project_id == project_id and (next_ := _next(first_seen, count.current)):
                since[project_id] = min(since.get(project_id, next_), next_)
    return {
        name: max(0.0, (now - since[id_]).total_seconds()) if id_ in since else 0.0
        for id_, name in names.items()
    }


def _first_seen(project_id: int) -> dict[str, datetime]:
    """Revision -> when it was first read; the project's present revisions, oldest first."""
    query = select(Revision.revision, func.min(Revision.first_seen_at)).where(
        Revision.project_id == project_id, Revision.present.is_(True)
    )
    ordered = query.group_by(Revision.revision).order_by(func.min(Revision.place))
    return {revision: at for revision, at in db.session.execute(ordered)}  # noqa: C416


def _next(first_seen: dict[str, datetime], current: str) -> datetime | None:
    """When the first revision after these was read; None if there is none or they are unknown."""
    order = list(first_seen)
    places = [order.index(one) for one in current.split("+") if one in first_seen]
    following = order[max(places) + 1 :] if places else order if not current else []
    return first_seen[following[0]] if following else None
