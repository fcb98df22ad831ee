"""MySQL and MariaDB: each DDL statement commits, so a failed step must be found and undone."""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import ClassVar

from sqlalchemy import URL, Connection

from headway import history
from headway.dialects.base import Dialect
from headway.dialects.driver import Raw, ask, closing, dbapi_connection, display_url, open_raw
from headway.dialects.facts import Facts
from headway.dialects.mysql import copy as mysql_copy
from headway.dialects.mysql import facts as mysql_facts
from headway.dialects.mysql import image as mysql_image
from headway.dialects.mysql import undo as mysql_undo
from headway.dialects.translation import opened, translating
from headway.dialects.types import (
    MOST_TABLES,
    MOST_VERSIONS,
    Ground,
    Image,
    Lock,
    Peek,
    VersionTable,
    refuse_too_many,
)
from headway.dialects.urls import DatabaseURL
from headway.errors import (
    DatabaseDenied,
    DatabaseExists,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
)
from headway.types import Holder

NO_RIGHT = {1044, 1142, 1143, 1227, 1370, 1419}
DENIED = {1045, 1130, 1698, *NO_RIGHT}
READ_ONLY = {1021, 1114, 1290, 1792, 1836}  # the first two: no space is left
UNREACHABLE = {
    *(1040, 1049, 1053, 1129, 1203, 1226, 1927, 4031),
    *(2001, 2002, 2003, 2004, 2005, 2006, 2007, 2012, 2013, 2026, 2055),
}
NO_TABLE, NO_DATABASE, DATABASE_EXISTS = 1146, 1046, 1007
INTERRUPTED = 1317
TIMEOUTS = {1205, 1213, 1969, 3024}  # a lock, a deadlock, a statement on MariaDB and on MySQL
MAY_NOT = {1044, 1142, 1227}
POWERS = re.compile(r"\b(ALL PRIVILEGES|FILE|SUPER|SHUTDOWN|CREATE USER)\b[^`]* ON \*\.\* TO")
LIMITS = {True: ("max_statement_time", 1), False: ("max_execution_time", 1000)}
"""How long a SELECT may take, and in what of a second: on MariaDB, and on MySQL."""
SCRATCH = "headway_scratch_"
MAY_MAKE_NONE = (
    "To compare {url}, the revisions are run in a scratch database on the same server, and this "
    "account may not create one. Nothing was changed. Let an administrator run GRANT ALL "
    r"ON `headway\_scratch\_%`.* TO this account, or compare with an account that may."
)
SETTINGS = (
    *("lock_wait_timeout", "innodb_lock_wait_timeout", "max_statement_time"),
    "foreign_key_checks",
)
"""What we set in a session."""


