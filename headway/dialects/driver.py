"""Driver (PEP 249) connections, and SQLAlchemy engines on top of one.

The status of a small database takes 0.1 ms; making a SQLAlchemy engine takes ten times that. So
status, locks and replay use the driver, and only what runs Python revisions wraps the same
connection, whose session holds the lock, in an engine.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine
from sqlalchemy.engine.interfaces import Dialect as SqlalchemyDialect
from sqlalchemy.exc import NoSuchModuleError

from headway.dialects import ambient
from headway.dialects.urls import DRIVERS, display_url
from headway.errors import DriverMissing

__all__ = [
    "Raw",
    "ask",
    "autocommit",
    "closing",
    "dbapi_connection",
    "dialect_for",
    "display_url",
    "engine_on",
    "listener_notes",
    "notes_of",
    "open_raw",
    "own_engines",
    "register_engine",
    "sqlstate",
]

Raw = Any
"""A PEP 249 connection. Its drivers share no type."""

own_engines: "WeakSet[Engine]" = WeakSet()

SAYS_TLS = re.compile("ssl|read_default")
"""Options of PyMySQL that say what TLS there is to be, or name a file that may."""


@cache
def dialect_for(drivername: str) -> SqlalchemyDialect:
    """SQLAlchemy's dialect with its driver loaded, for connecting; one a process."""
    try:
        cls = URL.create(drivername).get_dialect()
        return cls(dbapi=cls.import_dbapi())  # type: ignore[call-arg]  # every real one takes it
    except (NoSuchModuleError, ImportError) as error:
        backend = drivername.partition("+")[0]
        extra = "postgresql" if backend == "postgresql" else "mysql"
        raise DriverMissing(
            f"The driver for {drivername} is not installed ({error}). Install it, or use ours: "
            f"pip install 'headway[{extra}]' and {DRIVERS.get(backend, backend)}:// in the URL."
        ) from error


def open_raw(url: URL, more: Mapping[str, Any] | None = None) -> Raw:
    """A new connection of the driver's, to be closed by the caller.

    `more` are arguments of the driver's that come before those of the URL.
    """
    dialect = dialect_for(url.drivername)
    arguments, options = dialect.create_connect_args(url)
    options = ambient.arguments(url, dialect, {**options, **(more or {})})
    if dialect.name == "sqlite":
        # env.py may have to run in a thread of its own; never two at a time.
        options["check_same_thread"] = False
    elif "connect_timeout" not in options:
        options["connect_timeout"] = 10  # a host that swallows packets must not hold us for minutes
    if dialect.driver == "pymysql" and "password" in options:
        options["password"] = _as_bytes(options["password"])
    if dialect.driver == "pymysql" and not any(map(SAYS_TLS.match, options)):
        return _open_pymysql(dialect, options)
    return dialect.connect(*arguments, **options)


def sqlstate(error: BaseException) -> str | None:
    """The five characters by which PostgreSQL names the kind of an error."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _as_bytes(password: str) -> str | bytes:
    """PyMySQL writes passwords in Latin-1; for others servers are given UTF-8."""
    try:
        password.encode("latin-1")
    except UnicodeEncodeError:
        return password.encode()
    return password


def _open_pymysql(dialect: SqlalchemyDialect, options: Mapping[str, Any]) -> Raw:
    """Connect as PyMySQL does without TLS options: with TLS if the server supports it.

    PyMySQL would first load all certificates of the machine for each connection, and check none: 20
    ms, where the rest takes one.
    """
    tls = _preferred_tls(dialect)
    if tls is None:
        return dialect.connect(**options)
    raw: Raw = dialect.connect(**options, ssl_disabled=True, defer_connect=True)
    raw.ssl, raw.ctx = True, tls  # FRAGILE: as its __init__ does
    raw.connect()
    return raw


@cache
def _preferred_tls(dialect: SqlalchemyDialect) -> Any:
    """The TLS context of a connection without TLS options; None if that means no TLS."""
    unconnected = dialect.loaded_dbapi.connect(defer_connect=True)
    return unconnected.ctx if unconnected.ssl else None


def engine_on(raw: Raw, url: URL) -> Engine:
    """An engine whose only connection is this one. The caller closes the connection."""
    return register_engine(
        create_engine(url, creator=existing_connection(lambda: raw), poolclass=StaticPool)
    )


THERE = "headway_there"


def existing_connection(opened: Callable[[], Raw]) -> Callable[[Any], Raw]:
    """A `creator` for a pool whose connections were set up before: see `is_existing`."""

    def creator(record: Any) -> Raw:
        record.info[THERE] = True
        return opened()

    return creator


def is_existing(record: Any) -> bool:
    """True if the connection of this pool record was set up before the pool got it."""
    return THERE in record.info


def register_engine(engine: Engine) -> Engine:
    """Mark an engine as Headway's own: it is never redirected. Returns it."""
    own_engines.add(engine)
    return engine


def dbapi_connection(connection: Connection) -> Raw:
    """The driver connection below a SQLAlchemy connection."""
    return connection.connection.dbapi_connection


def ask(
    raw: Raw,
    query: str,
    values: Sequence[object] = (),
    *,
    read: Callable[[Iterable[tuple[Any, ...]]], list[Any]] | None = None,
) -> list[Any]:
    """Run one query in a transaction of its own; its rows, or what `read` makes of them.

    Ended at once: an open transaction would be what others wait for.
    """
    with autocommit(raw), contextlib.closing(raw.cursor()) as cursor:
        try:
            cursor.execute(query, values) if values else cursor.execute(query)
            rows = read(iter(cursor.fetchone, None)) if read else cursor.fetchall()
        except Exception:
            raw.rollback()
            raise
        raw.commit()
    return list(rows)


@contextlib.contextmanager
def autocommit(raw: Raw) -> Iterator[None]:
    """Run one query without BEGIN and COMMIT, if the driver can: one round trip, not three."""
    before = getattr(raw, "autocommit", None)
    idle = before is False and getattr(getattr(raw, "info", None), "transaction_status", 1) == 0
    if not idle:
        yield
        return
    raw.autocommit = True
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # the connection is gone, and that is being said
            raw.autocommit = before


_notes: dict[int, Mapping[Any, Any]] = {}
"""By the connection's id: sqlite3's cannot be referred to weakly."""


@contextlib.contextmanager
def listener_notes(raw: Raw, notes: Mapping[Any, Any]) -> Iterator[None]:
    """While this lasts, `notes_of(raw)` returns what connect listeners stored."""
    _notes[id(raw)] = notes
    try:
        yield
    finally:
        del _notes[id(raw)]


def notes_of(raw: Raw) -> Mapping[Any, Any]:
    """What connect listeners stored on a connection's record; empty if none were called."""
    return _notes.get(id(raw), {})


@contextlib.contextmanager
def closing(raw: Raw) -> Iterator[Raw]:
    """Close the connection at the end, ignoring errors."""
    try:
        yield raw
    finally:
        with contextlib.suppress(Exception):  # it may be long gone
            raw.close()
