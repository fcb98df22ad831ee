"""MySQL and MariaDB: every DDL statement commits, so a failed step has to be seen and undone."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from sqlalchemy import URL, Connection, NullPool, create_engine

from app.errors import (
    DatabaseDenied,
    DatabaseExists,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
    RepairRefused,
)
from app.migrator import history
from app.migrator.dialects.base import Dialect, Lock, Peek, VersionTable
from app.migrator.driver import Raw, ask, closing, open_raw
from app.migrator.values import Holder

DENIED = {1044, 1045, 1698}
READ_ONLY = {1290, 1792, 1836}
UNREACHABLE = {1040, 1049, 1053, 2002, 2003, 2005, 2006, 2013}
NO_TABLE, NO_DATABASE, DATABASE_EXISTS = 1146, 1046, 1007
BRAKES = {1205, 1969, 3024}

# Lines of SHOW CREATE TABLE that are no part of the definition's inside
OUTSIDE = re.compile(r"^(CREATE TABLE|\))")


class Mysql(Dialect):
    """MySQL and MariaDB."""

    name: ClassVar[str] = "mysql"
    transactional_ddl: ClassVar[bool] = False
    quote: ClassVar[str] = "`"

    def lock(self, raw: Raw, url: URL, name: str) -> Lock:
        return NamedLock(raw, url, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        code = error.args[0] if error.args else None
        if code in DENIED:
            return DatabaseDenied
        if code in READ_ONLY:
            return DatabaseReadOnly
        return DatabaseUnreachable if code in UNREACHABLE or code == 0 else None

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        try:
            versions = ask(raw, f"SELECT version_num FROM {table.quoted(self.quote)}")  # noqa: S608
        except Exception as error:
            if not error.args or error.args[0] not in (NO_TABLE, NO_DATABASE):
                raise
            versions = []
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        if versions:
            query += f" AND table_name = '{history.NAME}'"
        names = frozenset(name for (name,) in ask(raw, query))
        return Peek(
            versions=tuple(sorted(version for (version,) in versions)),
            tables=frozenset() if versions else names,
            has_history=history.NAME in names,
        )

    def brake(self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None) -> None:
        # The server's own default waits a day for the lock on a table's definition.
        _run(raw, f"SET SESSION lock_wait_timeout = {max(1, round(lock_seconds))}")
        if statement_seconds and "MariaDB" in str(ask(raw, "SELECT VERSION()")[0][0]):
            _run(raw, f"SET SESSION max_statement_time = {statement_seconds}")

    def is_brake(self, error: BaseException) -> bool:
        return bool(error.args) and error.args[0] in BRAKES

    def exists(self, url: URL) -> bool:
        query = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
        with _maintenance(url) as raw:
            return bool(ask(raw, query, [url.database]))

    def make(self, url: URL, template: URL | None = None) -> None:
        with _maintenance(url) as raw:
            try:
                _run(raw, f"CREATE DATABASE {_quoted(url)}{_charset(raw, template)}")
            except Exception as error:
                if not error.args or error.args[0] != DATABASE_EXISTS:
                    raise
                raise DatabaseExists(
                    f"{url.render_as_string()} is there already. Nothing was changed."
                ) from error
            if template:
                _copy(raw, template, url)

    def drop(self, url: URL) -> None:
        with _maintenance(url) as raw:
            _run(raw, f"DROP DATABASE IF EXISTS {_quoted(url)}")

    def image(self, connection: Connection) -> dict[str, str] | None:
        names = self.tables(connection) - {history.NAME, "alembic_version"}
        return {name: _definition(connection, name) for name in sorted(names)}

    def undo(self, before: dict[str, str], now: dict[str, str]) -> list[str]:
        if gone := sorted(before.keys() - now.keys()):
            raise RepairRefused(
                f"The failed revision dropped {', '.join(gone)}. Restore from a backup, or finish "
                "the revision by hand and run `flask catalog repair --as applied`."
            )
        statements = [f"DROP TABLE `{name}`" for name in sorted(now.keys() - before.keys())]
        for name in sorted(before):
            statements += _undo_table(name, before[name], now[name])
        return statements

    @contextmanager
    def scratch(self, connection: Connection) -> Iterator[Connection]:
        name = f"headway_scratch_{connection.exec_driver_sql('SELECT CONNECTION_ID()').scalar()}"
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        connection.rollback()
        own = create_engine(connection.engine.url.set(database=name), poolclass=NullPool)
        self.prepare(own)
        try:
            with own.connect() as empty:
                yield empty
        finally:
            own.dispose()
            connection.exec_driver_sql(f"DROP DATABASE {name}")
            connection.rollback()


@contextmanager
def _maintenance(url: URL) -> Iterator[Raw]:
    """A session on the server, in no database."""
    with closing(open_raw(url.set(database=None))) as raw:
        yield raw


def _quoted(url: URL) -> str:
    name = str(url.database).replace("`", "``")
    return f"`{name}`"


def _charset(raw: Raw, template: URL | None) -> str:
    if template is None:
        return ""
    query = (
        "SELECT default_character_set_name, default_collation_name "
        "FROM information_schema.schemata WHERE schema_name = %s"
    )
    charset, collation = ask(raw, query, [template.database])[0]
    return f" CHARACTER SET {charset} COLLATE {collation}"


def _copy(raw: Raw, source: URL, target: URL) -> None:
    """Copy tables with their rows, then what stands on tables: a server without templates."""
    _run(raw, "SET foreign_key_checks = 0")
    _run(raw, f"USE {_quoted(target)}")
    here = _quoted(source)
    kinds = ask(raw, f"SHOW FULL TABLES FROM {here}")
    for name in (name for name, kind in kinds if kind == "BASE TABLE"):
        _run(raw, ask(raw, f"SHOW CREATE TABLE {here}.`{name}`")[0][1])
        _run(raw, f"INSERT INTO `{name}` SELECT * FROM {here}.`{name}`")  # noqa: S608
    for kind, name in _others(raw, source):
        row = ask(raw, f"SHOW CREATE {kind} {here}.`{name}`")[0]
        created = row[1] if kind == "VIEW" else row[2]
        _run(raw, created.replace(f"{here}.", ""))
    raw.commit()


def _others(raw: Raw, source: URL) -> list[tuple[str, str]]:
    query = (
        "SELECT 'VIEW', table_name FROM information_schema.views WHERE table_schema = %s "
        "UNION ALL SELECT routine_type, routine_name FROM information_schema.routines "
        "WHERE routine_schema = %s "
        "UNION ALL SELECT 'TRIGGER', trigger_name FROM information_schema.triggers "
        "WHERE trigger_schema = %s"
    )
    return [(kind, name) for kind, name in ask(raw, query, [source.database] * 3)]


def _run(raw: Raw, statement: str) -> None:
    with raw.cursor() as cursor:
        cursor.execute(statement)


class NamedLock(Lock):
    """`GET_LOCK`, held by the session that migrates.

    Names are server-wide, so the database is in it.
    """

    def __init__(self, raw: Raw, url: URL, name: str) -> None:
        self.raw = raw
        self.name = "headway:" + hashlib.sha256(f"{url.database}:{name}".encode()).hexdigest()[:40]

    def try_acquire(self, me: Holder) -> bool:  # noqa: ARG002
        return self._ask("SELECT GET_LOCK(%s, 0)") == 1

    def holder(self) -> Holder | None:
        """The server tells a connection, not a process; the history knows who runs a revision."""
        session = self._ask("SELECT IS_USED_LOCK(%s)")
        if session is None:
            return None
        rows = ask(
            self.raw,
            "SELECT host, time FROM information_schema.processlist WHERE id = %s",
            [session],
        )
        if running := self._running():
            return running
        if not rows:
            return Holder()
        host, seconds = rows[0]
        since = datetime.now(UTC) - timedelta(seconds=int(seconds))
        return Holder(host=str(host).rpartition(":")[0], since=since)

    def _running(self) -> Holder | None:
        if not ask(self.raw, "SHOW TABLES LIKE %s", [history.NAME]):
            return None
        rows = ask(
            self.raw,
            f"SELECT host, pid, `release`, started_at FROM {history.NAME} "  # noqa: S608  # our name
            "WHERE outcome = 'running' ORDER BY id DESC",
        )
        if not rows:
            return None
        host, pid, release, since = rows[0]
        return Holder(host=host, pid=pid, release=release, since=since.replace(tzinfo=UTC))

    def release(self) -> None:
        self._ask("SELECT RELEASE_LOCK(%s)")

    def _ask(self, query: str) -> object:
        return ask(self.raw, query, [self.name])[0][0]


def _definition(connection: Connection, table: str) -> str:
    created = connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1]
    return re.sub(r" AUTO_INCREMENT=\d+", "", str(created))


def _undo_table(table: str, before: str, now: str) -> list[str]:
    """The statements that give one table its definition back, line by line."""
    old, new = _lines(before), _lines(now)
    if lost := [name for name in old.keys() - new.keys() if name.startswith("`")]:
        raise RepairRefused(
            f"The failed revision dropped {', '.join(lost)} of {table}. Restore from a backup, or "
            "finish the revision by hand and run `flask catalog repair --as applied`."
        )
    added = [f"DROP {_kind(name)}" for name in new.keys() - old.keys()]
    # Keys and constraints first: a column cannot go while they stand on it.
    added.sort(key=lambda clause: clause.startswith("DROP COLUMN"))
    changed = [f"MODIFY COLUMN {old[n]}" for n in old if n in new and old[n] != new[n]]
    restored = [f"ADD {old[n]}" for n in old.keys() - new.keys()]
    return [f"ALTER TABLE `{table}` {clause}" for clause in added + changed + restored]


def _lines(definition: str) -> dict[str, str]:
    """The lines of SHOW CREATE TABLE by what they define: "`email`", "KEY `ix`", …."""
    found = {}
    for raw in definition.splitlines():
        line = raw.strip().rstrip(",")
        if OUTSIDE.match(line):
            continue
        name = re.match(r"(?:(?:UNIQUE )?(?:FULLTEXT )?KEY |CONSTRAINT )?`[^`]*`|PRIMARY KEY", line)
        if name:
            found[name.group().replace("UNIQUE ", "")] = line
    return found


def _kind(name: str) -> str:
    if name.startswith("`"):
        return f"COLUMN {name}"
    if name == "PRIMARY KEY":
        return name
    return name.replace("KEY ", "INDEX ") if name.startswith("KEY") else name
