"""The revision chart of a project: its revision graph, with the databases at each revision.

It uses the cached register and the stored counts, so the cost does not grow with the number of
databases.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sqlalchemy import func, select

from app.extensions import db
from app.fleet import projects
from app.fleet.core.permissions import Actor
from app.fleet.counts import positions as core_positions
from app.fleet.counts.positions import DatabaseCount
from app.fleet.projects import graphs, revisions
from app.models import Project, Revision, Rollout
from headway.plan.graph import Node


@dataclass(frozen=True, kw_only=True)
class Stand:
    """The databases with the same current revisions."""

    current: str
    """The revisions joined by `+`; "" for none."""
    positions: Mapping[str, int]

    @property
    def databases(self) -> int:
        """The number of these databases."""
        return sum(self.positions.values())


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The revisions of a project, their parents, and the databases at each."""

    nodes: Mapping[str, Node]
    """The revisions in the scripts, and further ones that databases have."""
    heads: frozenset[str]
    """The heads of the scripts."""
    gone: frozenset[str]
    """Revisions that only other releases have."""
    stands: Mapping[str, tuple[Stand, ...]] = field(default_factory=dict)
    """Revision -> its databases, the largest group first. With two heads they are at both."""
    nowhere: tuple[Stand, ...] = ()
    """Databases without a revision, or at a revision that no release had."""

    def positions_at(self, revisions: Iterable[str]) -> dict[str, int]:
        """Position -> the number of databases at any of these revisions, each counted once."""
        stands = {stand.current: stand for name in revisions for stand in self.stands.get(name, ())}
        found = Counter[str]()
        for stand in stands.values():
            found.update(stand.positions)
        return dict(found.most_common())

    def databases_at(self, revisions: Iterable[str]) -> int:
        """The number of databases at any of these revisions, each counted once."""
        return sum(self.positions_at(revisions).values())

    def databases_with(self, revision: str) -> int:
        """The number of databases at this revision or at a descendant of it."""
        found, todo = {revision}, [revision]
        while todo:
            above = self.children[todo.pop()] - found
            found |= above
            todo += above
        return self.databases_at(found)

    @cached_property
    def children(self) -> Mapping[str, set[str]]:
        """Revision -> the revisions that have it as a parent or a dependency."""
        found: dict[str, set[str]] = defaultdict(set)
        for node in self.nodes.values():
            for below in node.parents + node.depends_on:
                found[below].add(node.id)
        return found


@dataclass(frozen=True, kw_only=True)
class RevisionDetails:
    """Details of a revision from the register."""

    row: Revision
    texts: int
    """The number of texts its script has had: more than one if it was edited."""
    by_name: str | None
    """The name of the account whose rollout first applied it, if known."""
    began_at: datetime | None
    """When that rollout was created."""


def chart(actor: Actor, project_id: int) -> Chart:
    """The revision chart of a project. It has no revisions until the scripts are read.

    Raises ProjectNotFound.
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
    """Revision -> its details, for these revisions; {} until the scripts are read."""
    project = projects.get_project(actor, project_id)
    known = graphs.last_known(project)
    if known is None:
        return {}
    rows = revisions.rows_of(known, [name for name in names if name in known.rows])
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
    """The ids of revisions whose script was edited after it was first read."""
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
    """Revisions that are not in the scripts any more; the last seen first."""
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
        for revision in core_positions.split(stand.current):
            found[revision].append(stand)
    return {revision: _most_first(several) for revision, several in found.items()}


def _most_first(stands: Iterable[Stand]) -> tuple[Stand, ...]:
    return tuple(sorted(stands, key=lambda stand: (-stand.databases, stand.current)))
