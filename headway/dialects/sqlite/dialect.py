"""SQLite: one file, one writer, and a driver that has to be configured for real transactions."""

import contextlib
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from sqlalchemy import URL, Connection, Engine

from headway import history
from headway.dialects.base import Dialect
from headway.dialects.driver import Raw, dbapi_connection, dialect_for
from headway.dialects.facts import Facts
from headway.dialects.sqlite import begin, snapshots
from headway.dialects.sqlite import facts as sqlite_facts
from headway.dialects.sqlite import undo as sqlite_undo
from headway.dialects.sqlite.lock import FileLock
from headway.dialects.sqlite.row_guard import SqliteRowGuard, unreadable
from headway.dialects.transactions import Fate, sqlite_fate, sqlite_mark
from headway.dialects.types import (
    MOST_TABLES,
    MOST_VERSIONS,
    OURS,
    VERSIONS,
    Beside,
    Ground,
    Image,
    Lock,
    Peek,
    RowGuard,
    VersionTable,
    refuse_too_many,
    wrong_version,
)
from headway.dialects.urls import DatabaseURL
from headway.errors import (
    AddressInvalid,
    DatabaseDamaged,
    DatabaseExists,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
    VersionsUnreadable,
)

LONGEST_READ, LONGEST_PATTERN, STEPS = 1_000_000, 200, 50_000
"""While a status is read: bytes of a value or of a schema's statement, bytes of a LIKE pattern, and
steps of SQLite's machine (some milliseconds) between two looks at the clock."""
TOO_MUCH = re.compile("interrupted|too big|too complex|out of memory")


