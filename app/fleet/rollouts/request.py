"""Validate the values of a new rollout, and fill in its defaults."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from app.errors import InputInvalid, ProjectNotFound, ProjectNotReady
from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.core.validation import Mistakes, fitting, labels_of
from app.fleet.projects import graphs
from app.fleet.rollouts.rules import waves
from app.fleet.rollouts.rules.gates import Gate
from app.fleet.rollouts.rules.windows import Window
from app.models import Kind, Loading, Project, Rollout, Stage
from headway.errors import RevisionNotFound

OPERATIONS = tuple(kind for kind in Kind if kind not in (Kind.CREATE, Kind.REHEARSE, Kind.UNDO))
"""The operations of a rollout that may be requested: one that creates comes with its database."""
CONCURRENCY, PER_SERVER, TIMEOUT = 8, 4, 600.0
"""Defaults of a rollout."""
MOST_AT_ONCE = 1000
LONGEST_RUN = 7 * 24 * 3600.0
LIMITS = (
    ("concurrency", CONCURRENCY, 1, MOST_AT_ONCE),
    ("per_server", PER_SERVER, 1, MOST_AT_ONCE),
    ("timeout_seconds", TIMEOUT, 0.1, LONGEST_RUN),
)
"""Name, default, least, most."""
READS = re.compile(r"[\s(]*(SELECT|WITH|VALUES)\b", re.IGNORECASE)
"""How a read-only query begins."""
INTO = re.compile(r"\bINTO\b", re.IGNORECASE)
"""What writes files on MariaDB, and tables on PostgreSQL."""
UP, DOWN = re.compile(r"\+\d+"), re.compile(r"base|-\d+")
"""Relative targets that lead in only one direction."""


def new_rollout(
    actor: Actor, values: Mapping[str, Any], kinds: Collection[Kind] = OPERATIONS
) -> Rollout:
    """A rollout with these values, not added to a session.

    Raises ProjectNotFound, ProjectNotReady; for all other mistakes together InputInvalid, or
    RevisionNotFound if it is the only one.
    """
    asked = {name: value for name, value in values.items() if value is not None}
    kind = _kind(asked.get("kind", Kind.UPGRADE), kinds)
    project = _ready(asked.get("project_id"), kind)
    mistakes = Mistakes()
    target, gate, window, selector = "", Gate(), None, Selector()
    sizes: tuple[str, ...] = ()
    limits: dict[str, Any] = {}
    with mistakes.gathered("target"):
        fitting(Rollout, {"target": asked.get("target")})
        target = _target(kind, asked.get("target"), project)
    with mistakes.gathered("title"):
        fitting(Rollout, {"title": asked.get("title")})
    with mistakes.gathered("selector"):
        selector = Selector.of(asked.get("selector") or {})
        labels_of(selector.labels)
    with mistakes.gathered("waves"):
        sizes = waves.parse(asked.get("waves") or waves.DEFAULT)
    with mistakes.gathered("gate"):
        gate = _gate(actor, project, asked.get("gate") or {})
    with mistakes.gathered("window"):
        window = Window.of(asked.get("window"))
    for name, default, least, most in LIMITS:
        with mistakes.gathered(name):
            limits[name] = _number(asked, name, default, least, most)
    mistakes.refuse()
    return Rollout(
        project_id=project.id,
        title=asked.get("title"),
        kind=kind,
        target=target,
        selector=selector.as_json() | {"project_id": project.id},
        waves=list(sizes),
        sizes=[],
        gate=gate.as_json(),
        window=window.as_json() if window else None,
        snapshot=bool(asked.get("snapshot", False)),
        retreat=bool(asked.get("retreat", True)),
        stage=Stage.PENDING,
        wave=0,
        by_id=actor.id,
        by_name=actor.name[:128],
        **limits,
    )


def _ready(project_id: Any, kind: Kind) -> Project:
    project = db.session.get(Project, project_id) if isinstance(project_id, int) else None
    if project is None:
        raise ProjectNotFound(f"There is no project {project_id}.", project=project_id)
    waits = project.state == Loading.WAITING and kind is Kind.CREATE  # as its run does
    if project.state != Loading.READY and not waits:
        why = project.problem or "A worker reads them in a moment."
        raise ProjectNotReady(f"The scripts of {project.name} are {project.state}. {why}")
    return project


def _kind(value: str, kinds: Collection[Kind]) -> Kind:
    if value not in kinds:
        raise InputInvalid(f"There is no operation {value!r}. Use one of: {', '.join(kinds)}.")
    return Kind(value)


def _target(kind: Kind, target: str | None, project: Project) -> str:
    if kind in (Kind.CHECK, Kind.SNAPSHOT):
        return ""
    if kind is Kind.RESTORE:
        return target or ""
    if not target and kind is Kind.DOWNGRADE:
        raise InputInvalid(
            "A downgrade needs its target: a revision, `base` or `-1`.", field="target"
        )
    target = target or "heads"
    if kind is Kind.CREATE:  # where new databases belong is resolved when it is created
        return target
    # Resolved now: the head may be another tomorrow, and the preview shows this one.
    if target in ("head", "heads") and len(project.heads) == 1:
        return project.heads[0]
    if kind is Kind.UPGRADE and DOWN.fullmatch(target):
        raise InputInvalid(
            f"An upgrade cannot reach {target}. Ask for a downgrade, or name a newer revision.",
            field="target",
        )
    if kind is Kind.DOWNGRADE and UP.fullmatch(target):
        raise InputInvalid(
            f"A downgrade cannot reach {target}. Ask for an upgrade, or for `base` or `-1`.",
            field="target",
        )
    if not graphs.is_known_target(graphs.known_of(project.id), target):
        heads = ", ".join(project.heads) or "none"
        raise RevisionNotFound(
            f"{project.name} has no revision {target}. Its heads: {heads}.", field="target"
        )
    return target


def _gate(actor: Actor, project: Project, values: Mapping[str, Any]) -> Gate:
    gate = Gate.of(values)
    if not gate.sql:
        return gate
    if not READS.match(gate.sql) or INTO.search(gate.sql):
        raise InputInvalid(
            "The query of a check must be read-only and begin with SELECT, without INTO: for "
            "example `SELECT count(*) > 0 FROM customer`.",
            field="sql",
        )
    actor.require("rollouts.sql", project.id)
    return gate


def _number(values: Mapping[str, Any], name: str, default: float, least: float, most: float) -> Any:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InputInvalid(f"{name} must be a number from {least:g} to {most:g}.", field=name)
    return float(value) if isinstance(default, float) else value
