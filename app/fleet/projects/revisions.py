"""The revision register: all revisions of all releases, and the steps between them."""

import atexit
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flask import current_app
from sqlalchemy import select
from sqlalchemy.orm import undefer

from app.extensions import db
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.validation import UNFIT
from app.fleet.isolation.messages import ScriptLocation
from app.fleet.isolation.remote import RemoteProject
from app.fleet.projects import crud, graphs
from app.models import Kind, Project, Revision
from headway.errors import PreviewImpossible, RevisionNotFound, ScriptsUnreadable
from headway.plan import plans, register
from headway.plan.plans import Direction
from headway.plan.sql import note

WAYS = {
    Kind.UPGRADE: Direction.UPGRADE,
    Kind.DOWNGRADE: Direction.DOWNGRADE,
    Kind.UNDO: Direction.DOWNGRADE,
    Kind.STAMP: Direction.STAMP,
}
"""Operation -> its direction. Other operations run no revisions."""


# --- steps ----------------------------------------------------------------------------------


class Route(NamedTuple):
    """The revisions that an operation runs on a database, and where they lead."""

    steps: tuple[Revision, ...]
    """In Alembic's order; for a stamp, its target revisions."""
    ends: str
    """The revisions of the database after the operation, joined by `+`; "" for none."""


def route(project_id: int, current: Sequence[str], target: str, kind: Kind) -> Route:
    """The way of a database at these revisions to a target.

    Computed from the register alone, which also has revisions of newer releases. Raises
    RevisionNotFound, SeveralHeads, TargetInvalid or ProjectNotReady.
    """
    known = graphs.known_of(project_id)
    if kind not in WAYS:
        return Route((), "+".join(sorted(current)))
    graph = graphs.graph_of(known, project_id, current)
    steps = list(plans.steps_of(graph, WAYS[kind], target)(tuple(current)))
    names = plans.step_names(steps, WAYS[kind])
    return Route(rows_of(known, names), "+".join(graph.ends(steps, current)))


def path(project_id: int, current: Sequence[str], target: str, kind: Kind) -> tuple[Revision, ...]:
    """The steps of `route`."""
    return route(project_id, current, target, kind).steps


def ends(project_id: int, current: Sequence[str], target: str, kind: Kind) -> str:
    """The end of `route`."""
    return route(project_id, current, target, kind).ends


def rows_of(known: graphs.Known, names: Sequence[str]) -> tuple[Revision, ...]:
    """The rows of these revisions, in this order."""
    ids = [known.rows[name] for name in names]
    rows = {row.id: row for row in db.session.scalars(select(Revision).where(Revision.id.in_(ids)))}
    return tuple(rows[key] for key in ids)


def sql_of(
    project_id: int,
    current: Sequence[str],
    texts: Mapping[str, str | None],
    dialect: str,
    kind: Kind,
) -> str | None:
    """The SQL of the steps of a database as one script, as Alembic would write it.

    `texts` are those of `texts_of`. None if one depends on the database.
    """
    known_texts = {name: text for name, text in texts.items() if text is not None}
    if not texts or len(known_texts) < len(texts):
        return None
    names = list(texts)
    graph = graphs.graph_of(graphs.known_of(project_id), project_id, [*names, *current])
    facts = db.session.get_one(Project, project_id).environment_facts
    try:
        return note(facts.get("unwritten")) + graph.sql(
            graph.through(names, WAYS[kind], current),
            current,
            dialect=_dialect(dialect),
            texts=known_texts,
            options=facts.get("options", {}),
        )
    except PreviewImpossible:
        return None


def texts_of(steps: Sequence[Revision], dialect: str, kind: Kind) -> dict[str, str | None]:
    """Revision -> the SQL it sends to this kind of database; None if it depends on the database.

    In the order of the steps. A stamp runs none of them, so it sends nothing.
    """
    names = [step.revision for step in steps]
    if kind is Kind.STAMP:
        return dict.fromkeys(names, "")
    query = select(Revision.revision, Revision.sql).where(
        Revision.id.in_([step.id for step in steps])
    )
    texts = {name: sql.get(_dialect(dialect)) or {} for name, sql in db.session.execute(query)}
    return {name: texts[name].get(WAYS[kind].value) for name in names}


