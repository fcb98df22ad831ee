"""PostgreSQL: transactional DDL, advisory locks that belong to a session."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import URL, Connection

from app.errors import (
    DatabaseDenied,
    DatabaseExists,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
    PoolerInTheWay,
)
from app.migrator import history
from app.migrator.dialects import postgresql_facts, postgresql_scratch, postgresql_undo
from app.migrator.dialects.base import Dialect, Ground, Lock, Peek, VersionTable
from app.migrator.dialects.facts import Facts
from app.migrator.driver import Raw, ask, closing, on_its_own, open_raw, shown
from app.migrator.values import Holder

# An application_name holds 63 bytes; the host comes last because it may be cut.
SIGNATURE = re.compile(
    r"headway/(?P<release>\S*) (?P<since>\d+) (?P<pid>\d+)@(?P<host>.*)", re.DOTALL
)


ROLE_MISSING = re.compile(r'role ".*" does not exist')
SETTINGS = (
    *("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"),
    "application_name",
)
"""What we set in a session."""
BRAKES = ("55P03", "57014", "40P01")  # lock_timeout, statement_timeout, a deadlock


class Postgresql(Dialect):
    """PostgreSQL."""

    name: ClassVar[str] = "postgresql"
    transactional_ddl: ClassVar[bool] = True
    templates: ClassVar[bool] = True

    @contextmanager
    def borrowed(self, raw: Raw, *, shared: bool) -> Iterator[Raw]:
        if shared:
            yield raw
            return
        autocommit = raw.autocommit
        raw.rollback()
        raw.autocommit = False
        query = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
        settings = dict(zip(SETTINGS, ask(raw, f"SELECT {query}")[0], strict=True))
        try:
            yield raw
        finally:
            with contextlib.suppress(Exception):  # its session is gone, and its settings with it
                raw.rollback()
                _set(raw, settings)
                raw.autocommit = autocommit

    def lock(self, raw: Raw, url: URL, name: str) -> Lock:  # noqa: ARG002  # keys are per database
        return AdvisoryLock(raw, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        state = _state(error)
        said = str(error)
        if state in ("28P01", "28000") or "password authentication failed" in said:
            return DatabaseDenied
        if ROLE_MISSING.search(said):
            return DatabaseDenied
        if "no password supplied" in said or "no pg_hba.conf entry" in said:
            return DatabaseDenied
        if state == "25006":
            return DatabaseReadOnly
        if state is None or state[:2] in ("08", "57") or state in ("3D000", "53300"):
            operational = any(cls.__name__ == "OperationalError" for cls in type(error).__mro__)
            return DatabaseUnreachable if operational else None
        return None

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        with on_its_own(raw), contextlib.closing(raw.cursor()) as cursor:
            try:
                cursor.execute(
                    f"SELECT version_num, to_regclass('{history.NAME}') IS NOT NULL "  # noqa: S608
                    f"FROM {table.quoted()}"
                )
                rows = cursor.fetchall()
            except Exception as error:
                raw.rollback()
                if _state(error) not in ("42P01", "3F000"):  # no such table, no such schema
                    raise
                rows = []
            names: frozenset[str] = frozenset()
            if not rows:
                cursor.execute(
                    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
                    "AND relnamespace = current_schema()::regnamespace"
                )
                names = frozenset(name for (name,) in cursor.fetchall())
        raw.rollback()
        return Peek(
            versions=tuple(version for version, _ in rows),
            tables=names,
            has_history=rows[0][1] if rows else history.NAME in names,
        )

    def brake(self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None) -> None:
        # Milliseconds. Off where not asked for: a role's default must not end a long migration.
        waits = {
            "lock_timeout": round(lock_seconds * 1000),
            "statement_timeout": round((statement_seconds or 0) * 1000),
            "idle_in_transaction_session_timeout": 0,
        }
        _set(raw, {name: str(value) for name, value in waits.items()})

    def only_read(self, raw: Raw) -> None:
        with contextlib.closing(raw.cursor()) as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        raw.commit()

    def is_brake(self, error: BaseException) -> bool:
        return _state(error) in BRAKES

    def notice_pooler(self, raw: Raw, another: Callable[[], AbstractContextManager[Raw]]) -> None:
        own = getattr(getattr(raw, "info", None), "backend_pid", None)
        backend = ask(raw, "SELECT pg_backend_pid()")[0][0]
        if own is None or own == backend:  # the server told us its process itself: no proxy
            return
        with another() as other, contextlib.closing(other.cursor()) as cursor:
            cursor.execute("SELECT pg_backend_pid()")  # and stays in its transaction
            taken = cursor.fetchone()[0]
            after = ask(raw, "SELECT pg_backend_pid()")[0][0]
            other.rollback()
        if taken == backend or after != backend:
            raise PoolerInTheWay(
                "A proxy (pgbouncer, or the like) gives each transaction another session, so no "
                "lock would hold. Nothing was changed. Give the URL of the server itself, or of "
                "a pool in session mode."
            )

    def exists(self, url: URL) -> bool:
        with _maintenance(url) as raw:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            return bool(ask(raw, query, [url.database]))

    def make(self, url: URL, template: URL | None = None) -> None:
        source = f" TEMPLATE {_quoted(template)}" if template else ""
        with _maintenance(url) as raw:
            try:
                raw.cursor().execute(f"CREATE DATABASE {_quoted(url)}{source}")
            except Exception as error:
                if _state(error) == "42P04":
                    raise DatabaseExists(
                        f"{shown(url)} is there already. Nothing was changed."
                    ) from error
                if _state(error) == "55006" and template:
                    raise DatabaseInUse(
                        f"{shown(template)} cannot be copied while others are "
                        "connected to it. Nothing was changed. Try again when they are gone."
                    ) from error
                raise

    def drop(self, url: URL) -> None:
        with _maintenance(url) as raw:
            raw.cursor().execute(f"DROP DATABASE IF EXISTS {_quoted(url)} WITH (FORCE)")

    def rename(self, url: URL, name: str) -> None:
        with _maintenance(url) as raw:
            try:
                raw.execute(
                    f"ALTER DATABASE {_quoted(url)} RENAME TO {_quoted(url.set(database=name))}"
                )
            except Exception as error:
                if _state(error) != "42P04":
                    raise
                raise DatabaseExists(f"{name} is there already. Nothing was changed.") from error

    def named(self, url: URL, beginning: str) -> list[str]:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        with _maintenance(url) as raw:
            return [name for (name,) in ask(raw, query, [beginning])]

    def image(self, connection: Connection) -> dict[str, str] | None:
        return postgresql_undo.image(connection)

    def undo(self, before: dict[str, str], now: dict[str, str]) -> list[str]:
        return postgresql_undo.undo(before, now)

    def subject(self, key: str) -> str:
        return postgresql_undo.subject(key)

    def facts(self, connection: Connection) -> Facts:
        return postgresql_facts.facts(connection)

    def looking_at(
        self, connection: Connection, schema: str | None
    ) -> AbstractContextManager[None]:
        return postgresql_facts.looking_at(connection, schema)

    def default_schema(self, connection: Connection) -> str:
        return str(connection.exec_driver_sql("SELECT current_schema()").scalar())

    def ground(
        self,
        connection: Connection,
        schemas: Collection[str] = (),
        *,
        furnished: bool = False,
    ) -> Ground:
        return postgresql_scratch.ground(connection, schemas, furnished=furnished)

    @contextmanager
    def scratch(self, connection: Connection, ground: Ground | None = None) -> Iterator[URL]:
        ground = ground or self.ground(connection)
        with postgresql_scratch.made(connection.engine.url, ground) as place:
            try:
                yield place
            finally:
                self.drop(place)


@contextmanager
def _maintenance(url: URL) -> Iterator[Raw]:
    """A session from which databases can be made and dropped: not one of them."""
    from app.migrator.reach import reaching  # which knows the dialects

    with reaching(url), closing(open_raw(url.set(database="postgres"))) as raw:
        raw.autocommit = True
        yield raw


def _quoted(url: URL) -> str:
    name = str(url.database).replace('"', '""')
    return f'"{name}"'


def _set(raw: Raw, settings: Mapping[str, str]) -> None:
    """Set these for the session."""
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    ask(raw, f"SELECT {calls}", [said for pair in settings.items() for said in pair])


def _state(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


class AdvisoryLock(Lock):
    """A session-level advisory lock, held by the very session that migrates.

    So it is as alive as the work: when a client is killed and its server goes on with a long
    statement, the lock stays until that ends. Polled, because a waiting `pg_advisory_lock` is
    cancelled by lock_timeout and deadlocks with CREATE INDEX CONCURRENTLY.
    """

    def __init__(self, raw: Raw, name: str) -> None:
        self.raw = raw
        digest = hashlib.sha256(f"headway:{name}".encode()).digest()
        self.key = int.from_bytes(digest[:8], "big", signed=True)

    def try_acquire(self, me: Holder) -> bool:
        if not ask(self.raw, "SELECT pg_try_advisory_lock(%s)", [self.key])[0][0]:
            return False
        since = int(me.since.timestamp()) if me.since else 0
        name = f"headway/{me.release} {since} {me.pid}@{me.host}"
        ask(self.raw, "SELECT set_config('application_name', %s, false)", [name[:63]])
        return True

    def holder(self) -> Holder | None:
        rows = ask(
            self.raw,
            "SELECT a.application_name, a.client_addr, a.backend_start "
            "FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND (l.classid::bigint << 32) | l.objid::bigint = %s",
            [self.key],
        )
        if not rows:
            return None
        name, address, started = rows[0]
        if said := SIGNATURE.fullmatch(name or ""):
            since = datetime.fromtimestamp(int(said["since"]), UTC)
            return Holder(
                host=said["host"], pid=int(said["pid"]), release=said["release"], since=since
            )
        return Holder(host=str(address) if address else None, since=started)

    def release(self) -> None:
        ask(self.raw, "SELECT pg_advisory_unlock(%s)", [self.key])