class Sqlite(Dialect):
    """SQLite."""

    name: ClassVar[str] = "sqlite"
    transactional_ddl: ClassVar[bool] = True

    def prepare(self, engine: Engine, *, settled: bool = False) -> None:
        begin.prepare(engine, settled=settled)

    @contextmanager
    def prepared(self, connection: Connection) -> Iterator[None]:
        with (
            self.borrow(dbapi_connection(connection), shared=False),
            begin.prepared(connection),
        ):
            yield

    def configure(self, raw: Raw) -> None:
        begin.configure(raw)

    @contextmanager
    def borrow(self, raw: Raw, *, shared: bool) -> Iterator[Raw]:
        pragmas = {
            name: raw.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("foreign_keys", "busy_timeout")
        }
        isolation = raw.isolation_level
        if not shared:
            self.configure(raw)
        elif not raw.in_transaction:
            # The driver begins one at the first INSERT and not at DDL, so the caller may have
            # none where they believe in one. (To set isolation_level would commit it.)
            raw.execute("BEGIN")
        try:
            yield raw
        finally:
            raw.set_progress_handler(None, 0)
            raw.set_trace_callback(None)
            for name, value in pragmas.items():
                raw.execute(f"PRAGMA {name}={value}")
            if not shared:
                raw.isolation_level = isolation

    def is_leftover(self, table: str) -> bool:
        return table.startswith(sqlite_undo.LEFTOVER)

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        query = (
            "SELECT version_num, (SELECT group_concat(name, char(10)) FROM sqlite_master "  # noqa: S608
            f"WHERE name GLOB '{sqlite_undo.LEFTOVER}*' "
            f"OR type = 'table' AND name = '{history.NAME}') "
            f"FROM {table.quoted()} LIMIT {MOST_VERSIONS + 1}"
        )
        rows = []
        before = raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_READ)
        try:
            for row in raw.execute(query):
                rows.append(row)
                if wrong_version(row[0]):
                    break  # which is refused: a view may give any number of any size
        except sqlite3.Error as error:
            if TOO_MUCH.search(str(error)):
                raise VersionsUnreadable(
                    f"The table {table.name} takes more time or memory than a version table does "
                    f"({error}), so it is something else with that name. Nothing was changed. "
                    "Check the file."
                ) from error
            if "no such table" not in str(error):
                raise
        finally:
            raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)
        if rows:
            special = set((rows[0][1] or "").split("\n")) - {""}
            names = frozenset[str]()
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            found = raw.execute(f"{query} LIMIT {MOST_TABLES + 1}").fetchall()
            refuse_too_many(found)
            names = frozenset(name for (name,) in found if not name.startswith("sqlite_"))
            special = {n for n in names if n == history.NAME or self.is_leftover(n)}
        return Peek(
            versions=tuple(version for version, _ in rows),
            tables=names,
            leftovers=tuple(sorted(special - {history.NAME})),
            has_history=history.NAME in special,
        )

    def set_timeouts(
        self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None
    ) -> None:
        raw.execute(f"PRAGMA busy_timeout={round(lock_seconds * 1000)}")
        if statement_seconds:
            deadline = [time.monotonic() + statement_seconds]

            def begins(_: str) -> None:
                deadline[0] = time.monotonic() + statement_seconds

            raw.set_trace_callback(begins)

            def too_long() -> bool:  # called between virtual machine steps
                return time.monotonic() > deadline[0]

            raw.set_progress_handler(too_long, 10_000)

    def limit_reading(self, raw: Raw, seconds: float) -> None:
        raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_READ)
        raw.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN)
        deadline = time.monotonic() + seconds
        raw.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)

    def set_read_only(self, raw: Raw) -> None:
        raw.execute("PRAGMA query_only=ON")

    def is_timeout(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.OperationalError) and (
            "database is locked" in str(error) or "interrupted" in str(error)
        )

    def exists(self, url: URL) -> bool:
        path = DatabaseURL.of(url).file
        return path is not None and path.exists()

    def make(self, url: URL, template: URL | None = None, versions: str | None = None) -> None:  # noqa: ARG002  # a file is copied whole
        path, source = _file(url), DatabaseURL.of(template).file if template else None
        try:
            if source is None:
                path.touch(exist_ok=False)
            else:
                snapshots.copy_closed(source, path)
        except FileExistsError:
            raise DatabaseExists(f"{path} already exists. Nothing was changed.") from None
        except OSError as error:
            raise DatabaseReadOnly(f"{path} cannot be created: {error.strerror}.") from error

    def is_ours(self, url: URL) -> bool:
        return Path(str(url.database)).name.startswith(OURS)

    def drop(self, url: URL) -> None:
        _file(url)  # refuses a memory
        real, path = DatabaseURL.of(url).real_file, DatabaseURL.of(url).file
        for ending in ("", *snapshots.BESIDE):
            Path(f"{real}{ending}").unlink(missing_ok=True)
        if path and path.is_symlink():
            path.unlink()  # it leads nowhere now

    def tables(self, connection: Connection) -> set[str]:
        # A boot asks this every time; the inspector takes four times as long.
        rows = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows if not name.startswith("sqlite_")}

    def lock(self, raw: Raw, url: URL, name: str) -> Lock:  # noqa: ARG002  # SQLite knows better
        opened = next(row[2] for row in raw.execute("PRAGMA database_list") if row[1] == "main")
        return FileLock(Path(os.path.realpath(opened)) if opened else None, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        text = str(error)
        if any(part in text for part in ("readonly database", "unable to open", "disk is full")):
            return DatabaseReadOnly  # a file does not come up later: waiting is no answer
        if "disk I/O error" in text:
            return DatabaseUnreachable
        if any(part in text for part in ("not a database", "malformed", "unsupported file format")):
            return DatabaseDamaged
        if any(part in text for part in ("is locked", "interrupted", "locking protocol")):
            return DatabaseInUse
        return None

    @contextmanager
    def migrating(
        self, connection: Connection, versions: VersionTable = VERSIONS
    ) -> Iterator[RowGuard | None]:
        driver = dbapi_connection(connection)
        # A batch rebuild drops the parent table: with foreign keys on, ON DELETE CASCADE takes
        # the children along. The pragma is ignored inside a transaction, so: before it.
        driver.execute("PRAGMA foreign_keys=OFF")
        connection.execution_options(write=True)
        try:
            yield SqliteRowGuard(driver, versions)
        finally:
            connection.execution_options(write=False)
            with contextlib.suppress(sqlite3.Error):
                driver.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def savepoint(
        self, connection: Connection, versions: VersionTable = VERSIONS
    ) -> Iterator[RowGuard | None]:
        yield SqliteRowGuard(dbapi_connection(connection), versions)

    @contextmanager
    def replaying(
        self, raw: Raw, versions: VersionTable = VERSIONS, *, counting: bool = True
    ) -> Iterator[RowGuard | None]:
        add_functions(raw)
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("BEGIN IMMEDIATE")
        try:
            guard = SqliteRowGuard(raw, versions)
            guard.start(counting=counting)
            yield guard
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:  # some errors end it themselves
                raw.execute("ROLLBACK")
            raise
        finally:
            raw.execute("PRAGMA foreign_keys=ON")

    def mark(self, raw: Raw) -> int | None:
        return sqlite_mark(raw)

    def fate(self, raw: Raw, mark: int, beside: Beside | None = None) -> Fate:  # noqa: ARG002
        return sqlite_fate(raw, mark)

    def begin_again(self, raw: Raw) -> None:
        if not raw.in_transaction:
            raw.execute("BEGIN IMMEDIATE")

    def unreadable(self, connection: Connection) -> frozenset[str]:
        return unreadable(dbapi_connection(connection))

    def snapshot(self, raw: Raw, url: URL, label: str) -> Path | None:
        path, named = DatabaseURL.of(url).file, Path(str(url.database))
        if path is None or not raw.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
            return None
        # Told as the file was: somebody who gave `notes.db` is shown a name beside it.
        return snapshots.take(raw, named if named.absolute() == path else path, label)

    def image(self, connection: Connection) -> dict[str, str] | None:
        return sqlite_undo.image(connection)

    def comparable(self, before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
        return sqlite_undo.comparable(before, now)

    def undo(self, connection: Connection, before: Image, now: Image) -> list[str]:  # noqa: ARG002
        return sqlite_undo.undo(before, now)

    def object_names(self, key: str) -> tuple[str, ...]:
        return (key.partition(" ")[2],)

    def describe(self, key: str) -> str:
        return f"the {key}"  # "table person", "pragma user_version"

    def facts(self, connection: Connection) -> Facts:
        return sqlite_facts.facts(connection)

    @contextmanager
    def scratch(
        self,
        connection: Connection,
        ground: Ground | None = None,  # noqa: ARG002
    ) -> Iterator[URL]:
        with tempfile.TemporaryDirectory(prefix="headway-scratch-") as folder:
            path = Path(folder, "scratch.sqlite")
            yield URL.create(connection.engine.url.drivername, database=str(path))


def add_functions(raw: Raw) -> None:
    """Define the SQL functions that every connection of SQLAlchemy's has.

    `floor` takes the place of SQLite's own, whose result has another type.
    """
    if define := dialect_for("sqlite").on_connect():
        define(raw)


def _file(url: URL) -> Path:
    path = DatabaseURL.of(url).file
    if path is None:
        raise AddressInvalid("A database in memory is gone with its connection: name a file.")
    return path
