"""Start a rollout: choose its databases, spread them over the servers, divide them into waves."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import exists, insert, or_, select, update

from app.errors import RolloutRefused
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import CatalogSession
from app.fleet.counts import tallies
from app.fleet.counts.positions import split
from app.fleet.projects import revisions
from app.fleet.rollouts import approvals, crud
from app.fleet.rollouts.rules import waves
from app.models import (
    UNENDED,
    Database,
    Kind,
    Label,
    Rollout,
    Run,
    Stage,
    State,
    Strategy,
)
from headway.errors import HeadwayError
from headway.types import Position

CANARY = "canary"
"""Databases with this label come first in a rollout."""
REHEARSAL = -1
"""The wave number of rehearsal runs."""
BATCH = 1000

ALREADY = "already"
"""What the reason begins with if a database needs no step."""
REASONS = {
    Position.TORN: "torn: repair them first",
    Position.FOREIGN: "another project's",
    Position.UNSTAMPED: "tables but no version: adopt or stamp them first",
    Position.DIVERGED: "diverged: merge them first",
    Position.AHEAD: "ahead of these scripts",
}
"""Positions that exclude a database, and the reason that is shown."""
MAY = {
    Kind.UPGRADE: (),
    Kind.DOWNGRADE: (Position.AHEAD, Position.DIVERGED),
    Kind.STAMP: (Position.UNSTAMPED,),
    Kind.CHECK: tuple(REASONS),
    Kind.SNAPSHOT: tuple(REASONS),
    Kind.RESTORE: tuple(REASONS),
    Kind.CREATE: (),
}
"""Positions that normally exclude a database, and that this operation accepts."""


class Member(NamedTuple):
    """A database that may take part in a rollout."""

    id: int
    server: str | None
    dialect: str | None
    position: str
    current: str
    seen_at: datetime | None
    is_canary: bool

    @property
    def planned_from(self) -> str | None:
        """Its known revisions; None if it was never probed."""
        return self.current if self.seen_at else None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The databases of a rollout in their order, and those that are left out."""

    members: Sequence[Member]
    skipped: dict[str, list[int]]
    """Reason -> ids."""


def choose(session: CatalogSession, rollout: Rollout) -> Chosen:
    """The databases that would take part in a rollout now, and those left out with a reason."""
    now, kind = datetime.now(UTC), Kind(rollout.kind)
    canary = exists().where(Label.database_id == Database.id, Label.name == CANARY)
    rows = session.execute(
        select(
            *(Database.id, Database.server, Database.dialect, Database.position, Database.current),
            *(Database.seen_at, canary.label("canary")),
            *(Database.rollout_id, Database.pin_until > now, Database.pin_reason),
            Database.strategy,
        )
        .where(*Selector.of(rollout.selector).conditions())
        .order_by(Database.id)
    )
    members, skipped = [], defaultdict(list)
    why_not = _excuses(rollout, kind)
    for row in rows:
        member = Member(*row[:7])
        if why := why_not(member, *row[7:]):
            skipped[why].append(member.id)
        else:
            members.append(member)
    return Chosen(members=_ordered(members), skipped=dict(skipped))


def start(session: CatalogSession, rollout: Rollout) -> None:
    """Create the runs and open the first wave, or wait for the approval that the project requires.

    Raises RolloutRefused if no database takes part.
    """
    chosen = choose(session, rollout)
    if not chosen.members:
        raise no_database_error({why: len(ids) for why, ids in chosen.skipped.items()})
    session.execute(  # cancel what is left of a rehearsal
        update(Run)
        .where(Run.rollout_id == rollout.id, Run.state == State.PENDING)
        .values(state=State.CANCELLED)
    )
    rollout.sizes = waves.sizes(rollout.waves, len(chosen.members))
    if rollout.gate.get("approval") and len(rollout.sizes) == 1:
        raise RolloutRefused(
            "The rollout has only one wave, so there is no next one to approve. Choose more waves, "
            "or do not require approval."
        )
    numbers = [number for number, size in enumerate(rollout.sizes) for _ in range(size)]
    rows = [
        _row(rollout, member, Kind(rollout.kind), wave, seq)
        for seq, (member, wave) in enumerate(zip(chosen.members, numbers, strict=True))
    ]
    _insert(session, rows)
    tallies.settle(session, rollout.id)
    hold(session, rollout)
    rollout.wave, rollout.started_at = 0, datetime.now(UTC)
    approvals.begin(session, rollout, Stage.RUNNING)


def no_database_error(skipped: Mapping[str, int]) -> RolloutRefused:
    """The refusal of a rollout without databases; `skipped`: why how many are left out."""
    why = "; ".join(f"{number} {why}" for why, number in skipped.items())
    return RolloutRefused(f"No database takes part: {why or 'no database matches the selection'}.")


