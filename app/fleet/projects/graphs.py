"""Revision graphs of projects, from the register; cached until the scripts are read again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flask import current_app
from sqlalchemy import select

from app.errors import ProjectNotFound, ProjectNotReady
from app.extensions import db
from app.models import Loading, Project, Revision
from headway.plan.graph import Graph, Node

RELATIVE = re.compile(r"[+-]\d+$")


@dataclass(frozen=True, kw_only=True)
class Known:
    """The register of a project after one load."""

    loaded_at: datetime
    nodes: dict[str, Node]
    """The revisions in the scripts."""
    others: dict[str, Node]
    """Revisions that only other releases have."""
    rows: dict[str, int]
    """Revision -> the id of its row."""
    graphs: dict[frozenset[str], Graph] = field(default_factory=dict)


def known_of(project_id: int) -> Known:
    """The register as it is now. Raises ProjectNotFound, ProjectNotReady."""
    project = db.session.get(Project, project_id, populate_existing=True)
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    if project.state == Loading.BROKEN or project.loaded_at is None:
        raise ProjectNotReady(
            f"The scripts of {project.name} cannot be used: {project.problem}"
            if project.problem
            else f"The scripts of {project.name} have not been read yet: a worker does that "
            "within seconds, `flask projects load` at once.",
            project=project_id,
        )
    return _remembered(project, project.loaded_at)


def last_known(project: Project) -> Known | None:
    """The register of the last successful load, even if the scripts are broken now; else None."""
    return _remembered(project, project.loaded_at) if project.loaded_at else None


def _remembered(project: Project, loaded_at: datetime) -> Known:
    memory: dict[int, Known] = current_app.extensions.setdefault("headway.register", {})
    known = memory.get(project.id)
    if known is None or known.loaded_at != loaded_at:
        known = memory[project.id] = _read(project, loaded_at)
    return known


def _read(project: Project, loaded_at: datetime) -> Known:
    rows = newest(project.id)
    folders = project.environment_facts.get("folders", [])

    def order(row: Revision) -> tuple[int, str]:
        # The order of Alembic, which takes parallel branches in the order of their files.
        folder = next((n for n, place in enumerate(folders) if row.path.startswith(place)), 0)
        return folder, row.path

    present = sorted((row for row in rows.values() if row.present), key=order)
    return Known(
        loaded_at=loaded_at,
        nodes={row.revision: _node(row) for row in present},
        others={row.revision: _node(row) for row in rows.values() if not row.present},
        rows={row.revision: row.id for row in rows.values()},
    )


def newest(project_id: int, *options: object) -> dict[str, Revision]:
    """Revision -> its row: the one in the scripts now, or else the last one."""
    query = select(Revision).where(Revision.project_id == project_id)
    query = query.order_by(Revision.present, Revision.last_seen_at, Revision.id)
    rows = db.session.scalars(query.options(*options))  # type: ignore[arg-type]
    return {row.revision: row for row in rows}


def _node(row: Revision) -> Node:
    return Node(
        id=row.revision,
        parents=tuple(row.parents),
        depends_on=tuple(row.depends_on),
        labels=tuple(row.labels),
        message=row.message,
    )


def is_known_target(known: Known, target: str) -> bool:
    """True if a target refers to a revision of any release: `r003`, `r003-1`, `shop@head`."""
    nodes = [*known.nodes.values(), *known.others.values()]
    branches = {label for node in nodes for label in node.labels}
    branch, _, name = target.rpartition("@")
    name = RELATIVE.sub("", name)

    def is_known(label_or_id: str) -> bool:
        return label_or_id in branches or any(node.id.startswith(label_or_id) for node in nodes)

    is_there = name in ("", "base", "head", "heads") or is_known(name)
    return is_there and (not branch or is_known(branch))


def graph_of(known: Known, project_id: int, current: Sequence[str]) -> Graph:
    """The graph of the scripts and of the further revisions that a database has."""
    extra = _beyond(known, current)
    if extra not in known.graphs:
        taken = {label for node in known.nodes.values() for label in node.labels}
        others = [known.others[name] for name in sorted(extra)]
        added = [
            Node(id=one.id, parents=one.parents, depends_on=one.depends_on, message=one.message)
            if taken & set(one.labels)
            else one
            for one in others
        ]
        name = db.session.get_one(Project, project_id).name
        known.graphs[extra] = Graph([*known.nodes.values(), *added], Path(name))
    return known.graphs[extra]


def _beyond(known: Known, current: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    todo = [name for name in current if name in known.others]
    while todo:
        name = todo.pop()
        if name in known.others and name not in found:
            found.add(name)
            todo += known.others[name].parents + known.others[name].depends_on
    return frozenset(found)
