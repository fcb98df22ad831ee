"""MySQL and MariaDB: every DDL statement commits, so a failed step has to be seen and undone."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, select, text
from sqlalchemy.exc import DBAPIError

from app.errors import (
    DatabaseDenied,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
    RepairRefused,
)
from app.migrator import history
from app.migrator.dialects.base import Dialect, Lock
from app.migrator.values import Holder

DENIED = {1044, 1045, 1698}
READ_ONLY = {1290, 1792, 1836}
UNREACHABLE = {1040, 1049, 1053, 2002, 2003, 2005, 2006, 2013}
# Lines of SHOW CREATE TABLE that are no part of the definition's inside
OUTSIDE = re.compile(r"^(CREATE TABLE|\))")


class Mysql(Dialect):
    """MySQL and MariaDB."""

    name: ClassVar[str] = "mysql"
    transactional_ddl: ClassVar[bool] = False

    def prepare(self, engine: Engine) -> None:
        event.listen(engine, "connect", _on_connect)

    def lock(self, connection: Connection, name: str) -> Lock:
        return NamedLock(connection, name)

    def refusal(self, error: DBAPIError) -> type[HeadwayError] | None:
        code = error.orig.args[0] if error.orig and error.orig.args else None
        if code in DENIED:
            return DatabaseDenied
        if code in READ_ONLY:
            return DatabaseReadOnly
        return DatabaseUnreachable if code in UNREACHABLE or code == 0 else None

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


def _on_connect(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")


class NamedLock(Lock):
    """`GET_LOCK`, held by the session that migrates.

    Names are server-wide, so the database is in it.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        wide = f"{connection.engine.url.database}:{name}"
        self.name = "headway:" + hashlib.sha256(wide.encode()).hexdigest()[:40]

    def try_acquire(self, me: Holder) -> bool:  # noqa: ARG002
        return self._ask("SELECT GET_LOCK(:name, 0)") == 1

    def holder(self) -> Holder | None:
        """The server tells a connection, not a process; the history knows who runs a revision."""
        session = self._ask("SELECT IS_USED_LOCK(:name)")
        if session is None:
            return None
        with self.connection.begin():
            row = self.connection.execute(
                text("SELECT host, time FROM information_schema.processlist WHERE id = :id"),
                {"id": session},
            ).first()
            running = self._running()
        if running:
            return running
        since = datetime.now(UTC) - timedelta(seconds=int(row[1])) if row else None
        return Holder(host=str(row[0]).rpartition(":")[0] if row else None, since=since)

    def _running(self) -> Holder | None:
        if history.NAME not in Mysql().tables(self.connection):
            return None
        table = history.table
        row = self.connection.execute(
            select(table.c.host, table.c.pid, table.c.release, table.c.started_at)
            .where(table.c.outcome == "running")
            .order_by(table.c.id.desc())
        ).first()
        if row is None:
            return None
        return Holder(host=row[0], pid=row[1], release=row[2], since=row[3].replace(tzinfo=UTC))

    def release(self) -> None:
        self._ask("SELECT RELEASE_LOCK(:name)")

    def _ask(self, query: str) -> object:
        with self.connection.begin():
            return self.connection.execute(text(query), {"name": self.name}).scalar()


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
