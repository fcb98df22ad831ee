"""Find the revisions that a database without a version is at, by building and comparing.

With several branches that is a set of heads: one branch may have been upgraded and another not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from headway.dialects import Ground, dialect_of
from headway.dialects.facts import Facts
from headway.errors import MigrationFailed
from headway.schema import compare
from headway.schema.build import ReferenceBuilder
from headway.schema.compare import Reference, Scope
from headway.schema.differences import differences
from headway.scripts.project import ScriptProject

MOST = 200
"""How many sets of revisions are tried beside those on Alembic's upgrade path."""
NAMED = 5
State = frozenset[str]
"""A set of applied revisions, with all ancestors of each."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """The revisions whose schema is closest to a database's, and what differs."""

    revision: str
    """The revisions for display."""
    differences: tuple[str, ...]
    revisions: tuple[str, ...] = ()
    """The revisions: a head of each branch."""
    others: tuple[tuple[str, ...], ...] = ()
    """Later revisions with the same schema, whose data changes may have been made already."""
    untried: str = ""
    """A sentence on what was not tried; "" if all was."""

    @classmethod
    def at(cls, revisions: tuple[str, ...]) -> "Match":
        """Of a database that has a version already."""
        return cls(revision=", ".join(revisions), revisions=revisions, differences=())

    @property
    def says(self) -> str:
        """A sentence on the other matches; "" if there are none."""
        if not self.others:
            return ""
        named = [" + ".join(one) for one in self.others[:NAMED]]
        more = f" and {len(self.others) - NAMED} more" if len(self.others) > NAMED else ""
        return (
            f"{', '.join(named)}{more} would fit as well: the schema is the same. The oldest was "
            "chosen, so that no data migration is skipped. If the later ones already ran here, "
            "stamp the last of them."
        )


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    heads: tuple[str, ...]
    count: int
    """The number of facts that differ."""
    differences: tuple[str, ...] | None
    """The differences as text; None if they were not computed."""


