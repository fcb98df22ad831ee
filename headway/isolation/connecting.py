"""Connection settings of an env.py beyond its URL, applied to our connections.

Connect arguments, listeners and execution options decide in which schema, as which role and with
which functions the revisions run. All of them are read from the engine that env.py connects with.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import URL, Engine, NullPool, event
from sqlalchemy.util import only_once

from headway.dialects import driver
from headway.dialects.driver import Raw
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, EnvironmentFailed
from headway.isolation.running import from_outside

HARMLESS = {
    *("check_same_thread", "timeout", "connect_timeout", "keepalives", "keepalives_idle"),
    *("keepalives_interval", "keepalives_count", "tcp_user_timeout", "statement_cache_size"),
    *("prepared_statement_cache_size", "prepared_statement_name_func", "command_timeout"),
    *("isolation_level", "prepare_threshold", "read_timeout", "write_timeout"),
}
"""Arguments that change no result: timeouts, pool sizes, and those that we set ourselves."""
PLACES = {
    *("host", "hostaddr", "port", "dbname", "database", "db", "service", "servicefile"),
    *("unix_socket", "read_default_file", "read_default_group", "dsn", "conninfo"),
}
"""Arguments that name the server or database, which only the URL may do."""
ACCOUNT = {"user": "username", "username": "username", "password": "password", "passwd": "password"}
CONNECTED = ("connect", "first_connect")
"""The events of a new connection."""
ONLY_ONCE = only_once(lambda: None, retry_on_exception=False).__code__
"""The code of every listener with `once=True`."""
LIBPQ = ("psycopg", "psycopg2", "psycopg_async")
PYMYSQL = ("pymysql", "aiomysql", "asyncmy", "mysqldb")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Connection settings of an engine beyond its URL."""

    driver: str = ""
    """The driver that the arguments belong to."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    listeners: tuple[tuple[str, str, Callable[..., Any]], ...] = ()
    """Listeners of the engine, its pool and its dialect: (`pool`, "connect", function)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Execution options, without the isolation level."""
    isolation: str | None = None
    """The isolation level, if it is not the server's default."""
    role: str | None = None
    """The statement by which the session changes its role, which `"$user"` then means."""
    class_wide: bool = False
    """True if it listens to the connections of every engine."""
    creator: str | None = None
    """A `creator` function, which connects in its own way and cannot be redirected."""

    @property
    def why(self) -> str | None:
        """What it sets up, in words; None if nothing."""
        if self.creator:
            return f"it connects by {self.creator}"
        if self.arguments:
            return f"it connects with arguments of its own ({', '.join(sorted(self.arguments))})"
        if self.listeners:
            names = dict.fromkeys(name for _, name, _ in self.listeners)
            return f"its engine has listeners ({', '.join(names)})"
        if self.options:
            return f"its engine has execution options ({', '.join(sorted(self.options))})"
        if self.isolation:
            return f"its engine has an isolation level of its own ({self.isolation})"
        return "it listens to the events of every engine" if self.class_wide else None

    @property
    def schema(self) -> str | None:
        """The schema that PostgreSQL's `options` among the arguments name."""
        options = {"options": str(self.arguments.get("options", ""))}
        with contextlib.suppress(AddressInvalid):
            return DatabaseURL.of(URL.create("postgresql", query=options)).schema
        return None

    @property
    def prepares(self) -> bool:
        """True if something is done on each new connection."""
        listens = any(level == "pool" for level, _, _ in self.listeners)
        return listens or self.class_wide or self.role is not None

    def arguments_for(self, url: URL) -> dict[str, Any]:
        """The arguments for our driver. Raises EnvironmentFailed if one cannot be translated."""
        if self.creator:
            raise EnvironmentFailed(
                f"env.py connects by {self.creator}, which cannot be given the database. "
                "Nothing was changed. Let it take `config.attributes['connection']` if that is "
                "there, or use `connect_args` and the URL instead."
            )
        given = {name: value for name, value in self.arguments.items() if name != "autocommit"}
        if places := sorted(given.keys() & PLACES):
            raise EnvironmentFailed(
                f"env.py names the server or database by connect_args ({', '.join(places)}), and "
                "the URL names it too. Nothing was changed. Leave that to the URL."
            )
        for name in given.keys() & ACCOUNT:
            if getattr(url, ACCOUNT[name]) is not None:
                del given[name]  # the URL that was given names somebody
        return given if not given else self._translated(given, url)

    def _translated(self, given: dict[str, Any], url: URL) -> dict[str, Any]:
        ours = driver.dialect_for(url.drivername).driver
        if ours == self.driver:
            return given
        same = next((kind for kind in (LIBPQ, PYMYSQL) if ours in kind and self.driver in kind), ())
        if same or (ours == "pysqlite" and self.driver == "aiosqlite"):
            return given
        settings = given.pop("server_settings", None) if self.driver == "asyncpg" else None
        if settings and ours in LIBPQ:
            texts = (f"-c {name}={_escaped(str(value))}" for name, value in settings.items())
            given["options"] = " ".join(texts)
        others = given.keys() - {"options", "ssl"} if settings else given.keys()
        if others or (given.get("ssl") not in (None, False)):
            raise EnvironmentFailed(
                f"env.py connects with {self.driver} and arguments that {ours} does not know "
                f"({', '.join(sorted(others or {'ssl'}))}). Nothing was changed. Give them in the "
                "URL, as its driver spells them."
            )
        given.pop("ssl", None)
        return given

    def apply(self, raw: Raw, url: URL) -> dict[Any, Any]:
        """Call the pool's connect listeners for a connection that we opened.

        Returns what they stored on the pool's record, for listeners that read it later.
        """
        pool = NullPool(lambda: raw, dialect=driver.dialect_for(url.drivername))
        # As an engine does at its first connection, between the listeners of its class and its own.
        event.listen(pool, "connect", _rollback)
        for level, name, listener in self.listeners:
            if level == "pool" and name in (*CONNECTED, "checkout"):
                event.listen(pool, name, listener)
        pooled = pool.connect()
        notes = dict(pooled.info)
        pooled.detach()
        if self.role:
            with contextlib.closing(raw.cursor()) as cursor:
                cursor.execute(self.role)
        raw.commit()  # what a listener set would go with its transaction
        return notes

    @property
    def begins(self) -> bool:
        """True if a listener is called for each new connection, and was called for ours."""
        return any(name in CONNECTED for level, name, _ in self.listeners if level == "pool")

    def on(self, engine: Engine, *, notes: Mapping[Any, Any] | None = None) -> Engine:
        """Apply the settings to an engine of ours whose connection exists already.

        `notes`: what `apply` returned for the connection, if listeners that are called once for
        each connection (ATTACH) have been called; None if they have not.
        """
        if notes:
            event.listen(engine.pool, "connect", from_outside(partial(_note, notes)))
        for level, name, listener in self.listeners:
            if notes is not None and level == "pool" and name in CONNECTED:
                continue
            target: Any = engine.pool if level == "pool" else engine
            kept = {"retval": True} if name in ("before_execute", "before_cursor_execute") else {}
            event.listen(target, name, listener, **kept)
        if self.prepares:
            event.listen(engine.pool, "connect", from_outside(_commit))
        return engine.execution_options(**self.options) if self.options else engine


