"""Proxies for a project and its databases; the child process does the work.

The service uses these in place of `headway.Project` and `headway.Database`, so that it never runs
a project's code.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from app.fleet.isolation import parent
from app.fleet.isolation.messages import (
    Answer,
    EnvironmentUse,
    Facts,
    ProbeTarget,
    ScriptLocation,
    Target,
    Version,
)
from app.fleet.isolation.pool import AT_ONCE, TimedOut
from headway.connections.address import Address
from headway.connections.session import Waiting
from headway.errors import MigrationFailed, ProcessEnded
from headway.execution.migration import OnFound
from headway.execution.rehearsal import Rehearsal
from headway.execution.run import OnStep
from headway.plan.plans import Direction
from headway.plan.register import Record, Sql
from headway.schema.drift import Drift
from headway.types import Outcome, Status


@dataclass(frozen=True)
class RemoteProject:
    """The scripts of a project at one digest."""

    place: ScriptLocation
    facts: Facts

    @classmethod
    def at_place(cls, place: ScriptLocation) -> "RemoteProject":
        """The project as its files are now. Raises ScriptsUnreadable."""
        known = _known.get(place)
        fresh = parent.call(
            "describe", place, known.facts.digest if known else None, concurrent=True
        )
        if fresh is not None or known is None:
            known = _known[place] = cls(place, fresh)
        return known

    @property
    def version(self) -> Version:
        """How a request identifies these scripts."""
        return Version(self.place, self.digest)

    @property
    def digest(self) -> str:
        """Changes when any revision, env.py or option does."""
        return self.facts.digest

    @property
    def heads(self) -> tuple[str, ...]:
        """The revisions that have no successor."""
        return self.facts.heads

    @property
    def ids(self) -> Collection[str]:
        """The ids of all its revisions."""
        return self.facts.parents.keys()

    @property
    def version_folders(self) -> tuple[Path, ...]:
        """The folders of its revision files."""
        return self.facts.version_folders

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """These revisions and all that they depend on. Unknown ids are included as they are."""
        found: set[str] = set()
        todo = list(ids)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += self.facts.parents.get(name, ())
        return found

    def pending(self, current: tuple[str, ...]) -> tuple[str, ...]:
        """The revisions that a database at these lacks, in no order."""
        return tuple(sorted(set(self.ids) - self.ancestors(current)))

    def checksum_of(self, revision: str) -> str | None:  # noqa: ARG002
        """Not known here: a database's history is compared by whoever opens it."""
        return None

    def environment_uses(
        self, dialects: Collection[str], x: Mapping[str, str]
    ) -> list[EnvironmentUse]:
        """How its env.py is used for each kind of database. Raises EnvironmentFailed."""
        return parent.call("environment_uses", self.version, tuple(dialects), dict(x))  # type: ignore[no-any-return]

    def records(self) -> tuple[Record, ...]:
        """Every revision, oldest first. Raises ScriptsUnreadable if one cannot be imported."""
        return parent.call("records", self.version)  # type: ignore[no-any-return]

    def sql_of(self, names: Sequence[str], x: Mapping[str, str]) -> dict[str, Sql]:
        """Revision -> the SQL that it sends to each kind of database."""
        return parent.call("sql", self.version, tuple(names), dict(x))  # type: ignore[no-any-return]

    def probe(
        self,
        targets: Sequence[ProbeTarget],
        timeouts: dict[str, int],
        seconds: float,
    ) -> Iterator[tuple[int, Answer]]:
        """Probe many databases: yields each key once. Updates `timeouts`, by server.

        Each database has this many seconds to answer. A process in which some hang, or that one
        of them ended, is replaced; in the latter case the rest is probed one by one.
        """
        left, alone = {target[0]: target for target in targets}, False
        while left:
            some, hanging = list(left.values())[: 1 if alone else None], 0
            request = parent.stream("probe", self.version, some, dict(timeouts), seconds)
            try:
                for kind, value in request:
                    if kind == "done":
                        timeouts.update(value)
                        continue
                    left.pop(value[0])
                    yield value
                    hanging += isinstance(value[1], TimedOut) and value[1].was_called
                    if hanging == AT_ONCE:
                        break
            except MigrationFailed as error:  # ProcessEnded too
                parent.end_probes()
                if alone and left.pop(some[0][0], None) is not None:
                    yield some[0][0], error
                alone = True
            finally:
                request.close()
                if hanging:
                    parent.end_probes()

    def prepare_probes(self, dialects: Collection[str], x: Mapping[str, str]) -> None:
        """Use its env.py for these kinds of databases where they will be probed.

        Raises EnvironmentFailed.
        """
        parent.probe("environment_uses", self.version, tuple(dialects), dict(x))

    def at(
        self, database: str | URL, x: Mapping[str, str] | None = None, **policy: Any
    ) -> "RemoteDatabase":
        """One database of this project. Opens nothing."""
        address = Address.of(database)
        target = Target(scripts=self.version, url=address.url, x=dict(x or {}), policy=policy)
        return RemoteDatabase(target)


