"""Where a database stands, and whether it may be moved.

Read without a lock; nothing is written, and no revision is imported. `status_of` alone decides;
all others read what it decides by.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from headway import history
from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy, pooler_in_the_way
from headway.dialects import VERSIONS, VersionTable
from headway.dialects.driver import Raw
from headway.dialects.urls import DatabaseURL
from headway.errors import (
    DatabaseAhead,
    DatabaseDamaged,
    DatabaseDenied,
    DatabaseForeign,
    DatabaseInUse,
    DatabaseTorn,
    DatabaseUnreachable,
    DatabaseUnstamped,
    EnvironmentFailed,
    HeadwayError,
    VersionsUnreadable,
)
from headway.history import Entry
from headway.scripts.environment import Environment, Readable
from headway.types import Position, Status
from headway.words import PLAIN, Words

READ_SECONDS = 8.0
"""How long one query of a status may take; less than a probe of many databases waits for each."""
APPLIES = {"upgrade", "adopt", "repair"}
"""Actions in the history after which the revision is applied."""


class Revisions(Protocol):
    """As much of a project's scripts as tells where a database stands."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The revisions that no other stands on."""

    @property
    def ids(self) -> Collection[str]:
        """All revisions."""

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """These revisions and all that they stand on; unknown ids count for themselves."""

    def checksum_of(self, revision: str) -> str | None:
        """The checksum of its script; None where that is not known."""

    def pending(self, current: tuple[str, ...]) -> tuple[str, ...]:
        """The revisions that a database at these lacks, in no order."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was read of a database, as far as it was asked for."""

    versions: tuple[str, ...] = ()
    tables: Collection[str] | None = None
    """None where they were not asked for: what is there is then taken to be the project's."""
    leftovers: tuple[str, ...] = ()
    """Tables that a batch operation left half-way."""
    history: Sequence[Entry] | None = None
    """None where there is no history, or it was not asked for."""


# --- the one answer ----------------------------------------------------------------------------


def status_of(
    scripts: Revisions,
    evidence: Evidence,
    *,
    table: VersionTable = VERSIONS,
    names: Callable[[str], bool] = lambda _: True,
    sole: bool = False,
) -> Status:
    """Where a database stands, from what was read of it.

    `names` tells of a table whether the scripts make it. `sole`: see Policy.
    """
    current = tuple(evidence.versions)  # as the table has them: `-1` goes down from the first
    rows = evidence.history or ()
    applied, torn = _applied(rows), _torn(rows)
    newer = tuple(revision for revision in current if revision not in scripts.ids)
    status = Status(
        position=Position.BEHIND,
        current=current,
        heads=scripts.heads,
        pending=scripts.pending(current),
        edited=_edited(applied, scripts),
        missing=() if newer else tuple(sorted(applied.keys() - set(scripts.ids))),
        out_of_order=() if newer else _out_of_order(applied, scripts, current),
        torn=torn.revision if torn else None,
        newer=newer,
        leftovers=() if torn else evidence.leftovers,
    )
    if torn or evidence.leftovers:
        return replace(status, position=Position.TORN)
    tables = None if evidence.tables is None else set(evidence.tables) - {table.name, history.NAME}
    if newer:
        return replace(status, position=_unknown(status, tables, applied, names, sole=sole))
    if current:
        return status if status.pending else replace(status, position=Position.AT_HEAD)
    if not scripts.ids:
        return replace(status, position=Position.AT_HEAD)  # of a project without a revision yet
    taken_back = not applied and any(
        row.outcome == "succeeded" and row.action != history.PASSING for row in rows
    )
    is_there = bool(tables) and (sole or any(map(names, tables or ())))
    if is_there and not taken_back:
        return replace(status, position=Position.UNSTAMPED)
    return replace(status, position=Position.EMPTY)


def _unknown(
    status: Status,
    tables: Collection[str] | None,
    applied: Collection[str],
    names: Callable[[str], bool],
    *,
    sole: bool,
) -> Position:
    """Of a database that says it is at revisions which the scripts do not have."""
    if all(revision in applied for revision in status.newer):
        return Position.AHEAD
    if sole:
        return Position.FOREIGN
    if len(status.newer) < len(status.current):
        return Position.DIVERGED
    return Position.AHEAD if tables is None or any(map(names, tables)) else Position.FOREIGN


def _applied(rows: Iterable[Entry]) -> dict[str, Entry]:
    """The rows by which each revision is there now, by revision."""
    there: dict[str, Entry] = {}
    for row in rows:
        if row.outcome != "succeeded":
            continue
        if row.action == "stamp":  # "it is exactly there", whatever was said before
            there = {row.revision: row} if row.revision != "base" else {}
        elif row.action in APPLIES:
            there[row.revision] = row
        elif row.action in ("downgrade", "forget"):
            there.pop(row.revision, None)
    return there


def _torn(rows: Sequence[Entry]) -> Entry | None:
    """The row of a revision that began and never ended, if there is one."""
    return next((row for row in reversed(rows) if row.outcome in ("running", "torn")), None)


def _edited(rows: dict[str, Entry], scripts: Revisions) -> tuple[str, ...]:
    """Applied revisions whose script has another checksum than when it was applied."""
    return tuple(
        revision
        for revision, row in rows.items()
        if row.checksum and scripts.checksum_of(revision) not in (None, row.checksum)
    )


def _out_of_order(
    rows: dict[str, Entry], scripts: Revisions, current: Iterable[str]
) -> tuple[str, ...]:
    """Revisions below the current ones that never ran here.

    What lies below a stamp or an adoption is taken to be there: someone said so.
    """
    if not rows:
        return ()
    vouched = {row.revision for row in rows.values() if row.action in ("stamp", "adopt")}
    known = scripts.ancestors(vouched) | rows.keys()
    return tuple(sorted(scripts.ancestors(current) & set(scripts.ids) - known))


