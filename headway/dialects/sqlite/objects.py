"""Objects of a SQLite schema beyond columns, and which of them a revision lost undeclared.

SQLite changes a table by rebuilding it, and a rebuild keeps what SQLAlchemy reflects: not the
triggers, nor an index on an expression, nor much of what is said inside of the table.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from headway import history
from headway.dialects.names import folded
from headway.dialects.sqlite.ddl import Clause, IndexShape, TableShape, index_shape, table_shape

CANNOT_ASK = re.compile(r"no such (collation|function|module|tokenizer)|unknown (function|tokeni)")
"""SQLite's errors for a part of the schema that only the application's connections support."""
COPY = "_alembic_tmp_"
QUERY = (
    "SELECT type, name, tbl_name, sql FROM main.sqlite_master "
    r"WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
)
NAME = r"(?:\"([^\"]+)\"|`([^`]+)`|\[([^\]]+)\]|'([^']+)'|([^\W\d]\w*))"
DROPPED = re.compile(
    rf"\s*DROP\s+(?:TABLE|INDEX|TRIGGER|VIEW)\s+(?:IF\s+EXISTS\s+)?(?:{NAME}\s*\.\s*)?{NAME}",
    re.IGNORECASE,
)
RENAMED = re.compile(
    rf"\s*ALTER\s+TABLE\s+(?:{NAME}\s*\.\s*)?{NAME}\s+RENAME\s+TO\s+{NAME}", re.IGNORECASE
)
COMPUTED_DROP = re.compile(
    r"drop_constraint\(\s*(?!\s|[\"']|(?:\w+\.)?f\(\s*[\"'])"
    r"(?:(?!drop_constraint).)*?(?:type_\s*=\s*[\"'](\w+)|\n\s*\n|\Z)",
    re.DOTALL,
)
CONSTRAINT_KINDS = {
    "foreignkey": "foreign key",
    "unique": "unique",
    "check": "check",
    "primary": "primary key",
}
CONSTRAINT_DROPPED = re.compile(r"drop_constraint\(\s*(?:\w+\.)?(?:f\()?\s*[\"']([^\"']+)")


class Object(NamedTuple):
    """One entry of `sqlite_master`."""

    kind: str
    name: str
    table: str
    sql: str

    @property
    def key(self) -> tuple[bool, str]:
        """What no two objects of a schema share: a trigger may be called like a table."""
        return self.kind == "trigger", self.name


Schema = Mapping[tuple[bool, str], Object]
"""Every object by its key."""

Entry = tuple[str, str, str, str]
"""A row of `sqlite_master`: the kind, the name, the table it stands on, and the statement."""


@dataclass(frozen=True, kw_only=True)
class LostObject:
    """One object that was there before a revision and is missing after it."""

    name: str
    """What a script writes into `loses` to lose it."""
    says: str


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What a revision declares, or shows in its source, that it means to lose."""

    loses: frozenset[str] = frozenset()
    statements: Sequence[str] = ()
    """The statements that it sent."""
    script: str | None = None
    """The revision's file."""

    @cached_property
    def source(self) -> str:
        """The text of its file, or what can be read in a compiled one."""
        return Path(self.script).read_text("utf-8", "replace") if self.script else ""

    def names(self, name: str) -> bool:
        """True if it names this object: then the loss is intended."""
        if name in self.loses or folded(name) in self.dropped:
            return True
        return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.source))

    @cached_property
    def dropped(self) -> set[str]:
        """Names of the objects that it dropped explicitly."""
        found = (DROPPED.match(one) for one in self.statements)
        return {_last(one, 2) for one in found if one}

    def drops_trigger(self, name: str) -> bool:
        """True if it drops a trigger of this name itself, or declares the name as lost."""
        rows = (
            one for one in self.statements if re.match(r"\s*DROP\s+TRIGGER\b", one, re.IGNORECASE)
        )
        found = filter(None, map(DROPPED.match, rows))
        return name in self.loses or folded(name) in {_last(one, 2) for one in found}

    @cached_property
    def renames(self) -> dict[str, str]:
        """Old table names, by the new names that it gave."""
        found = (RENAMED.match(one) for one in self.statements)
        return {_last(one, 3): _last(one, 2) for one in found if one}

    @cached_property
    def constraints(self) -> tuple[str, ...]:
        """Names of the constraints that it drops."""
        return tuple(CONSTRAINT_DROPPED.findall(self.source))

    def drops_by_convention(self, name: str) -> bool:
        """True if a naming convention makes this of a name that it drops: `ck_users_` and that."""
        tails = (rf"(?:\W|_){re.escape(one)}\W*" for one in self.constraints)
        return any(re.search(rf"{tail}\Z", name, re.IGNORECASE) for tail in tails)

    def is_batch(self, table: str) -> bool:
        """True if Alembic rebuilt this table, so that its new definition is generated."""
        return self.renames.get(folded(table), "").startswith(COPY)

    @cached_property
    def computed(self) -> frozenset[str]:
        """The kinds of the constraints that it drops by a name that it computes."""
        found = {CONSTRAINT_KINDS.get(kind, "") for kind in COMPUTED_DROP.findall(self.source)}
        return frozenset(CONSTRAINT_KINDS.values()) if "" in found else frozenset(found)

    def is_recreated(self, table: str) -> bool:
        """True if it dropped this table and created another, instead of renaming a copy."""
        return folded(table) in self.dropped and folded(table) not in self.renames


def _last(found: re.Match[str], number: int) -> str:
    """The name in the last place but some, in small letters: each has five ways to be written."""
    written = found.groups()[(number - 1) * 5 : number * 5]
    return folded(next(name for name in written if name))