PLAIN = Settings()


def _commit(raw: Raw, _record: object) -> None:
    raw.commit()


def _note(notes: Mapping[Any, Any], _raw: Raw, record: Any) -> None:
    record.info.update(notes)


def _rollback(raw: Raw, _record: object) -> None:
    raw.rollback()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def settings_of(engine: Engine, given: URL | None = None) -> Settings:
    """The connection settings of an engine beyond its URL.

    `given`: the URL that env.py was given, to which it may have added options.
    """
    listeners = tuple(_listeners(engine))
    options = dict(engine.get_execution_options())
    options.pop("isolation_level", None)
    isolation = isolation_of(engine)
    if isolation == "AUTOCOMMIT" or engine.dialect.name == "sqlite":  # there it is one for all
        isolation = None
    connect = next((one for _, name, one in listeners if name == "do_connect"), None)
    arguments = _arguments(engine, given)
    creator = None
    if arguments is None:
        creator = "a `creator` or a pool of its own"
    elif connect is not None:
        creator = "a listener to `do_connect`"
    return Settings(
        driver=engine.dialect.driver,
        arguments=arguments or {},
        listeners=listeners,
        options=options,
        isolation=isolation,
        creator=creator,
    )


def isolation_of(engine: Engine) -> str | None:
    """The isolation level that env.py gave to its engine."""
    # FRAGILE: where SQLAlchemy keeps `create_engine(isolation_level=…)`.
    given = getattr(engine.dialect, "_on_connect_isolation_level", None)
    given = engine.get_execution_options().get("isolation_level", given)
    return None if given is None else str(given).replace("_", " ").upper()


def _arguments(engine: Engine, url: URL | None) -> dict[str, Any] | None:
    """The connect arguments beside those of the URL; None if it connects by a function of its own.

    FRAGILE: they are kept by the function that `create_engine` gives to the pool, and nowhere else.
    """
    connect: Any = engine.pool._creator  # noqa: SLF001
    if getattr(connect, "__module__", "") != "sqlalchemy.engine.create":
        return None
    given = inspect.getclosurevars(connect).nonlocals.get("cparams")
    if given is None:
        return None
    known = engine.url
    if url is not None and known.set(query=url.query) == url.set(drivername=known.drivername):
        known = known.set(query=url.query)
    _, of_url = engine.dialect.create_connect_args(known)
    missing = object()
    return {
        name: value
        for name, value in dict(given).items()
        if name not in HARMLESS and of_url.get(name, missing) != value
    }


def _listeners(engine: Engine) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    for level, owner in (("pool", engine.pool), ("engine", engine), ("engine", engine.dialect)):
        for name, listener in listeners_of(owner):
            yield level, name, _each_time(listener)


def _each_time(listener: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a listener with `once=True`: for Alembic a process has one connection.

    FRAGILE: SQLAlchemy keeps it in the closure of what it calls, and nowhere else.
    """
    if getattr(listener, "__code__", None) is not ONLY_ONCE:
        return listener
    found: Callable[..., Any] = inspect.getclosurevars(listener).nonlocals["fn"]
    return found


def listeners_of(owner: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The listeners of this very object, without SQLAlchemy's own and those of its class.

    FRAGILE: private in SQLAlchemy, which tells no listeners.
    """
    for name in type(owner).dispatch._event_names:  # noqa: SLF001
        found = list(getattr(owner.dispatch, name))
        if not found:
            continue
        by_class = getattr(type(owner).dispatch, name)._clslevel  # noqa: SLF001
        of_class = {id(one) for cls in type(owner).__mro__ for one in by_class.get(cls, ())}
        for listener in found:
            if id(listener) not in of_class and not _is_sqlalchemys(listener):
                yield name, listener


def _is_sqlalchemys(listener: Any) -> bool:
    if not str(getattr(listener, "__module__", "")).startswith("sqlalchemy."):
        return False
    cells = [cell.cell_contents for cell in getattr(listener, "__closure__", None) or ()]
    return all(_is_sqlalchemys(one) for one in cells if inspect.isroutine(one))
