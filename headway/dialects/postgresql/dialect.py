"""PostgreSQL: transactional DDL, advisory locks that belong to a session."""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

from sqlalchemy import URL, Connection

from headway import history
from headway.dialects.base import Dialect
from headway.dialects.driver import Raw, ask, autocommit, closing, dbapi_connection, sqlstate
from headway.dialects.facts import Facts
from headway.dialects.postgresql import facts as postgresql_facts
from headway.dialects.postgresql import image as postgresql_image
from headway.dialects.postgresql import schemas as postgresql_schemas
from headway.dialects.postgresql import scratch as postgresql_scratch
from headway.dialects.postgresql import undo as postgresql_undo
from headway.dialects.postgresql.lock import AdvisoryLock
from headway.dialects.search_path import quoted, refuse_schema
from headway.dialects.transactions import (
    Fate,
    can_answer,
    postgresql_fate,
    postgresql_mark,
    postgresql_status,
)
from headway.dialects.translation import opened, translating
from headway.dialects.types import (
    MOST_TABLES,
    MOST_VERSIONS,
    Beside,
    Ground,
    Image,
    Lock,
    Peek,
    VersionTable,
    refuse_too_many,
)
from headway.dialects.urls import DatabaseURL, display_url
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

ROLE_MISSING = re.compile(r'role ".*" does not exist')
SETTINGS = (
    *("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"),
    "application_name",
)
"""What we set in a session."""
TIMEOUTS = ("55P03", "57014", "40P01")  # lock_timeout, statement_timeout, a deadlock
ENDED = ("25P03", "25P04", "57P05", "40001")  # the server's own limits, and a rival's commit
UNWRITABLE = ("25006", "53100")  # a standby, a full disk
DENIED = ("28P01", "28000")
STRANGER = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
NO_RIGHT = re.compile(
    r"permission denied (?:for (?P<kind>[\w ]+?) \"?(?P<name>[^\"\n]+)\"?"
    r"|to create (?P<made>\w+))|must be "
)
TABLES = (
    "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "  # noqa: S608
    f"WHERE relkind IN ('r', 'p') AND nspname = current_schema() LIMIT {MOST_TABLES + 1}"
)
POWERS = (
    "SELECT string_agg('the rights of ' || rolname, ', ') FROM pg_roles"
    " WHERE pg_has_role(session_user, oid, 'MEMBER') AND (rolsuper OR rolreplication OR rolname"
    " IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'))"
)
VERBS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|TRUNCATE|CREATE|DROP|ALTER)", re.IGNORECASE)


