"""What a rollout is asked to be: checked, with its defaults."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from app.errors import InputInvalid, ProjectNotFound, ProjectNotReady
from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.core.validation import fitting, labels_of
from app.fleet.projects import graphs
from app.fleet.rollouts import waves
from app.fleet.rollouts.gates import Gate
from app.fleet.rollouts.windows import Window
from app.models import Kind, Loading, Project, Rollout, Stage
from headway.errors import RevisionNotFound

OPERATIONS = tuple(kind for kind in Kind if kind not in (Kind.CREATE, Kind.REHEARSE, Kind.UNDO))
"""What a rollout may be asked to do. One that creates comes with the database that it makes."""
CONCURRENCY, PER_SERVER, TIMEOUT = 8, 4, 600.0
"""Of a rollout that was asked for without them."""
MOST_AT_ONCE = 1000
LONGEST_RUN = 7 * 24 * 3600.0
READS = re.compile(r"[\s(]*(SELECT|WITH|VALUES)\b", re.IGNORECASE)
"""How a query begins that only looks."""
UP, DOWN = re.compile(r"\+\d+"), re.compile(r"base|-\d+")
"""Targets that lead one way, wherever a database stands."""


def drafted(
    actor: Actor, values: Mapping[str, Any], kinds: Collection[Kind] = OPERATIONS
) -> Rollout:
    """The rollout that these values ask for, in no session. Raises what `create_rollout` does."""
    asked = {name: value for name, value in values.items() if value is not None}
    kind = _kind(asked.get("kind", Kind.UPGRADE), kinds)
    project = _ready(asked.get("project_id"), kind)
    limits = {
        "concurrency": _number(asked, "concurrency", CONCURRENCY, 1, MOST_AT_ONCE),
        "per_server": _number(asked, "per_server", PER_SERVER, 1, MOST_AT_ONCE),
        "timeout_seconds": float(_number(asked, "timeout_seconds", TIMEOUT, 0.1, LONGEST_RUN)),
    }
    window = Window.of(asked.get("window"))
    selector = Selector.of(asked.get("selector") or {})
    labels_of(selector.labels)
    fitting(Rollout, {"title": asked.get("title"), "target": asked.get("target")})
    return Rollout(
        project_id=project.id,
        title=asked.get("title"),
        kind=kind,
        target=_target(kind, asked.get("target"), project),
        selector=selector.as_json() | {"project_id": project.id},
        waves=list(waves.parse(asked.get("waves") or waves.DEFAULT)),
        sizes=[],
        gate=_gate(asked.get("gate") or {}).as_json(),
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
        why = project.problem or "A worker will read them in a moment."
        raise ProjectNotReady(f"The scripts of {project.name} are {project.state}. {why}")
    return project


def _kind(said: str, kinds: Collection[Kind]) -> Kind:
    if said not in kinds:
        raise InputInvalid(f"A rollout cannot {said!r}: it can {', '.join(kinds)}.")
    return Kind(said)


def _target(kind: Kind, said: str | None, project: Project) -> str:
    if kind in (Kind.CHECK, Kind.SNAPSHOT):
        return ""
    if kind is Kind.RESTORE:
        return said or ""
    if not said and kind is Kind.DOWNGRADE:
        raise InputInvalid("A downgrade needs its target: a revision, `base` or `-1`.")
    said = said or "heads"
    if kind is Kind.CREATE:  # where new databases belong is found out when it is made
        return said
    # What is the head today may not be tomorrow: what was shown is what is rolled out.
    if said in ("head", "heads") and len(project.heads) == 1:
        return project.heads[0]
    if kind is Kind.UPGRADE and DOWN.fullmatch(said):
        raise InputInvalid(
            f"An upgrade does not lead to {said}: ask for a downgrade, or name a newer revision.",
            field="target",
        )
    if kind is Kind.DOWNGRADE and UP.fullmatch(said):
        raise InputInvalid(
            f"A downgrade does not lead to {said}: ask for an upgrade, or for `base` or `-1`.",
            field="target",
        )
    if not graphs.names_something(graphs.known_of(project.id), said):
        heads = ", ".join(project.heads) or "none"
        raise RevisionNotFound(
            f"{project.name} has no revision {said}. Its newest: {heads}.", field="target"
        )
    return said


def _gate(values: Mapping[str, Any]) -> Gate:
    gate = Gate.of(values)
    if gate.sql and not READS.match(gate.sql):
        raise InputInvalid(
            "The query of a check only looks: it begins with SELECT, as in "
            "`SELECT count(*) > 0 FROM customer`.",
            field="sql",
        )
    return gate


def _number(values: Mapping[str, Any], name: str, default: float, least: float, most: float) -> Any:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InputInvalid(f"{name} is a number from {least:g} to {most:g}.", field=name)
    return value