@dataclass(frozen=True)
class RemoteDatabase:
    """One database of a project. Its methods have the names of those of `headway.Database`."""

    target: Target

    @cached_property
    def address(self) -> Address:
        """The address of the database."""
        return Address(self.target.url)

    def status(self) -> Status:
        """The status of the database. Takes no lock and writes nothing."""
        return parent.call("do", self.target, "status", concurrent=True)  # type: ignore[no-any-return]

    def wait_for_lock(self, seconds: float) -> None:
        """Return once no process migrates the database. Raises DatabaseLocked after `seconds`."""
        parent.call("wait_for_lock", self.target, seconds, concurrent=True)

    def move(
        self,
        direction: Direction,
        *,
        on_found: OnFound,
        on_step: OnStep | None = None,
        waiting: Waiting | None = None,
    ) -> Outcome:
        """Upgrade or downgrade to the target that `on_found` returns.

        `on_found(status)` is called under the lock, before anything is done: None does nothing,
        and it may refuse by raising. `on_step(number, total, revision)` is called before each
        step, and cannot.
        """
        answers: dict[str, parent.Callback] = {
            "found": on_found,
            "step": on_step or _ignore_callback,
            "waiting": waiting or _ignore_callback,
        }
        return parent.call("move", self.target, direction.value, answers=answers)  # type: ignore[no-any-return]

    def stamp(self, target: str) -> Outcome:
        """Record that the database is at a target, and run no revision."""
        return self._do("stamp", target)  # type: ignore[no-any-return]

    def check(self) -> Drift:
        """The differences between its schema and the schema that its revisions make."""
        return self._do("check")  # type: ignore[no-any-return]

    def snapshot(self) -> Path | None:
        """Copy a SQLite file, and return the path of the copy; None for other databases."""
        return self._do("snapshot")  # type: ignore[no-any-return]

    def restore(self, snapshot: Path) -> None:
        """Replace the database by a snapshot."""
        self._do("restore", snapshot)

    def rehearse(self, target: str, direction: str) -> tuple[tuple[str, ...], Rehearsal]:
        """The revisions that a migration would run, and its outcome on a copy."""
        return parent.call("rehearse", self.target, target, direction)  # type: ignore[no-any-return]

    def create(self, target: str, *, on_step: OnStep | None = None) -> Status:
        """Create the database at a target, and return its status.

        `on_step` is called before each revision that runs in it; none does if a template is copied.
        """
        answers: dict[str, parent.Callback] = {"step": on_step or _ignore_callback}
        return parent.call("create", self.target, target, answers=answers)  # type: ignore[no-any-return]

    def query(self, query: str) -> bool:
        """True if the first value of a query is true. Raises CheckFailed, without its words."""
        return parent.call("query", self.target, query)  # type: ignore[no-any-return]

    def _do(self, what: str, *arguments: object) -> Any:
        return parent.call("do", self.target, what, *arguments)


def _ignore_callback(*_: object) -> None:
    """A callback that does nothing."""


def sizes(groups: Sequence[tuple[str, URL, Sequence[str]]], seconds: float) -> list[dict[str, int]]:
    """For each server, URL and names: the sizes of these databases, as far as it answers."""
    try:
        return parent.probe("sizes", list(groups), seconds)  # type: ignore[no-any-return]
    except ProcessEnded:
        return [{} for _ in groups]


_known: dict[ScriptLocation, RemoteProject] = {}
