"""Which revisions a database without a version is at: all that it can be at are built and compared.

With several branches that is a set of heads: a branch may have been climbed while another stood
still.
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
from headway.schema.build import Building
from headway.schema.compare import Reference, Scope
from headway.schema.differences import differences
from headway.scripts.project import ScriptProject

MOST = 200
"""So many places are tried beside Alembic's own way up."""
NAMED = 5
State = frozenset[str]
"""Revisions that are applied: with each, all that it stands on."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """How far a database's schema is from that of some revisions."""

    revision: str
    """The revisions, as a person reads them."""
    differences: tuple[str, ...]
    revisions: tuple[str, ...] = ()
    """The same one by one: a head of each branch."""
    others: tuple[tuple[str, ...], ...] = ()
    """Later revisions with the same schema: what they do to the data may be done already."""
    untried: str = ""
    """What was not tried, in a sentence; "" if all was."""

    @property
    def says(self) -> str:
        """A sentence on the others; "" if there are none."""
        if not self.others:
            return ""
        named = [" + ".join(one) for one in self.others[:NAMED]]
        more = f" and {len(self.others) - NAMED} more" if len(self.others) > NAMED else ""
        return (
            f"{', '.join(named)}{more} would fit as well: the schema is the same. The oldest was "
            "taken, so that no step over the data is passed over; if those were run here already, "
            "stamp the last of them."
        )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    heads: tuple[str, ...]
    count: int
    """How many facts differ."""
    differences: tuple[str, ...] | None
    """In words; None where that was not worth finding out."""


@dataclass(kw_only=True)
class Search:
    """Builds the schemas that a project's revisions can make, and finds a database's among them."""

    building: Building
    connection: Connection
    """The database's."""
    grounds: list[Ground]
    """What the empty databases may be like: the first on which all revisions can be run."""
    live: Facts
    scope: Scope
    seen: dict[State, _Seen] = field(default_factory=dict)

    def closest(self) -> Match:
        """The oldest revisions whose schema this database has, or those it is closest to."""
        project = self.building.project
        below = _below(project)
        states = _states(below, MOST + len(below))
        self._first_walk()
        while left := [state for state in states or () if state not in self.seen]:
            path = _path(min(left, key=lambda one: (len(one), sorted(one))), below)
            self._walk([*path, *_onwards(path, below, set(left))])
        untried = ""
        if states is None:
            untried = (
                f" Its branches can stand at more than {MOST} places, of which only those on "
                "Alembic's own way up were compared."
            )
        return self._judged(below, untried)

    def _judged(self, below: dict[str, State], untried: str) -> Match:
        fits = [state for state, seen in self.seen.items() if seen.differences == ()]
        if not fits:
            told = [seen for seen in self.seen.values() if seen.differences is not None]
            best = min(told, key=lambda seen: (len(seen.differences or ()), seen.count))
            return Match(
                revision=", ".join(best.heads),
                revisions=best.heads,
                differences=best.differences or (),
                untried=untried,
            )
        fits.sort(key=len)
        taken = self._widened(fits[0], fits, below)
        heads = self.seen[taken].heads
        others = [self.seen[one].heads for one in fits if not one <= taken]
        return Match(
            revision=", ".join(heads),
            revisions=heads,
            differences=(),
            others=tuple(others),
            untried=untried,
        )

    def _widened(self, state: State, fits: list[State], below: dict[str, State]) -> State:
        """With the first revisions of the branches beside it that do nothing at all.

        A database that stood on each of them does again.
        """
        for name, parents in below.items():
            beside = name not in state and not parents & set(self.seen[state].heads)
            if beside and state | {name} in fits and _does_nothing(self.building.project, name):
                state |= {name}
        return state

    def _first_walk(self) -> None:
        """Alembic's own way up, on the first ground that carries it."""
        first = None
        for ground in list(self.grounds):
            self.grounds = [ground]
            try:
                return self._walk(["heads"])
            except MigrationFailed as failed:
                self.seen.clear()
                first = first or failed
        assert first is not None  # noqa: S101
        raise first

    def _walk(self, targets: list[str]) -> None:
        """Go one way from nothing, and compare after each revision."""
        at, broken = [State()], list[Exception]()

        def watch(migration: MigrationContext) -> None:
            options = {name: said for name, said in migration.opts.items() if said is not None}
            self.scope = replace(self.scope, options=options)

            def applied(*, step: Any, heads: Any, **_: Any) -> None:
                at.append(at[-1] | {str(step.up_revision_id)})
                if at[-1] in self.seen or broken:
                    return
                assert migration.connection is not None  # noqa: S101
                try:
                    self.seen[at[-1]] = self._look(migration.connection, tuple(sorted(heads)))
                except Exception as error:  # noqa: BLE001  # it is no failure of the revision
                    broken.append(error)

            migration.on_version_apply_callbacks = (
                *migration.on_version_apply_callbacks,
                applied,
            )

        with self.building.empty(self.connection, self.grounds[0]) as place:
            self.building.upgrade(place, targets, watch)
        if broken:
            raise broken[0]

    def _look(self, there: Connection, heads: tuple[str, ...]) -> _Seen:
        dialect = dialect_of(there)
        facts = dialect.facts(there)
        plain = Reference(facts=facts, schema=compare.reflected(there, ()), scope=self.scope)
        found = compare.apart(self.live, plain)
        count = len(found.firm) + len(found.loose)
        least = min((one.count for one in self.seen.values()), default=count + 1)
        if found.firm and count >= least:
            return _Seen(heads=heads, count=count, differences=None)
        with dialect.looking_at(there, self._default):
            schema = compare.reflected(there, sorted(found.tables))
        wanted = Reference(facts=facts, schema=schema, scope=self.scope)
        told = differences(self.connection, wanted, compare.apart(self.live, wanted), mends=False)
        self.connection.rollback()
        return _Seen(heads=heads, count=count, differences=tuple(one.says for one in told))

    @property
    def _default(self) -> str | None:
        return self.connection.dialect.default_schema_name if self.scope.default else None


def _below(project: ScriptProject) -> dict[str, State]:
    """What each revision stands on directly, in Alembic's order from the first."""
    scripts = reversed(list(project.directory.walk_revisions()))
    # FRAGILE: private in Alembic: the parents, and what `depends_on` resolves to.
    return {one.revision: frozenset(one._all_down_revisions) for one in scripts}  # noqa: SLF001


def _states(below: dict[str, State], most: int) -> set[State] | None:
    """All sets of revisions that a database can be at, but nothing; None if they are too many."""
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
    """Its revisions in an order in which they can be run."""
    return [name for name in below if name in state]


def _onwards(path: list[str], below: dict[str, State], left: set[State]) -> list[str]:
    """How to go on from there through places that nobody has been to."""
    state, found = frozenset(path), list[str]()
    while ahead := [one for one in _wider(state, below) if one in left]:
        found += ahead[0] - state
        state = ahead[0]
    return found


def _does_nothing(project: ScriptProject, name: str) -> bool:
    """True if its upgrade is a `pass`: what names nothing calls nothing."""
    upgrade = getattr(project.directory.get_revision(name).module, "upgrade", None)
    code: Any = getattr(upgrade, "__code__", None)
    return code is not None and not (code.co_names or code.co_freevars or code.co_cellvars)
