"""Plans: the steps from the current revisions to a target, in Alembic's order."""

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from alembic.script import ScriptDirectory
from alembic.script import revision as alembic_errors
from alembic.util import CommandError
from alembic.util.pyfiles import load_python_file

from headway.errors import HeadwayError, RevisionNotFound, SeveralHeads, TargetInvalid
from headway.isolation.isolated import isolated
from headway.scripts.project import ScriptProject
from headway.scripts.script import Script, checksum


class Direction(StrEnum):
    """Upgrade, downgrade or stamp."""

    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    STAMP = "stamp"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One revision to run."""

    revision: str
    message: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The ordered steps from the current revisions to a target. Shown first, applied as shown."""

    database: str
    """The database's URL, with the password hidden."""
    dialect: str
    direction: Direction
    target: str
    current: tuple[str, ...]
    steps: tuple[Step, ...]
    environment: str
    """How env.py is used, and why."""
    replays: bool | None
    """True if recorded statements will be replayed, False if Python runs, None if unknown yet."""
    why: str
    """Why it replays or does not."""


StepsOf = Any  # (heads, MigrationContext) -> Alembic's steps


class History(Protocol):
    """What steps can be found in: a project, or a stored graph."""

    @property
    def directory(self) -> ScriptDirectory:
        """Alembic's view of the revisions."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Revisions that are no other's parent."""

    @property
    def folder(self) -> Path:
        """Its name in error messages."""


def steps_of(project: History, direction: Direction, target: str | tuple[str, ...]) -> StepsOf:
    """A function that yields Alembic's steps, with its errors translated."""
    directory = project.directory
    way: Any = {
        # FRAGILE: private in Alembic; what its own commands and Flask-Alembic call.
        Direction.UPGRADE: directory._upgrade_revs,  # noqa: SLF001
        Direction.DOWNGRADE: directory._downgrade_revs,  # noqa: SLF001
        Direction.STAMP: directory._stamp_revs,  # noqa: SLF001
    }[direction]

    def steps(heads: Any, _context: object = None) -> Any:
        try:
            return way(target, heads)
        except CommandError as error:
            raise translated_error(project, error, target) from error
        except AttributeError as error:
            missing = _missing_function(error)
            if missing is None:
                raise
            raise TargetInvalid(f"{missing} Nothing was changed.", target=target) from error
        except AssertionError as error:  # Alembic's own, for some targets that make no sense
            raise TargetInvalid(
                f"{target} names no revision from here. The heads of {project.folder} are: "
                f"{', '.join(project.heads)}.",
                target=target,
            ) from error

    return steps


def _missing_function(error: AttributeError) -> str | None:
    """The message for a revision whose file lacks `upgrade` or `downgrade`."""
    if error.name not in ("upgrade", "downgrade") or not isinstance(error.obj, ModuleType):
        return None
    name = getattr(error.obj, "revision", error.obj.__name__)
    advice = "there is no way down from it. Restore a copy from before it, or write the function."
    if error.name == "upgrade":
        advice = "there is nothing to run. Write the function."
    return f"Revision {name} has no {error.name}(), so {advice}"


def alembic_steps(
    project: ScriptProject,
    direction: Direction,
    target: str | tuple[str, ...],
    current: Sequence[str],
) -> list[Any]:
    """Alembic's steps to a target. Raises RevisionNotFound, SeveralHeads or TargetInvalid."""
    key = ("steps", direction, target, tuple(current))
    if key not in project.memory:
        with isolated(project.modules):
            project.memory[key] = list(steps_of(project, direction, target)(tuple(current)))
    return list(project.memory[key])


def fresh(project: ScriptProject, steps: Sequence[Any]) -> list[Any]:
    """Copies of the steps with modules imported for this run, as each `alembic` process has them.

    So no variable of theirs holds what an earlier run left there, or an earlier environment. A file
    that was edited since the plan was shown is run as it was shown. Call within `isolated`.
    """
    return [step if step.info.is_stamp else _fresh(project, step) for step in steps]


def _fresh(project: ScriptProject, step: Any) -> Any:
    script, way = step.revision, "upgrade" if step.is_upgrade else "downgrade"
    path, shown = Path(script.path), project.scripts.by_id.get(script.revision)
    is_its_own = step.migration_fn is getattr(script.module, way, None)  # and nobody's who watches
    if not (is_its_own and shown and _is_as_shown(path, shown)):
        return step
    project.modules.registered.forget(str(path))
    try:
        work = getattr(load_python_file(path.parent, path.name), way)
    except (Exception, SystemExit):  # noqa: BLE001  # a model that can be declared only once
        return step
    again = copy.copy(step)
    again.migration_fn = work
    return again


def _is_as_shown(path: Path, shown: Script) -> bool:
    try:
        return checksum(path.read_bytes()) == shown.checksum
    except OSError:  # it was deleted since
        return False


def direction_of(project: ScriptProject, target: str, current: Sequence[str]) -> Direction:
    """Downgrade for `base`, `-1` and ancestors of the current revisions; else upgrade."""
    branch, _, place = target.rpartition("@")
    if place == "base" or place.startswith("-"):
        return Direction.DOWNGRADE
    if place.startswith("+") or place in ("head", "heads"):
        return Direction.UPGRADE
    below = project.scripts.ancestors(current)
    found = [known for known in project.scripts.by_id if known.startswith(target)]
    if not found and (branch or set(place) & set("+-") or place in project.labels):
        return _direction_by_steps(project, target, current)
    down = len(found) == 1 and found[0] in below and found[0] not in current
    return Direction.DOWNGRADE if down else Direction.UPGRADE


def _direction_by_steps(project: ScriptProject, target: str, current: Sequence[str]) -> Direction:
    """Downgrade if Alembic finds steps down to the target; else upgrade."""
    for way in (Direction.UPGRADE, Direction.DOWNGRADE):
        with contextlib.suppress(HeadwayError):
            if alembic_steps(project, way, target, current):
                return way
    return Direction.UPGRADE


def step_names(steps: Sequence[Any], direction: Direction = Direction.UPGRADE) -> tuple[str, ...]:
    """The revision ids of Alembic's steps; for a stamp, the revisions that it leads to."""
    if direction is Direction.STAMP:
        return tuple(name for step in steps for name in step.info.destination_revision_ids)
    return tuple(str(step.revision.revision) for step in steps)


def described(project: ScriptProject, names: Sequence[str]) -> tuple[Step, ...]:
    """The steps as values with message and path."""
    with isolated(project.modules):
        scripts = [project.directory.get_revision(name) for name in names]
    return tuple(
        Step(revision=script.revision, message=script.doc or "", path=script.path)
        for script in scripts
    )


def translated_error(
    project: History, error: CommandError, target: str | tuple[str, ...]
) -> HeadwayError:
    """Alembic's error as one of ours, which says what to do."""
    cause, message = error.__cause__, str(error).rstrip(".")
    heads = ", ".join(project.heads)
    if isinstance(cause, alembic_errors.MultipleHeads):
        return SeveralHeads(
            f"{target} is ambiguous: the scripts have the heads {heads}. Say `heads` for all of "
            "them, or name one.",
            heads=project.heads,
        )
    if isinstance(cause, alembic_errors.ResolutionError) or "locate revision" in message:
        return RevisionNotFound(
            f"{message}. The heads of {project.folder} are: {heads}.", target=target
        )
    return TargetInvalid(f"{message}.", target=target)