# --- what is read for it -----------------------------------------------------------------------


def found(project: Readable, address: Address, x: Mapping[str, str], policy: Policy) -> Status:
    """Where a database stands; one that cannot be read is `unreachable`, with the reason.

    One whose version is nothing that Alembic or Headway writes is `foreign`.
    """
    try:
        return ask(project, address, x, policy)
    except (DatabaseUnreachable, DatabaseDenied, DatabaseDamaged, DatabaseInUse) as error:
        return unread(project, error)


def ask(project: Readable, address: Address, x: Mapping[str, str], policy: Policy) -> Status:
    """Where a database stands, in a look of its own.

    What it reads is limited in rows, sizes and time. Raises what keeps it from being read:
    DatabaseUnreachable, DatabaseDenied, DatabaseDamaged, DatabaseInUse.
    """
    table = version_table(project, address, x, policy.words)
    if address.path and not address.path.exists():  # connecting would make it
        return replace(status_of(project.scripts, Evidence()), position=Position.EMPTY)
    began = time.perf_counter()
    with address.open() as raw:
        if not address.is_lent:
            address.dialect.limit_reading(raw, READ_SECONDS)
        if policy.explicit_schema:
            places.refuse_implicit_schema(address, raw)
        seen = read(project, address, table, raw)
        answered = (time.perf_counter() - began) * 1000
        status = judged(project, table, seen, policy)
        warning = pooler_in_the_way(address, raw) if status.pending else None
    return replace(status, milliseconds=answered, reason=warning)


def unread(project: Readable, error: HeadwayError) -> Status:
    """The status of a database that `ask` could not read: no answer, or a wrong one."""
    foreign = isinstance(error, VersionsUnreadable)
    position = Position.FOREIGN if foreign else Position.UNREACHABLE
    return Status(position=position, heads=project.scripts.heads, reason=str(error))


def read(project: Readable, address: Address, table: VersionTable, raw: Raw) -> Evidence:
    """What the driver sees of a database that is open. Ends its own transaction, no other."""
    if address.dialect.name == "postgresql" and not address.is_shared:
        places.refuse_another_schema(address, table, raw)
    peek = address.peek(raw, table)
    tables: Collection[str] = peek.tables
    if peek.versions and not address.is_shared:
        places.refuse_emptied(address, table, raw)
    if any(version not in project.scripts.by_id for version in peek.versions):
        tables = address.tables(raw)
    return Evidence(
        versions=peek.versions,
        tables=tables,
        leftovers=peek.leftovers,
        history=address.history(raw) if peek.has_history else None,
    )


def judged(project: Readable, table: VersionTable, evidence: Evidence, policy: Policy) -> Status:
    """Where a database of a project stands, from what was read of it."""
    scripts = project.scripts
    return status_of(scripts, evidence, table=table, names=scripts.names, sole=policy.sole)


def version_table(
    project: Readable, address: Address, x: Mapping[str, str], words: Words = PLAIN
) -> VersionTable:
    """The project's version table: env.py may set its name and schema."""
    return version_table_of(project.environment_of(address, x), address, words)


def version_table_of(
    environment: Environment, address: Address, words: Words = PLAIN
) -> VersionTable:
    """The version table that this env.py names, of this database."""
    if environment.elsewhere and not environment.version_schema:
        raise EnvironmentFailed(
            f"env.py changes the schema of its session ({environment.elsewhere}) in a way that is "
            "not understood. Nothing was changed. Give `version_table_schema` to "
            "`context.configure`."
        )
    name = environment.options.get("version_table", "alembic_version")
    is_own = places.is_tenants(name, _first_schema(address))
    environment.refuse_another_schema(address, words, is_own_table=is_own)
    return VersionTable(name=name, schema=environment.version_schema)


def _first_schema(address: Address) -> str:
    """The schema that the URL names; "" if none."""
    return DatabaseURL.of(address.url).schema or ""


# --- whether it may be moved ----------------------------------------------------------------------


def refusal(database: object, status: Status, words: Words) -> HeadwayError | None:
    """Why a database must not be moved; None if it may be. `database`: its address or name."""
    name, unknown = words.name(database), ", ".join(status.newer)
    if status.position is Position.TORN:
        what = (
            f"revision {status.torn} began and never ended, so half of it may be there"
            if status.torn
            else f"a batch operation of another tool broke and left {', '.join(status.leftovers)}"
        )
        return words.error(
            DatabaseTorn,
            f"{name}: {what}. Nothing was changed. `{words.command('status')}` shows what is "
            f"there; `{words.command('repair')}` fixes it.",
            revision=status.torn,
        )
    if status.position is Position.FOREIGN and not unknown:
        return words.error(VersionsUnreadable, f"{name}: {status.reason}")
    if status.position is Position.FOREIGN:
        return words.error(
            DatabaseForeign,
            f"{name} is at {unknown}, which these scripts do not have, and nothing in it is known "
            "to be theirs: it is another program's database, or another project's. Nothing was "
            f"changed. Check {words.setting('url', 'the URL')} and the scripts.",
            current=status.current,
        )
    if status.position in (Position.AHEAD, Position.DIVERGED):
        return words.error(
            DatabaseAhead,
            f"{name} is at {unknown}, which these scripts do not have: a newer release was here. "
            "Nothing was changed. Use that release, or its downgrade.",
            current=status.current,
        )
    if status.position is Position.UNSTAMPED:
        return words.error(
            DatabaseUnstamped,
            f"{name} has tables of this project and no version. Nothing was changed. "
            f"`{words.command('adopt')}` finds the revision it is and stamps it; "
            f"`{words.command('stamp')}` records the revision that you name.",
        )
    return None
