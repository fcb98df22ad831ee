"""PostgreSQL: transactional DDL, advisory locks that belong to a session."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import URL, Connection

from headway import history
from headway.dialects.base import Beside, Dialect, Ground, Image, Lock, Peek, VersionTable
from headway.dialects.driver import Raw, ask, closing, on_its_own, raw_of, shown
from headway.dialects.facts import Facts
from headway.dialects.postgresql import facts as postgresql_facts
from headway.dialects.postgresql import image as postgresql_image
from headway.dialects.postgresql import scratch as postgresql_scratch
from headway.dialects.postgresql import undo as postgresql_undo
from headway.dialects.search_path import refuse_schema, schema_of
from headway.dialects.transactions import (
    Fate,
    can_answer,
    postgresql_fate,
    postgresql_mark,
    postgresql_status,
)
from headway.dialects.translation import opened, translating
from headway.dialects.urls import named
from headway.errors import (
    AddressInvalid,
    DatabaseDenied,
    DatabaseExists,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseUnreachable,
    HeadwayError,
    PoolerInTheWay,
)
from headway.types import Holder

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
ENDED = ("25P03", "25P04", "57P05", "40001")  # the server's own limits, and a rival's commit
UNWRITABLE = ("25006", "53100")  # a standby, a full disk
DENIED = ("28P01", "28000")
STRANGER = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
NO_RIGHT = re.compile(
    r"permission denied (?:for (?P<kind>[\w ]+?) \"?(?P<name>[^\"\n]+)\"?"
    r"|to create (?P<made>\w+))|must be "
)
VERBS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|TRUNCATE|CREATE|DROP|ALTER)", re.IGNORECASE)


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

    def lock(self, raw: Raw, url: URL, name: str) -> Lock:
        try:
            return AdvisoryLock(raw, name, schema_of(url))
        except AddressInvalid:  # an engine of the caller's: whatever its session sees, it has all
            return AdvisoryLock(raw, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        state, said = _state(error), str(error)
        if state in DENIED or any(words in said for words in STRANGER) or ROLE_MISSING.search(said):
            return DatabaseDenied
        if self.missing_right(error, ""):
            return DatabaseDenied
        if state in UNWRITABLE:
            return DatabaseReadOnly
        if state in BRAKES or state in ENDED:
            return DatabaseInUse
        names = {cls.__name__ for cls in type(error).__mro__}
        is_lost = state is None or state[:2] in ("08", "57") or state in ("3D000", "53300")
        if is_lost and ("OperationalError" in names or "connection already closed" in said):
            return DatabaseUnreachable
        return None

    def missing_right(self, error: BaseException, statement: str) -> str | None:
        if _state(error) not in ("42501", None):
            return None
        said = NO_RIGHT.search(str(error))
        if said is None:
            return "the right" if _state(error) else None
        if said["made"]:
            return {"database": "CREATEDB", "role": "CREATEROLE"}.get(said["made"], "the right")
        if said["kind"] is None:  # "must be owner of table item"
            return "the ownership"
        verb = VERBS.match(statement)
        if said["kind"] in ("schema", "database"):
            right = "CREATE" if verb and verb[1].upper() == "CREATE" else "USAGE"
            right = "CONNECT" if said["kind"] == "database" and not verb else right
        else:
            right = verb[1].upper() if verb else "SELECT"
        return f"{right} on {said['kind']} {said['name']}"

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
        if own == backend:  # the server told us its process itself: no proxy
            return
        with another() as other, contextlib.closing(other.cursor()) as cursor:
            cursor.execute("SELECT pg_backend_pid()")  # and stays in its transaction
            taken = cursor.fetchone()[0]
            after = {ask(raw, "SELECT pg_backend_pid()")[0][0]}
            other.rollback()
        # Some pools give the one that was idle for longest, others the one that was just used.
        after |= {ask(raw, "SELECT pg_backend_pid()")[0][0] for _ in range(2)}
        if taken == backend or after != {backend}:
            raise PoolerInTheWay(
                "A proxy (pgbouncer, or the like) gives each transaction another session, so no "
                "lock would hold. Nothing was changed. Give the URL of the server itself, or of "
                "a pool in session mode."
            )

    def exists(self, url: URL) -> bool:
        with _maintenance(self, url) as raw:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            return bool(ask(raw, query, [named(url)]))

    def neighbours(self, raw: Raw) -> tuple[str, ...]:
        # What an extension brought is not counted: it goes with the database that has it.
        query = """SELECT DISTINCT n.nspname FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
            AND n.nspname IS DISTINCT FROM current_schema()
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                AND d.objid = c.oid AND d.deptype = 'e')
            ORDER BY 1"""
        return tuple(name for (name,) in ask(raw, query))

    def make(self, url: URL, template: URL | None = None, versions: str | None = None) -> None:  # noqa: ARG002  # the server copies all or nothing
        if template is None:
            refuse_schema(url, "made")
        source = f" TEMPLATE {_quoted(template)}" if template else ""
        with _maintenance(self, url) as raw:
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
        if not self.is_ours(url):
            refuse_schema(url, "dropped")
        with _maintenance(self, url) as raw:
            raw.cursor().execute(f"DROP DATABASE IF EXISTS {_quoted(url)} WITH (FORCE)")

    def rename(self, url: URL, name: str) -> None:
        with _maintenance(self, url) as raw:
            try:
                raw.cursor().execute(
                    f"ALTER DATABASE {_quoted(url)} RENAME TO {_quoted(url.set(database=name))}"
                )
            except Exception as error:
                if _state(error) != "42P04":
                    raise
                raise DatabaseExists(f"{name} is there already. Nothing was changed.") from error

    def named(self, url: URL, beginning: str) -> list[str]:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        with _maintenance(self, url) as raw:
            return [name for (name,) in ask(raw, query, [beginning])]

    def mark(self, raw: Raw) -> int | None:
        return postgresql_mark(raw)

    def fate(self, raw: Raw, mark: int, beside: Beside | None = None) -> Fate:
        if beside is None or can_answer(raw):
            return postgresql_fate(raw, mark)
        with beside() as other:
            return postgresql_status(raw_of(other), mark)

    def image(self, connection: Connection) -> dict[str, str] | None:
        return postgresql_image.image(connection)

    def comparable(self, before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
        return postgresql_image.comparable(before, now)

    def undo(self, connection: Connection, before: Image, now: Image) -> list[str]:  # noqa: ARG002
        return postgresql_undo.undo(before, now)

    def subjects(self, key: str) -> tuple[str, ...]:
        return postgresql_undo.subjects(key)

    def spoken(self, key: str) -> str:
        return postgresql_undo.spoken(key)

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
def _maintenance(dialect: Dialect, url: URL) -> Iterator[Raw]:
    """A session from which databases can be made and dropped: not one of them."""
    with translating(dialect, url, all=True), closing(opened(url.set(database="postgres"))) as raw:
        raw.autocommit = True
        yield raw


def _quoted(url: URL) -> str:
    name = named(url).replace('"', '""')
    return f'"{name}"'


def _set(raw: Raw, settings: Mapping[str, str]) -> None:
    """Set these for the session."""
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    ask(raw, f"SELECT {calls}", [said for pair in settings.items() for said in pair])


def _state(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


class AdvisoryLock(Lock):
    """Session-level advisory locks, held by the very session that migrates.

    So they are as alive as the work: when a client is killed and its server goes on with a long
    statement, they stay until that ends. Polled, because a waiting `pg_advisory_lock` is
    cancelled by lock_timeout and deadlocks with CREATE INDEX CONCURRENTLY.

    Who migrates a whole database has its key alone. A tenant shares that key with the other
    tenants and has the key of its schema alone, so that they migrate at the same time, and never
    together with the whole database. A tenant whose schema is not the one that the session makes
    things in has all of the database.
    """

    def __init__(self, raw: Raw, name: str, schema: str | None = None) -> None:
        self.raw = raw
        self.key = _key(name)
        self.schema = schema
        self.tenant = None if schema is None else _key(f"{name}:{schema}")
        self.shares = False

    def try_acquire(self, me: Holder) -> bool:
        if not (self._try_schema() if self._is_tenants() else self._try_database()):
            return False
        since = int(me.since.timestamp()) if me.since else 0
        name = f"headway/{me.release} {since} {me.pid}@{me.host}"
        ask(self.raw, "SELECT set_config('application_name', %s, false)", [name[:63]])
        return True

    def _is_tenants(self) -> bool:
        """True if the session makes things in the schema that the URL names."""
        if self.tenant is None:
            return False
        return bool(ask(self.raw, "SELECT current_schema()")[0][0] == self.schema)

    def _try_database(self) -> bool:
        self.shares = False
        return bool(ask(self.raw, "SELECT pg_try_advisory_lock(%s)", [self.key])[0][0])

    def _try_schema(self) -> bool:
        shared = "SELECT pg_try_advisory_lock_shared(%s)"
        if not ask(self.raw, shared, [self.key])[0][0]:
            return False
        self.shares = bool(ask(self.raw, "SELECT pg_try_advisory_lock(%s)", [self.tenant])[0][0])
        if not self.shares:
            ask(self.raw, "SELECT pg_advisory_unlock_shared(%s)", [self.key])
        return self.shares

    def holder(self) -> Holder | None:
        # Other tenants are in nobody's way but the whole database's.
        rows = ask(
            self.raw,
            "SELECT a.application_name, a.client_addr, a.backend_start "
            "FROM (SELECT pid, mode, (classid::bigint << 32) | objid::bigint AS key FROM pg_locks "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())) l "
            "LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.pid <> pg_backend_pid() AND (l.key = %s OR l.key = %s "
            "AND (l.mode = 'ExclusiveLock' OR %s)) ORDER BY l.mode, a.backend_start",
            [self.key if self.tenant is None else self.tenant, self.key, self.tenant is None],
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
        if self.shares:
            ask(self.raw, "SELECT pg_advisory_unlock(%s)", [self.tenant])
            ask(self.raw, "SELECT pg_advisory_unlock_shared(%s)", [self.key])
        else:
            ask(self.raw, "SELECT pg_advisory_unlock(%s)", [self.key])


def _key(name: str) -> int:
    digest = hashlib.sha256(f"headway:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
