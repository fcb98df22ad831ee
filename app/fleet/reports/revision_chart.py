"""A project's history with its fleet on it: which databases stand at which revision.

From the register in memory and the counts that are kept with each move: it costs the same for a
hundred databases and for a hundred thousand.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sqlalchemy import func, select

from app.extensions import db
from app.fleet import projects
from app.fleet.core import positions as core_positions
from app.fleet.core.permissions import Actor
from app.fleet.core.positions import DatabaseCount
from app.fleet.projects import graphs
from app.models import Project, Revision, Rollout
from headway.plan.graph import Node


@dataclass(frozen=True, kw_only=True)
class Stand:
    """The databases of one version."""

    current: str
    """Its revisions joined by `+`; "" for none."""
    positions: Mapping[str, int]

    @property
    def databases(self) -> int:
        """How many."""
        return sum(self.positions.values())


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Revisions, what each stands on, and who stands there."""

    nodes: Mapping[str, Node]
    """What the scripts have, and what databases stand on beyond it."""
    heads: frozenset[str]
    """Of the scripts."""
    gone: frozenset[str]
    """Those that only other releases have."""
    stands: Mapping[str, tuple[Stand, ...]] = field(default_factory=dict)
    """By revision, the most first. A database with two heads stands at both."""
    nowhere: tuple[Stand, ...] = ()
    """The databases without a version, and those at one that no release had."""

    def positions_at(self, revisions: Iterable[str]) -> dict[str, int]:
        """How many stand at any of these, each once, by their positions."""
        stands = {stand.current: stand for name in revisions for stand in self.stands.get(name, ())}
        found = Counter[str]()
        for stand in stands.values():
            found.update(stand.positions)
        return dict(found.most_common())

    def databases_at(self, revisions: Iterable[str]) -> int:
        """How many stand at any of these, each once."""
        return sum(self.positions_at(revisions).values())

    def databases_with(self, revision: str) -> int:
        """How many have this revision: they stand there, or at one that stands on it."""
        found, todo = {revision}, [revision]
        while todo:
            above = self.children[todo.pop()] - found
            found |= above
            todo += above
        return self.databases_at(found)

    @cached_property
    def children(self) -> Mapping[str, set[str]]:
        """Which revisions stand on each, or depend on it."""
        found: dict[str, set[str]] = defaultdict(set)
        for node in self.nodes.values():
            for below in node.parents + node.depends_on:
                found[below].add(node.id)
        return found


@dataclass(frozen=True, kw_only=True)
class RevisionDetails:
    """What the register tells of a revision beyond its place."""

    row: Revision
    texts: int
    """How many its script had so far: more than one if it was edited."""
    by_name: str | None
    """Whose rollout first brought it to a database, if that is known."""
    began_at: datetime | None
    """When that rollout was made."""


def chart(actor: Actor, project_id: int) -> Chart:
    """The project's history as it was last read, and where its databases stand.

    Without revisions while nobody has read its scripts. Raises ProjectNotFound.
    """
    project = projects.get_project(actor, project_id)
    stands = _stands(core_positions.counts(project_id))
    known = graphs.last_known(project)
    if known is None:
        return Chart(
            nodes={}, heads=frozenset(), gone=frozenset(), nowhere=_most_first(stands.values())
        )
    current = [name for joined in stands for name in joined.split("+")]
    nodes = graphs.graph_of(known, project_id, current).nodes
    at = {name: stand for name, stand in _by_revision(stands.values()).items() if name in nodes}
    placed = {stand.current for several in at.values() for stand in several}
    return Chart(
        nodes=nodes,
        heads=frozenset(project.heads) & nodes.keys(),
        gone=frozenset(nodes.keys() - known.nodes.keys()),
        stands=at,
        nowhere=_most_first(stands[joined] for joined in stands.keys() - placed),
    )


def details_of(actor: Actor, project_id: int, names: Collection[str]) -> dict[str, RevisionDetails]:
    """What the register tells of these revisions of a project that was read."""
    project = projects.get_project(actor, project_id)
    known = graphs.last_known(project)
    if known is None:
        return {}
    rows = graphs.rows_of(known, [name for name in names if name in known.rows])
    texts = _texts(project, [row.revision for row in rows])
    ids = {row.rollout_id for row in rows if row.rollout_id}
    by = {
        one.id: one
        for one in db.session.execute(
            select(Rollout.id, Rollout.by_name, Rollout.created_at).where(Rollout.id.in_(ids))
        )
    }
    found = {}
    for row in rows:
        rollout = by.get(row.rollout_id)
        found[row.revision] = RevisionDetails(
            row=row,
            texts=texts[row.revision],
            by_name=rollout.by_name if rollout else None,
            began_at=rollout.created_at if rollout else None,
        )
    return found


def edited(actor: Actor, project_id: int) -> list[str]:
    """The revisions whose script was edited after it was first read."""
    project = projects.get_project(actor, project_id)
    query = (
        select(Revision.revision)
        .where(Revision.project_id == project.id)
        .group_by(Revision.revision)
        .having(func.count() > 1)
        .order_by(Revision.revision)
    )
    return list(db.session.scalars(query))


def missing(actor: Actor, project_id: int, *, limit: int) -> list[Revision]:
    """Revisions that the scripts do not have any more; those that came last first."""
    project = projects.get_project(actor, project_id)
    newer = select(Revision.revision).where(
        Revision.project_id == project.id, Revision.present.is_(True)
    )
    query = (
        select(Revision)
        .where(
            Revision.project_id == project.id,
            Revision.present.is_(False),
            Revision.revision.not_in(newer),
        )
        .order_by(Revision.last_seen_at.desc(), Revision.id.desc())
        .limit(limit)
    )
    return list(db.session.scalars(query))


def _texts(project: Project, names: Collection[str]) -> Counter[str]:
    query = (
        select(Revision.revision, func.count().label("texts"))
        .where(Revision.project_id == project.id, Revision.revision.in_(names))
        .group_by(Revision.revision)
    )
    return Counter({row.revision: row.texts for row in db.session.execute(query)})


def _stands(counts: Iterable[DatabaseCount]) -> dict[str, Stand]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for count in counts:
        found[count.current][count.position] = count.databases
    return {current: Stand(current=current, positions=of) for current, of in found.items()}


def _by_revision(stands: Iterable[Stand]) -> dict[str, tuple[Stand, ...]]:
    found: dict[str, list[Stand]] = defaultdict(list)
    for stand in stands:
        for revision in filter(None, stand.current.split("+")):
            found[revision].append(stand)
    return {revision: _most_first(several) for revision, several in found.items()}


def _most_first(stands: Iterable[Stand]) -> tuple[Stand, ...]:
    return tuple(sorted(stands, key=lambda stand: (-stand.databases, stand.current)))