@dataclass(kw_only=True)
class Search:
    """Builds schemas that a project's revisions can create, and compares them with a database."""

    builder: ReferenceBuilder
    connection: Connection
    """The connection to the database that is compared."""
    grounds: list[Ground]
    """Properties of the empty databases to try: the first on which all revisions run is used."""
    live: Facts
    scope: Scope
    candidates: dict[State, _Candidate] = field(default_factory=dict)

    def closest(self) -> Match:
        """The oldest revisions whose schema this database has, else the closest ones."""
        project = self.builder.project
        below = _below(project)
        states = _states(below, MOST + len(below))
        self._first_walk()
        while left := [state for state in states or () if state not in self.candidates]:
            path = _path(min(left, key=lambda one: (len(one), sorted(one))), below)
            self._walk([*path, *_onwards(path, below, set(left))])
        untried = ""
        if states is None:
            untried = (
                f" Its branches allow more than {MOST} sets of revisions, of which only those on "
                "Alembic's upgrade path were compared."
            )
        return self._best_match(below, untried)

    def _best_match(self, below: dict[str, State], untried: str) -> Match:
        fits = [
            state for state, candidate in self.candidates.items() if candidate.differences == ()
        ]
        if not fits:
            compared = [
                candidate
                for candidate in self.candidates.values()
                if candidate.differences is not None
            ]
            best = min(
                compared, key=lambda candidate: (len(candidate.differences or ()), candidate.count)
            )
            return Match(
                revision=", ".join(best.heads),
                revisions=best.heads,
                differences=best.differences or (),
                untried=untried,
            )
        fits.sort(key=len)
        taken = self._widened(fits[0], fits, below)
        heads = self.candidates[taken].heads
        others = [self.candidates[one].heads for one in fits if not one <= taken]
        return Match(
            revision=", ".join(heads),
            revisions=heads,
            differences=(),
            others=tuple(others),
            untried=untried,
        )

    def _widened(self, state: State, fits: list[State], below: dict[str, State]) -> State:
        """Add first revisions of other branches that change nothing.

        A database that was at each of them stays so.
        """
        for name, parents in below.items():
            beside = name not in state and not parents & set(self.candidates[state].heads)
            if beside and state | {name} in fits and _does_nothing(self.builder.project, name):
                state |= {name}
        return state

    def _first_walk(self) -> None:
        """Follow Alembic's upgrade path, on the first ground on which it runs."""
        first = None
        for ground in list(self.grounds):
            self.grounds = [ground]
            try:
                return self._walk(["heads"])
            except MigrationFailed as failed:
                self.candidates.clear()
                first = first or failed
        assert first is not None  # noqa: S101
        raise first

    def _walk(self, targets: list[str]) -> None:
        """Upgrade an empty database to each target, and compare after each revision."""
        at, broken = [State()], list[Exception]()

        def watch(migration: MigrationContext) -> None:
            options = {name: value for name, value in migration.opts.items() if value is not None}
            self.scope = replace(self.scope, options=options)

            def applied(*, step: Any, heads: Any, **_: Any) -> None:
                at.append(at[-1] | {str(step.up_revision_id)})
                if at[-1] in self.candidates or broken:
                    return
                assert migration.connection is not None  # noqa: S101
                try:
                    self.candidates[at[-1]] = self._compare(
                        migration.connection, tuple(sorted(heads))
                    )
                except Exception as error:  # noqa: BLE001  # it is no failure of the revision
                    broken.append(error)

            migration.on_version_apply_callbacks = (
                *migration.on_version_apply_callbacks,
                applied,
            )

        with self.builder.empty(self.connection, self.grounds[0]) as place:
            self.builder.upgrade(place, targets, watch)
        if broken:
            raise broken[0]

    def _compare(self, there: Connection, heads: tuple[str, ...]) -> _Candidate:
        dialect = dialect_of(there)
        facts = dialect.facts(there)
        plain = Reference(facts=facts, schema=compare.reflected(there, ()), scope=self.scope)
        found = compare.compare_facts(self.live, plain)
        count = len(found.firm) + len(found.loose)
        least = min((one.count for one in self.candidates.values()), default=count + 1)
        if found.firm and count >= least:
            return _Candidate(heads=heads, count=count, differences=None)
        with dialect.default_schema_set(there, self._default):
            schema = compare.reflected(there, sorted(found.tables))
        wanted = Reference(facts=facts, schema=schema, scope=self.scope)
        result = differences(
            self.connection, wanted, compare.compare_facts(self.live, wanted), with_fixes=False
        )
        self.connection.rollback()
        return _Candidate(heads=heads, count=count, differences=tuple(one.says for one in result))

    @property
    def _default(self) -> str | None:
        return self.connection.dialect.default_schema_name if self.scope.default else None


def _below(project: ScriptProject) -> dict[str, State]:
    """Each revision's parents and dependencies, in Alembic's order, oldest first."""
    scripts = reversed(list(project.directory.walk_revisions()))
    # FRAGILE: private in Alembic: the parents, and what `depends_on` resolves to.
    return {one.revision: frozenset(one._all_down_revisions) for one in scripts}  # noqa: SLF001


def _states(below: dict[str, State], most: int) -> set[State] | None:
    """All nonempty sets of revisions that a database can be at; None if more than `most`."""
    found: set[State] = {frozenset()}
    todo: list[State] = [frozenset()]
    while todo:
        state = todo.pop()
        for wider in _wider(state, below):
            if wider not in found:
                found.add(wider)
                todo.append(wider)
                if len(found) > most:
                    return None
    return found - {frozenset()}


def _wider(state: State, below: dict[str, State]) -> Iterator[State]:
    for name, parents in below.items():
        if name not in state and parents <= state:
            yield state | {name}


def _path(state: State, below: dict[str, State]) -> list[str]:
    """The revisions of a state in an order in which they can be run."""
    return [name for name in below if name in state]


def _onwards(path: list[str], below: dict[str, State], left: set[State]) -> list[str]:
    """Further revisions to run from there, through states that were not compared yet."""
    state, found = frozenset(path), list[str]()
    while ahead := [one for one in _wider(state, below) if one in left]:
        found += ahead[0] - state
        state = ahead[0]
    return found


def _does_nothing(project: ScriptProject, name: str) -> bool:
    """True if the revision's `upgrade` is a `pass`: its code refers to no name."""
    upgrade = getattr(project.directory.get_revision(name).module, "upgrade", None)
    code: Any = getattr(upgrade, "__code__", None)
    return code is not None and not (code.co_names or code.co_freevars or code.co_cellvars)