def entries(driver: sqlite3.Connection) -> list[Entry]:
    """The schema as it is now, row by row."""
    return driver.execute(QUERY).fetchall()


def read(driver: sqlite3.Connection) -> Schema:
    """The schema as it is now, by key."""
    return by_key(entries(driver))


def by_key(rows: Iterable[Entry]) -> Schema:
    """Rows of `sqlite_master` as a schema."""
    return {one.key: one for one in map(Object._make, rows)}


def image(schema: Schema) -> dict[str, str]:
    """The schema as a repair compares it: without Headway's and Alembic's own tables."""
    ours = (history.NAME, "alembic_version")
    return {f"{o.kind} {o.name}": o.sql for o in schema.values() if o.table not in ours}


def undeclared_losses(before: Schema, after: Schema, declared: Declared) -> list[LostObject]:
    """Objects that a revision lost and neither named nor declared."""
    return [*_objects(before, after, declared), *_parts(before, after, declared)]


# --- triggers and indexes ---------------------------------------------------------------------


def _objects(before: Schema, after: Schema, declared: Declared) -> Iterator[LostObject]:
    for one in before.values():
        if one.kind not in ("trigger", "index"):
            continue
        # A table of this name stands in every script that changes it: that is no word on the other.
        is_shared = one.kind == "trigger" and (False, one.name) in before
        if declared.drops_trigger(one.name) if is_shared else declared.names(one.name):
            continue
        table = before.get((False, one.table))
        is_table = table is not None and table.kind == "table"
        if (False, one.table) not in after or (is_table and declared.is_recreated(one.table)):
            continue  # it went with its table, which was dropped by name
        if one.kind == "trigger" and one.key not in after:
            yield LostObject(name=one.name, says=f"trigger {one.name} of {one.table}")
        elif one.kind == "index":
            yield from _index(one, before, after)


def _index(one: Object, before: Schema, after: Schema) -> Iterator[LostObject]:
    name, there = one.name, after.get(one.key)
    was = index_shape(one.sql)
    if there is not None:
        if there.sql != one.sql:
            says = _less(was, index_shape(there.sql))
            yield from (LostObject(name=name, says=f"{less} of index {name}") for less in says)
        return
    columns = _columns(before, one.table) - _columns(after, one.table)
    same = (o for o in after.values() if o.kind == "index" and o.table == one.table)
    if was.mentions(columns) or any(index_shape(other.sql) == was for other in same):
        return
    yield LostObject(name=name, says=f"index {name} of {one.table}")


def _less(was: IndexShape, now: IndexShape) -> Iterator[str]:
    if was.unique and not now.unique:
        yield "UNIQUE"
    if was.where and not now.where:
        yield f"WHERE {was.where}"
    if len(now.terms) < len(was.terms):
        yield "a column"
    if sum(term.desc for term in now.terms) < sum(term.desc for term in was.terms):
        yield "DESC"
    kept = [term.collation for term in now.terms]
    for term in was.terms:
        if term.collation and term.collation not in kept:
            yield f"COLLATE {term.collation}"


def _columns(schema: Schema, table: str) -> set[str]:
    one = schema.get((False, table))
    return set(table_shape(one.sql).columns) if one and one.kind == "table" else set()


# --- what stands inside of a table --------------------------------------------------------------


def _parts(before: Schema, after: Schema, declared: Declared) -> Iterator[LostObject]:
    for one in before.values():
        name, there = one.name, after.get(one.key)
        if one.kind != "table" or there is None or there.sql == one.sql:
            continue
        if name in declared.loses or not declared.is_batch(name):
            continue
        was, now = table_shape(one.sql), table_shape(there.sql)
        names = _column_names(was, now)
        kept = {fact.under({}) for fact in now.facts}
        for fact in was.facts:
            if fact.under(names) not in kept and not _is_meant(fact, was, now, names, declared):
                place = f"{name}.{fact.columns[0]}" if fact.of_column else name
                if place not in declared.loses:
                    yield LostObject(name=place, says=f"{fact.says} of {place}")


def _column_names(was: TableShape, now: TableShape) -> dict[str, str]:
    """How columns are called now that a revision gave other names."""
    old, new = list(was.columns), list(now.columns)
    if len(old) != len(new):
        return {}
    pairs = ((a, b) for a, b in zip(old, new, strict=True) if a != b)
    return {a: b for a, b in pairs if a not in new and b not in old}


def _is_meant(
    fact: Clause, was: TableShape, now: TableShape, names: Mapping[str, str], declared: Declared
) -> bool:
    """True if a revision names this clause, or changed what it depends on."""
    there = [names.get(column, column) for column in fact.columns]
    if any(column not in now.columns for column in there):
        return True  # it goes with its column
    if fact.word and re.search(rf"(?<![a-z]){fact.word}", declared.source.lower()):
        return not fact.of_column or all(declared.names(column) for column in fact.columns)
    if fact.name and (declared.names(fact.name) or declared.drops_by_convention(fact.name)):
        return True
    # Which constraint a computed name means, only running it can tell.
    computed = any(re.search(rf"\b{kind}\b", fact.says.lower()) for kind in declared.computed)
    return computed or (fact.is_constraint and _is_meant_by_name(fact, was, now, there, declared))


def _is_meant_by_name(
    fact: Clause, was: TableShape, now: TableShape, there: list[str], declared: Declared
) -> bool:
    """True if a naming convention gave this constraint the name that a revision drops.

    Or if it is a CHECK on a column that has another type now.
    """
    if any(set(re.split(r"\W|_", one)) & set(fact.columns) for one in declared.constraints):
        return True
    kinds = [(was.columns[a], now.columns[b]) for a, b in zip(fact.columns, there, strict=True)]
    return fact.says.startswith("CHECK") and any(a != b for a, b in kinds)
