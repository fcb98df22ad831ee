"""SQLite's row guard: rows counted before and after each revision.

What cannot be counted on this connection is left out: virtual tables and what they keep their
content in, and tables with a collation, a function or a module that only the application has.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from headway import history
from headway.dialects.sqlite import objects
from headway.dialects.types import RowGuard, VersionTable
from headway.errors import ForeignKeysBroken, ObjectsLost, RowsLost

MISMATCH = "foreign key mismatch"
Orphans = Counter[tuple[str, str]]


class SqliteRowGuard(RowGuard):
    """Counts the rows of every table before and after each revision, and keeps the schema."""

    def __init__(self, driver: sqlite3.Connection, versions: VersionTable) -> None:
        self.driver = driver
        self.bookkeeping = {history.NAME}
        self.bookkeeping.add(_key(versions.schema or "main", versions.name))

    @property
    def image(self) -> dict[str, str]:  # type: ignore[override]
        return objects.image(self.schema)

    def start(self, *, counting: bool = True) -> None:
        entries = objects.entries(self.driver)
        self.tables, self.schema = _tables(entries), objects.by_key(entries)
        text = _text(entries)
        self.reacts, self.refers = self._reacts(entries, text), "REFERENCES" in text
        self.rows = self._count() if counting or self.reacts else None
        self.unasked: set[str] = set()
        self.orphans = self._orphans(entries) if self.refers else Counter()

    def check(
        self,
        revision: str,
        *,
        announced: Any,
        loses: Iterable[str] = (),
        statements: Sequence[str] | None = None,
        script: str | None = None,
    ) -> None:
        before, self.rows = self.rows, self._count()
        assert before is not None  # noqa: S101  # else nothing was to be checked
        lost = {
            table: count - self.rows[table]
            for table, count in before.items()
            # A table that is gone was dropped by its name: that is said plainly enough.
            if table in self.rows and self.rows[table] < count and table not in announced
        }
        if lost:
            text = ", ".join(f"{count} of {table}" for table, count in lost.items())
            raise RowsLost(
                f"Revision {revision} loses rows: {text}. Nothing was changed. If this is "
                f"intended, declare it in the script: loses_rows = {tuple(lost)!r}",
                revision=revision,
                lost=lost,
            )
        schema, self.schema = self.schema, objects.read(self.driver)
        if statements is None or schema == self.schema:
            return
        declared = objects.Declared(loses=frozenset(loses), statements=statements, script=script)
        if gone := objects.undeclared_losses(schema, self.schema, declared):
            raise objects_lost(revision, gone)

    def finish(self) -> None:
        entries, asked = objects.entries(self.driver), self.unasked
        if "REFERENCES" not in _text(entries):
            self.tables, self.orphans = _tables(entries), Counter()
            return
        tables, before, now = _tables(entries), self.orphans, self._orphans(entries)
        if now == before:
            self.tables = tables
            return
        new = Counter({key: count for key, count in (now - before).items() if key[0] not in asked})
        # Under another name they are the same rows: a rename is no reason to refuse.
        moved = sum(n for key, n in (before - now).items() if not tables.issuperset(key))
        for key in [key for key in new if not self.tables.issuperset(key)]:
            taken = min(moved, new[key])
            moved -= taken
            new[key] -= taken
        self.tables, self.orphans = tables, now
        if new := +new:
            (table, parent), count = new.most_common(1)[0]
            raise ForeignKeysBroken(
                f"{count} rows of {table} would point at rows of {parent} that do not exist. "
                "Nothing was changed.",
                table=table,
                parent=parent,
                rows=count,
            )

    def _count(self) -> dict[str, int]:
        counts = {}
        for schema, table in _ordinary(self.driver):
            key = _key(schema, table)
            if key not in self.bookkeeping:
                counts[key] = _rows(self.driver, f"{_quoted(schema)}.{_quoted(table)}")
        return {key: count for key, count in counts.items() if count is not None}

    def _reacts(self, entries: Sequence[objects.Entry], text: str) -> bool:
        """True if a trigger, a REPLACE or another schema is there, so that an INSERT may delete."""
        if any(kind == "trigger" for kind, *_ in entries) or "REPLACE" in text:
            return True
        return len(self.driver.execute("PRAGMA database_list").fetchall()) > 1

    def _orphans(self, entries: Sequence[objects.Entry]) -> Orphans:
        """Rows that point at nothing, by their table and the table they point at."""
        try:
            rows = self.driver.execute("PRAGMA main.foreign_key_check").fetchall()
        except sqlite3.OperationalError as error:
            if not _is_unknown(error):
                raise
            rows = [row for table in sorted(_tables(entries)) for row in self._orphans_of(table)]
        return Counter((row[0], row[2]) for row in rows)

    def _orphans_of(self, table: str) -> list[Any]:
        try:
            query = f"PRAGMA main.foreign_key_check({_quoted(table)})"
            return self.driver.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if not _is_unknown(error):
                raise
            self.unasked.add(table)
            return []


def objects_lost(revision: str, gone: Sequence[objects.LostObject]) -> ObjectsLost:
    """The refusal of a revision that loses parts of the schema without a word."""
    text = ", ".join(one.says for one in gone)
    names = tuple(dict.fromkeys(one.name for one in gone))
    return ObjectsLost(
        f"Revision {revision} loses: {text}. Nothing was changed. Create them again in the script "
        "after the table is rebuilt. If the loss is intended, declare it in the script: loses = "
        f"{names!r}",
        revision=revision,
        lost=[one.says for one in gone],
    )


def unreadable(driver: sqlite3.Connection) -> frozenset[str]:
    """Virtual tables whose module this connection does not have."""
    rows = driver.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'"
    ).fetchall()
    return frozenset(name for (name,) in rows if not _is_readable(driver, name))


def _is_readable(driver: sqlite3.Connection, table: str) -> bool:
    try:
        driver.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
    except sqlite3.OperationalError as error:
        if not objects.CANNOT_ASK.search(str(error)):
            raise
        return False
    return True


def _is_unknown(error: sqlite3.OperationalError) -> bool:
    return bool(MISMATCH in str(error) or objects.CANNOT_ASK.search(str(error)))


def _tables(entries: Iterable[objects.Entry]) -> set[str]:
    return {name for kind, name, _, _ in entries if kind == "table"}


def _text(entries: Iterable[objects.Entry]) -> str:
    """All statements of a schema, in capital letters."""
    return "\n".join(sql for *_, sql in entries).upper()


def _ordinary(driver: sqlite3.Connection) -> list[tuple[str, str]]:
    """The tables that hold rows of their own, with their schema: `main`, or one attached."""
    found = []
    for _, schema, _ in driver.execute("PRAGMA database_list").fetchall():
        if schema == "temp":
            continue
        rows = driver.execute(
            "SELECT name, coalesce(sql, '') LIKE 'CREATE VIRTUAL%' "  # noqa: S608  # a quoted name
            f"FROM {_quoted(schema)}.sqlite_master "
            r"WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
        ).fetchall()
        virtual = {name for name, is_virtual in rows if is_virtual}
        hidden = virtual | (_shadows(driver, schema, virtual) if virtual else set())
        found += [(schema, name) for name, _ in rows if name not in hidden]
    return found


def _shadows(driver: sqlite3.Connection, schema: str, virtual: set[str]) -> set[str]:
    """Tables in which virtual tables store their content; a rebuilt index has other rows."""
    if sqlite3.sqlite_version_info >= (3, 37):
        rows = driver.execute(f"PRAGMA {_quoted(schema)}.table_list").fetchall()
        return {row[1] for row in rows if row[2] == "shadow"}
    names = driver.execute(f"SELECT name FROM {_quoted(schema)}.sqlite_master")  # noqa: S608
    return {name for (name,) in names if name.rpartition("_")[0] in virtual}


def _rows(driver: sqlite3.Connection, table: str) -> int | None:
    """How many; None for a table that this connection cannot read."""
    for how in ("", " NOT INDEXED"):  # an index is quicker, and may have a collation of its own
        try:
            query = f"SELECT count(*) FROM {table}{how}"  # noqa: S608  # a quoted name
            return int(driver.execute(query).fetchone()[0])
        except sqlite3.OperationalError as error:
            if not objects.CANNOT_ASK.search(str(error)):
                raise
    return None


def _key(schema: str, table: str) -> str:
    return table if schema == "main" else f"{schema}.{table}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