def rehearse(session: CatalogSession, rollout: Rollout, sample: int | None) -> int:
    """Create rehearsal runs for `sample` databases of each plan, or for all. Returns how many."""
    taken: dict[tuple[str | None, str], int] = defaultdict(int)
    rows = []
    for seq, member in enumerate(choose(session, rollout).members):
        taken[member.dialect, member.current] += 1
        if sample is None or taken[member.dialect, member.current] <= sample:
            rows.append(_row(rollout, member, Kind.REHEARSE, REHEARSAL, seq))
    session.execute(
        update(Run)
        .where(*crud.latest_runs(rollout, Kind.REHEARSE))
        .values(replaced_by=0)  # an earlier rehearsal
    )
    _insert(session, rows)
    tallies.settle(session, rollout.id)
    return len(rows)


def hold(session: CatalogSession, rollout: Rollout) -> None:
    """Reserve the databases of a rollout, so that no other rollout takes one meanwhile.

    Raises RolloutRefused if another rollout has one of them. What changes no database, such as a
    check, needs none for itself: its runs take turns with the other's.
    """
    mine = select(Run.database_id).where(Run.rollout_id == rollout.id, Run.state.in_(UNENDED))
    free = or_(Database.rollout_id.is_(None), Database.rollout_id == rollout.id)
    session.execute(
        update(Database)
        .where(Database.id.in_(mine), free)
        .values(rollout_id=rollout.id)
        .execution_options(synchronize_session=False)
    )
    if not Kind(rollout.kind).moves:
        return
    others = select(Database.name, Database.rollout_id).where(Database.id.in_(mine), ~free)
    # A locking read: other reads of MariaDB are as old as the transaction.
    if other := session.execute(others.limit(1).with_for_update(read=True)).first():
        raise RolloutRefused(
            f"{other.name} is part of rollout {other.rollout_id}. Wait until the rollout has "
            "ended, or cancel it."
        )


def is_there(rollout: Rollout, current: str) -> bool:
    """True if a database at these revisions needs no step of this rollout."""
    try:
        kind = Kind(rollout.kind)
        return not revisions.path(rollout.project_id, split(current), rollout.target, kind)
    except HeadwayError:
        return False  # the preview shows the reason


def _excuses(rollout: Rollout, kind: Kind) -> Callable[..., str | None]:
    """A function that returns the reason why a database is left out, or None.

    It is called for each database, so what is the same for all is computed here.
    """
    free, by_hand = (None, rollout.id), rollout.by_hand
    stuck = {position: why for position, why in REASONS.items() if position not in MAY[kind]}
    stays = _stays(rollout)
    waits = kind.moves and not by_hand

    def why_not(
        member: Member, part_of: int | None, pinned: bool | None, pin_reason: str, strategy: str
    ) -> str | None:
        if part_of not in free and (kind.moves or member.seen_at is None):  # it is being made
            return f"part of rollout {part_of}"
        if member.position in stuck:
            return stuck[Position(member.position)]
        if why := stays(member):
            return why
        if pinned and not by_hand:
            return f"pinned: {pin_reason}"
        if waits and strategy == Strategy.ON_OPEN:
            return "not in waves: migrated when they are next opened"
        return None

    return why_not


def _stays(rollout: Rollout) -> Callable[[Member], str | None]:
    """A function that returns why a database needs no step, or None. Cached by revisions."""
    moves = rollout.kind in (Kind.UPGRADE, Kind.DOWNGRADE)

    @cache
    def why(current: str) -> str | None:
        if not is_there(rollout, current):
            return None
        target = "the heads" if rollout.target == "heads" else rollout.target
        is_at = rollout.target in ("heads", "base", *split(current))
        return f"{ALREADY} {'at' if is_at else 'past'} {target}"

    def stays(member: Member) -> str | None:
        is_seen = member.current or member.position == Position.EMPTY
        return why(member.current) if moves and is_seen else None

    return stays


def _ordered(members: list[Member]) -> list[Member]:
    """Canaries first; then the others, so that neighbours are on different servers."""
    groups: dict[object, list[Member]] = defaultdict(list)
    for member in members:
        if not member.is_canary:
            groups[member.server].append(member)
    return [one for one in members if one.is_canary] + waves.spread(groups.values())


def _row(rollout: Rollout, member: Member, kind: Kind, wave: int, seq: int) -> dict[str, Any]:
    return {
        "rollout_id": rollout.id,
        "database_id": member.id,
        "kind": kind,
        "wave": wave,
        "seq": seq,
        "server": member.server,
        "before": member.planned_from,
    }


def _insert(session: CatalogSession, rows: list[dict[str, Any]]) -> None:
    for start_at in range(0, len(rows), BATCH):
        session.execute(insert(Run), rows[start_at : start_at + BATCH])