def _dialect(name: str) -> str:
    return "mysql" if name == "mariadb" else name


# --- scripts --------------------------------------------------------------------------------


def scripts_with(project: Project, needed: Collection[str]) -> RemoteProject:
    """The project's scripts, completed from the register by the `needed` revisions.

    So an older release can downgrade from the revisions of a newer one. Raises RevisionNotFound
    if the register lacks a revision, ScriptsUnreadable if it lacks the source of one.
    """
    own = crud.scripts_of(project)
    missing = [name for name in needed if name not in own.ids]
    if not missing:
        return own
    rows = _missing(project, own, missing)
    key = (project.location, project.ini, own.digest, tuple(row.checksum for row in rows))
    known: dict[object, RemoteProject] = _remembered("headway.extended")
    if key not in known:
        folder = Path(tempfile.mkdtemp(prefix="headway_revisions_"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        texts = {row.revision: row.script or "" for row in rows}
        register.keep(folder, texts)
        place = ScriptLocation(own.place.folder, own.place.ini, str(folder))
        known[key] = RemoteProject.at_place(place)
    return known[key]


def _missing(project: Project, own: RemoteProject, names: Collection[str]) -> list[Revision]:
    """The rows of these revisions and of their ancestors that the scripts lack."""
    rows = graphs.newest(project.id, undefer(Revision.script))
    found: dict[str, Revision] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found or name in own.ids:
            continue
        row = rows.get(name)
        if row is None:
            raise RevisionNotFound(
                f"No release of {project.name} that Headway has read has revision {name}. Restore "
                "its script, or load the release that has it: `flask projects load`.",
                target=name,
            )
        if row.script is None:
            raise ScriptsUnreadable(
                f"Revision {name} of {project.name} was read without its source, so it cannot be "
                "downgraded from here. Use the release that has it."
            )
        found[name] = row
        todo += row.parents + row.depends_on
    return sorted(found.values(), key=lambda row: (row.place, row.id))


def _remembered(name: str) -> dict[object, RemoteProject]:
    return current_app.extensions.setdefault(name, {})  # type: ignore[no-any-return]


# --- for people -----------------------------------------------------------------------------


def list_revisions(
    actor: Actor,
    project_id: int,
    *,
    limit: int,
    after: int | None = None,
    present: bool | None = None,
) -> tuple[list[Revision], int | None]:
    """A page of the register, oldest first, and the `after` of the next page.

    `present` selects revisions that are in the scripts now (True) or not (False).
    """
    crud.get_project(actor, project_id)
    mine = select(Revision).where(Revision.project_id == project_id)
    query = begin_after(mine, Revision.id, after)
    if present is not None:
        query = query.where(Revision.present.is_(present))
    return page_of(query, limit)


def versions_of(actor: Actor, project_id: int, revision: str) -> list[Revision]:
    """All texts that a revision has had: the present one, then the newest first.

    `revision` is an id or an unambiguous beginning of one. Raises RevisionNotFound.
    """
    project = crud.get_project(actor, project_id)
    if UNFIT.search(revision):  # the catalog cannot compare such text
        revision = "?"
    starts = Revision.revision.startswith(revision, autoescape=True)
    query = select(Revision).where(Revision.project_id == project_id, starts)
    query = query.options(undefer(Revision.script), undefer(Revision.sql))
    found = list(
        db.session.scalars(
            query.order_by(
                Revision.present.desc(), Revision.last_seen_at.desc(), Revision.id.desc()
            ).limit(200)
        )
    )
    exact = [row for row in found if row.revision == revision] or found
    names = sorted({row.revision for row in exact})
    if not names:
        raise RevisionNotFound(
            f"No release of {project.name} that Headway has read has a revision {revision}.",
            target=revision,
        )
    if len(names) > 1:
        raise RevisionNotFound(
            f"Several revisions begin with {revision}: {', '.join(names[:5])}. Give more "
            "characters.",
            target=revision,
        )
    return exact
