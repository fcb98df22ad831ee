"""No row goes missing unannounced: SQLite's rows, counted before and after each revision."""

import sqlite3
from collections import Counter
from typing import Any

from app.errors import ForeignKeysBroken, RowsLost
from app.migrator.dialects.base import RowGuard


class SqliteRowGuard(RowGuard):
    """Counts the rows of every table before and after each revision."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self.driver = driver
        self.rows = self._count()
        self.orphans = self._orphans()

    def check(self, revision: str, *, announced: Any) -> None:
        before, self.rows = self.rows, self._count()
        lost = {
            table: count - self.rows[table]
            for table, count in before.items()
            # A table that is gone was dropped by its name: that is said plainly enough.
            if table in self.rows and self.rows[table] < count and table not in announced
        }
        if lost:
            told = ", ".join(f"{count} of {table}" for table, count in lost.items())
            raise RowsLost(
                f"Revision {revision} loses rows: {told}. Nothing was changed. If it means to, "
                f"say so in the script: loses_rows = {tuple(lost)!r}",
                revision=revision,
                lost=lost,
            )

    def finish(self) -> None:
        if new := self._orphans() - self.orphans:
            (table, parent), count = new.most_common(1)[0]
            raise ForeignKeysBroken(
                f"{count} rows of {table} would point at rows of {parent} that do not exist. "
                "Nothing was changed.",
                table=table,
                parent=parent,
                rows=count,
            )

    def _count(self) -> dict[str, int]:
        tables = self.driver.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        counts = {}
        for (table,) in tables:
            quoted = table.replace('"', '""')
            query = f'SELECT count(*) FROM "{quoted}"'  # noqa: S608  # a quoted name
            counts[table] = self.driver.execute(query).fetchone()[0]
        return {t: n for t, n in counts.items() if t not in ("alembic_version", "headway_history")}

    def _orphans(self) -> Counter[tuple[str, str]]:
        rows = self.driver.execute("PRAGMA foreign_key_check").fetchall()
        return Counter((row[0], row[2]) for row in rows)
