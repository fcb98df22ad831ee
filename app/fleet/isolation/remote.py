"""A project's scripts and its databases, as a process of the catalog sees them.

All that needs the project's code is done by the child process (`isolation`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from app.fleet.isolation import parent
from app.fleet.isolation.messages import Answer, Facts, Heard, Place, Target, Version
from headway.connections.address import Address
from headway.connections.session import Waiting
from headway.execution.rehearsal import Rehearsal
from headway.execution.run import OnStep
from headway.plan.plans import Direction
from headway.plan.register import Record, Sql
from headway.schema.drift import Drift
from headway.types import Look, Outcome


@dataclass(frozen=True)
class RemoteProject:
    """The scripts of a project as they are now, or were when they were described."""

    place: Place
    facts: Facts

    @classmethod
    def at_place(cls, place: Place) -> "RemoteProject":
        """Its scripts as its files are now. Raises ScriptsUnreadable."""
        known = _known.get(place)
        fresh = parent.call("describe", place, known.facts.digest if known else None, beside=True)
        if fresh is not None or known is None:
            known = _known[place] = cls(place, fresh)
        return known

    @property
    def version(self) -> Version:
        """How a request names them."""
        return Version(self.place, self.digest)

    @property
    def digest(self) -> str:
        """Changes when any revision, env.py or option does."""
        return self.facts.digest

    @property
    def heads(self) -> tuple[str, ...]:
        """The revisions that no other stands on."""
        return self.facts.heads

    @property
    def revisions(self) -> Collection[str]:
        """The ids of all its revisions."""
        return self.facts.parents.keys()

    @property
    def version_folders(self) -> tuple[Path, ...]:
        """Where its revisions are."""
        return self.facts.version_folders

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """These revisions and all that they stand on; unknown ids count for themselves."""
        found: set[str] = set()
        todo = list(ids)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self.facts.parents.get(name, ())
        return found

    def hear(self, dialects: Collection[str], x: Mapping[str, str]) -> list[Heard]:
        """How its env.py is used for each kind of database. Raises EnvironmentFailed."""
        return parent.call("hear", self.version, tuple(dialects), dict(x))  # type: ignore[no-any-return]

    def records(self) -> tuple[Record, ...]:
        """Every revision, oldest first. Raises ScriptsUnreadable where one cannot be imported."""
        return parent.call("records", self.version)  # type: ignore[no-any-return]

    def sql_of(self, names: Sequence[str], x: Mapping[str, str]) -> dict[str, Sql]:
        """What each of these revisions sends to each kind of database."""
        return parent.call("sql", self.version, tuple(names), dict(x))  # type: ignore[no-any-return]

    def look(
        self,
        asked: Sequence[tuple[int, str | None, URL]],
        x: Mapping[str, str],
        silent: dict[str, int],
        seconds: float,
    ) -> Iterator[tuple[int, Answer]]:
        """Where many stand: each key once. Notes the servers that are silent.

        Each is waited for so many seconds.
        """
        for kind, value in parent.stream(
            "look", self.version, dict(x), list(asked), dict(silent), seconds
        ):
            if kind == "one":
                yield value
            else:
                silent.update(value)

    def at(
        self, database: str | URL, x: Mapping[str, str] | None = None, **policy: Any
    ) -> "RemoteDatabase":
        """One database of this project. Opens nothing."""
        address = Address.of(database)
        target = Target(scripts=self.version, url=address.url, x=dict(x or {}), policy=policy)
        return RemoteDatabase(target)


@dataclass(frozen=True)
class RemoteDatabase:
    """One database of a project; what it can do has the names of `headway.Database`."""

    target: Target

    @cached_property
    def address(self) -> Address:
        """Where it is."""
        return Address(self.target.url)

    def status(self) -> Look:
        """Where it stands: no lock, nothing written."""
        return parent.call("do", self.target, "status", beside=True)  # type: ignore[no-any-return]

    def wait_for_lock(self, seconds: float) -> None:
        """Come back once nobody migrates it. Raises DatabaseLocked after so long."""
        parent.call("wait_for_lock", self.target, seconds, beside=True)

    def upgrade(
        self,
        target: str = "heads",
        *,
        on_step: OnStep | None = None,
        waiting: Waiting | None = None,
    ) -> Outcome:
        """Bring it to a target. What `on_step` raises is raised where the step would begin."""
        return self._move(Direction.UPGRADE, target, on_step, waiting)

    def downgrade(
        self, target: str, *, on_step: OnStep | None = None, waiting: Waiting | None = None
    ) -> Outcome:
        """Take it back to a target. As careful as `upgrade`."""
        return self._move(Direction.DOWNGRADE, target, on_step, waiting)

    def _move(
        self, way: Direction, to: str, on_step: OnStep | None, waiting: Waiting | None
    ) -> Outcome:
        answers: dict[str, parent.Callback] = {
            "step": on_step or _nothing,
            "waiting": waiting or _nothing,
        }
        return parent.call("move", self.target, way.value, to, answers=answers)  # type: ignore[no-any-return]

    def stamp(self, target: str) -> Outcome:
        """Say that it is at a target, and run nothing."""
        return self._do("stamp", target)  # type: ignore[no-any-return]

    def check(self) -> Drift:
        """How its schema differs from what its revisions make."""
        return self._do("check")  # type: ignore[no-any-return]

    def snapshot(self) -> Path | None:
        """Copy it as it is now; where the copy is. None where there are no snapshots."""
        return self._do("snapshot")  # type: ignore[no-any-return]

    def restore(self, snapshot: Path) -> None:
        """Put a snapshot in its place."""
        self._do("restore", snapshot)

    def rehearse(self, target: str, direction: str) -> tuple[tuple[str, ...], Rehearsal]:
        """The revisions that a move would run, and how it went on a copy."""
        return parent.call("rehearse", self.target, target, direction)  # type: ignore[no-any-return]

    def create(self, target: str, *, on_step: OnStep | None = None) -> Look:
        """Make the database itself, at a target; where it stands then.

        `on_step` is told before each revision that runs in it, and of none where a template is
        copied.
        """
        answers: dict[str, parent.Callback] = {"step": on_step or _nothing}
        return parent.call("create", self.target, target, answers=answers)  # type: ignore[no-any-return]

    def query(self, query: str) -> tuple[bool, str] | None:
        """Whether the first value of a query is true, and how it is shown; None without a row."""
        return parent.call("query", self.target, query)  # type: ignore[no-any-return]

    def _do(self, what: str, *arguments: object) -> Any:
        return parent.call("do", self.target, what, *arguments)


def _nothing(*_: object) -> None:
    """Nobody wants to know."""


_known: dict[Place, RemoteProject] = {}