class Mysql(Dialect):
    """MySQL and MariaDB."""

    name: ClassVar[str] = "mysql"
    transactional_ddl: ClassVar[bool] = False
    quote: ClassVar[str] = "`"

    @contextmanager
    def borrow(self, raw: Raw, *, shared: bool) -> Iterator[Raw]:
        if shared:
            yield raw
            return
        autocommit = raw.get_autocommit()
        raw.rollback()
        raw.autocommit(False)
        names = ", ".join(f"'{name}'" for name in SETTINGS)
        settings = ask(raw, f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")
        try:
            yield raw
        finally:
            with contextlib.suppress(Exception):  # its session is gone, and its settings with it
                raw.rollback()
                for name, value in settings:
                    _run(raw, f"SET SESSION {name} = {value}")
                raw.autocommit(autocommit)

    def lock(self, raw: Raw, url: URL, name: str) -> Lock:
        return NamedLock(raw, url, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        code = error.args[0] if error.args else None
        if code in DENIED:
            return DatabaseDenied
        if code in READ_ONLY:
            return DatabaseReadOnly
        if code in TIMEOUTS or code == INTERRUPTED:
            return DatabaseInUse
        return DatabaseUnreachable if code in UNREACHABLE or code == 0 else None

    def missing_right(self, error: BaseException, statement: str) -> str | None:  # noqa: ARG002
        code = error.args[0] if error.args else None
        if code in NO_RIGHT:  # which its words name
            return "the right"
        return None

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        try:
            query = f"SELECT version_num FROM {table.quoted(self.quote)}"  # noqa: S608
            versions = ask(raw, f"{query} LIMIT {MOST_VERSIONS + 1}")
        except Exception as error:
            if not error.args or error.args[0] not in (NO_TABLE, NO_DATABASE):
                raise
            versions = []
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        if versions:
            query += f" AND table_name = '{history.NAME}'"
        found = ask(raw, f"{query} LIMIT {MOST_TABLES + 1}")
        refuse_too_many(found)
        names = frozenset(name for (name,) in found)
        return Peek(
            versions=tuple(version for (version,) in versions),
            tables=frozenset() if versions else names,
            has_history=history.NAME in names,
        )

    def set_timeouts(
        self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None
    ) -> None:
        # The server's own default waits a day for the lock on a table's definition.
        seconds = max(1, round(lock_seconds))
        _run(raw, f"SET SESSION lock_wait_timeout = {seconds}")
        _run(raw, f"SET SESSION innodb_lock_wait_timeout = {seconds}")
        if statement_seconds and "MariaDB" in str(ask(raw, "SELECT VERSION()")[0][0]):
            _run(raw, f"SET SESSION max_statement_time = {statement_seconds}")

    def limit_reading(self, raw: Raw, seconds: float) -> None:
        name, unit = LIMITS["MariaDB" in raw.get_server_info()]
        _run(raw, f"SET SESSION {name} = {seconds * unit:g}")

    def set_read_only(self, raw: Raw) -> None:
        _run(raw, "SET SESSION TRANSACTION READ ONLY")

    def power_beyond(self, raw: Raw) -> str | None:
        granted = " ".join(str(row[0]) for row in ask(raw, "SHOW GRANTS"))
        found = POWERS.search(granted)
        return f"the privilege {found[1]}" if found else None

    def is_timeout(self, error: BaseException) -> bool:
        return bool(error.args) and error.args[0] in TIMEOUTS

    def exists(self, url: URL) -> bool:
        query = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
        with _maintenance(self, url) as raw:
            return bool(ask(raw, query, [DatabaseURL.of(url).name]))

    def make(self, url: URL, template: URL | None = None, versions: str | None = None) -> None:
        with _maintenance(self, url) as raw:
            try:
                charset = mysql_copy.charset(raw, template) if template else ""
                _run(raw, f"CREATE DATABASE {_quoted(url)}{charset}")
            except Exception as error:
                if not error.args or error.args[0] != DATABASE_EXISTS:
                    raise
                raise DatabaseExists(
                    f"{display_url(url)} already exists. Nothing was changed."
                ) from error
            try:
                if template:
                    mysql_copy.copy(raw, template, url, versions)
            except BaseException:
                self.drop(url)  # half a copy is none, and its session may be gone
                raise

    def drop(self, url: URL) -> None:
        with _maintenance(self, url) as raw:
            _run(raw, f"DROP DATABASE IF EXISTS {_quoted(url)}")

    def image(self, connection: Connection) -> dict[str, str] | None:
        database = connection.exec_driver_sql("SELECT DATABASE()").scalar_one()
        return mysql_image.read(dbapi_connection(connection), str(database))

    def comparable(self, before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
        return mysql_undo.comparable(before, now)

    def undo(self, connection: Connection, before: Image, now: Image) -> list[str]:
        return mysql_undo.undo(connection, before, now)

    def undoing(self, connection: Connection) -> AbstractContextManager[None]:
        return mysql_undo.undoing(connection)

    def differences(self, expected: Image, found: Image) -> list[str]:
        return mysql_undo.differences(expected, found)

    def object_names(self, key: str) -> tuple[str, ...]:
        return mysql_undo.object_names(key)

    def describe(self, key: str) -> str:
        return mysql_undo.describe(key)

    def facts(self, connection: Connection) -> Facts:
        return mysql_facts.facts(connection)

    def ground(
        self,
        connection: Connection,
        schemas: Collection[str] = (),
        *,
        furnished: bool = False,
    ) -> Ground:
        plain = super().ground(connection, schemas, furnished=furnished)
        query = "SELECT @@character_set_database, @@collation_database"
        name, collation = connection.exec_driver_sql(query).one()
        return replace(plain, options=f" CHARACTER SET {name} COLLATE {collation}")

    @contextmanager
    def scratch(self, connection: Connection, ground: Ground | None = None) -> Iterator[URL]:
        ground = ground or self.ground(connection)
        url = connection.engine.url
        name = f"{SCRATCH}{os.getpid()}_{secrets.token_hex(4)}"
        with closing(open_raw(url._replace(database=None))) as raw:
            # A lock of this name goes with the session: who finds the one without the other may
            # tidy.
            ask(raw, "SELECT GET_LOCK(%s, 0)", [name])
            _tidy(raw)
            try:
                _run(raw, f"CREATE DATABASE {name}{ground.options}")
            except Exception as error:
                if not error.args or error.args[0] not in MAY_NOT:
                    raise
                raise DatabaseDenied(MAY_MAKE_NONE.format(url=display_url(url))) from error
            try:
                yield url.set(database=name)
            finally:
                self.drop(url.set(database=name))


def _tidy(raw: Raw) -> None:
    """Drop scratch databases of comparisons that were killed."""
    pattern = SCRATCH.replace("_", r"\_") + "%"
    for (name,) in ask(raw, "SHOW DATABASES LIKE %s", [pattern]):
        if ask(raw, "SELECT IS_FREE_LOCK(%s)", [name])[0][0]:
            with contextlib.suppress(Exception):  # another account's, that we may only see
                _run(raw, f"DROP DATABASE IF EXISTS {mysql_image.quoted(name)}")


@contextmanager
def _maintenance(dialect: Dialect, url: URL) -> Iterator[Raw]:
    """A session on the server, in no database."""
    with translating(dialect, url, all=True), closing(opened(url._replace(database=None))) as raw:
        yield raw


def _quoted(url: URL) -> str:
    return mysql_image.quoted(DatabaseURL.of(url).name)


def _run(raw: Raw, statement: str) -> None:
    with raw.cursor() as cursor:
        cursor.execute(statement)


class NamedLock(Lock):
    """`GET_LOCK`, held by the session that migrates.

    Names are server-wide, so the database is in it. Where capital letters make no difference
    to a server, `Shop` and `shop` are one: the lock of the small one is taken too.
    """

    def __init__(self, raw: Raw, url: URL, name: str) -> None:
        self.raw = raw
        self.about = name
        self.database = url.database

    @cached_property
    def names(self) -> list[str]:
        """All that are to be had, in the order in which everybody takes them."""
        database = self.database or str(ask(self.raw, "SELECT DATABASE()")[0][0])
        spellings = [database]
        if database != database.lower() and self._ask("SELECT @@lower_case_table_names") != 0:
            spellings.insert(0, database.lower())
        return [_named(f"{spelling}:{self.about}") for spelling in spellings]

    def try_acquire(self, me: Holder) -> bool:  # noqa: ARG002
        taken: list[str] = []
        for name in self.names:
            if self._ask("SELECT GET_LOCK(%s, 0)", name) != 1:
                for other in taken:
                    self._ask("SELECT RELEASE_LOCK(%s)", other)
                return False
            taken.append(name)
        return True

    def holder(self) -> Holder | None:
        """The server tells a connection, not a process; the history knows who runs a revision."""
        held = (self._ask("SELECT IS_USED_LOCK(%s)", name) for name in self.names)
        session = next(filter(None, held), None)
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
        for name in self.names:
            self._ask("SELECT RELEASE_LOCK(%s)", name)

    def _ask(self, query: str, *values: object) -> object:
        return ask(self.raw, query, values)[0][0]


def _named(what: str) -> str:
    return "headway:" + hashlib.sha256(what.encode()).hexdigest()[:40]