class Postgresql(Dialect):
    """PostgreSQL."""

    name: ClassVar[str] = "postgresql"
    transactional_ddl: ClassVar[bool] = True
    templates: ClassVar[bool] = True

    @contextmanager
    def borrow(self, raw: Raw, *, shared: bool) -> Iterator[Raw]:
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
            return AdvisoryLock(raw, name, DatabaseURL.of(url).schema)
        except AddressInvalid:  # an engine of the caller's: whatever its session sees, it has all
            return AdvisoryLock(raw, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        state, message = sqlstate(error), str(error)
        if (
            state in DENIED
            or any(words in message for words in STRANGER)
            or ROLE_MISSING.search(message)
        ):
            return DatabaseDenied
        if self.missing_right(error, ""):
            return DatabaseDenied
        if state in UNWRITABLE:
            return DatabaseReadOnly
        if state in TIMEOUTS or state in ENDED:
            return DatabaseInUse
        names = {cls.__name__ for cls in type(error).__mro__}
        is_lost = state is None or state[:2] in ("08", "57") or state in ("3D000", "53300")
        if is_lost and ("OperationalError" in names or "connection already closed" in message):
            return DatabaseUnreachable
        return None

    def missing_right(self, error: BaseException, statement: str) -> str | None:
        if sqlstate(error) not in ("42501", None):
            return None
        match = NO_RIGHT.search(str(error))
        if match is None:
            return "the right" if sqlstate(error) else None
        if match["made"]:
            return {"database": "CREATEDB", "role": "CREATEROLE"}.get(match["made"], "the right")
        if match["kind"] is None:  # "must be owner of table item"
            return "the ownership"
        verb = VERBS.match(statement)
        if match["kind"] in ("schema", "database"):
            right = "CREATE" if verb and verb[1].upper() == "CREATE" else "USAGE"
            right = "CONNECT" if match["kind"] == "database" and not verb else right
        else:
            right = verb[1].upper() if verb else "SELECT"
        return f"{right} on {match['kind']} {match['name']}"

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        with autocommit(raw), contextlib.closing(raw.cursor()) as cursor:
            try:
                cursor.execute(
                    f"SELECT version_num, to_regclass('{history.NAME}') IS NOT NULL "  # noqa: S608
                    f"FROM {table.quoted()} LIMIT {MOST_VERSIONS + 1}"
                )
                rows = cursor.fetchall()
            except Exception as error:
                raw.rollback()
                if sqlstate(error) not in ("42P01", "3F000"):  # no such table, no such schema
                    raise
                rows = []
            names: frozenset[str] = frozenset()
            if not rows:
                cursor.execute(TABLES)
                refuse_too_many(found := cursor.fetchall())
                names = frozenset(name for (name,) in found)
        raw.rollback()
        return Peek(
            versions=tuple(version for version, _ in rows),
            tables=names,
            has_history=rows[0][1] if rows else history.NAME in names,
        )

    def set_timeouts(
        self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None
    ) -> None:
        # Milliseconds. Off where not asked for: a role's default must not end a long migration.
        waits = {
            "lock_timeout": round(lock_seconds * 1000),
            "statement_timeout": round((statement_seconds or 0) * 1000),
            "idle_in_transaction_session_timeout": 0,
        }
        _set(raw, {name: str(value) for name, value in waits.items()})

    def limit_reading(self, raw: Raw, seconds: float) -> None:
        _set(raw, {"statement_timeout": str(round(seconds * 1000))})

    def set_read_only(self, raw: Raw) -> None:
        with contextlib.closing(raw.cursor()) as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        raw.commit()

    def power_beyond(self, raw: Raw) -> str | None:
        return ask(raw, POWERS)[0][0]  # type: ignore[no-any-return]

    def is_timeout(self, error: BaseException) -> bool:
        return sqlstate(error) in TIMEOUTS

    def check_pooler(self, raw: Raw, another: Callable[[], AbstractContextManager[Raw]]) -> None:
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
                "A proxy (pgbouncer, or the like) gives each transaction another session, so the "
                "migration lock would not hold. Nothing was changed. Give the URL of the server "
                "itself, or of a pool in session mode."
            )

    def exists(self, url: URL) -> bool:
        with _maintenance(self, url) as raw:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            return bool(ask(raw, query, [DatabaseURL.of(url).name]))

    def other_schemas(self, raw: Raw) -> tuple[str, ...]:
        return postgresql_schemas.others(raw)

    def has_schema(self, url: URL) -> bool:
        with translating(self, url, all=True):
            return postgresql_schemas.exists(url)

    def make_schema(self, url: URL) -> None:
        with translating(self, url, all=True):
            postgresql_schemas.make(url)

    def drop_schema(self, raw: Raw, url: URL) -> None:
        with translating(self, url, all=True):
            postgresql_schemas.drop(raw, url)

    def make(self, url: URL, template: URL | None = None, versions: str | None = None) -> None:  # noqa: ARG002  # the server copies all or nothing
        if not self.is_ours(url):
            refuse_schema(url, "made")
        source = f" TEMPLATE {_quoted(template)}" if template else ""
        with _maintenance(self, url) as raw:
            try:
                raw.cursor().execute(f"CREATE DATABASE {_quoted(url)}{source}")
            except Exception as error:
                if sqlstate(error) == "42P04":
                    raise DatabaseExists(
                        f"{display_url(url)} already exists. Nothing was changed."
                    ) from error
                if sqlstate(error) == "55006" and template:
                    raise DatabaseInUse(
                        f"{display_url(template)} cannot be copied while others are connected to "
                        "it. Nothing was changed. Try again when they have disconnected."
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
                if sqlstate(error) != "42P04":
                    raise
                raise DatabaseExists(f"{name} already exists. Nothing was changed.") from error

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
            return postgresql_status(dbapi_connection(other), mark)

    def image(self, connection: Connection) -> dict[str, str] | None:
        return postgresql_image.image(connection)

    def comparable(self, before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
        return postgresql_image.comparable(before, now)

    def undo(self, connection: Connection, before: Image, now: Image) -> list[str]:  # noqa: ARG002
        return postgresql_undo.undo(before, now)

    def object_names(self, key: str) -> tuple[str, ...]:
        return postgresql_undo.object_names(key)

    def describe(self, key: str) -> str:
        return postgresql_undo.describe(key)

    def facts(self, connection: Connection) -> Facts:
        return postgresql_facts.facts(connection)

    def default_schema_set(
        self, connection: Connection, schema: str | None
    ) -> AbstractContextManager[None]:
        return postgresql_facts.default_schema_set(connection, schema)

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
    return quoted(DatabaseURL.of(url).name)


def _set(raw: Raw, settings: Mapping[str, str]) -> None:
    """Set these for the session."""
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    ask(raw, f"SELECT {calls}", [text for pair in settings.items() for text in pair])
