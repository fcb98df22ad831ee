"""What an env.py says of its connections beside their URL, carried over to ours.

Connect arguments, listeners, execution options: they decide in which schema, as which role and with
which functions the revisions run. All of it is read off the engine that env.py connects with.
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
"""Arguments that change no result: how long to wait, what to keep ready, what we set ourselves."""
PLACES = {
    *("host", "hostaddr", "port", "dbname", "database", "db", "service", "servicefile"),
    *("unix_socket", "read_default_file", "read_default_group", "dsn", "conninfo"),
}
"""Arguments that say where to connect, which only the URL may say."""
ACCOUNT = {"user": "username", "username": "username", "password": "password", "passwd": "password"}
CONNECTED = ("connect", "first_connect")
"""The events of a new connection."""
ONLY_ONCE = only_once(lambda: None, retry_on_exception=False).__code__
"""The code of every listener with `once=True`."""
LIBPQ = ("psycopg", "psycopg2", "psycopg_async")
PYMYSQL = ("pymysql", "aiomysql", "asyncmy", "mysqldb")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an engine's connections have beside their URL."""

    driver: str = ""
    """The driver that the arguments are meant for."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    listeners: tuple[tuple[str, str, Callable[..., Any]], ...] = ()
    """Of the engine, its pool and its dialect: (`pool`, "connect", the function)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Execution options, without the isolation level."""
    isolation: str | None = None
    """The isolation level of its transactions, where that is not its server's own."""
    role: str | None = None
    """The statement by which its session becomes another role: `"$user"` is that one then."""
    class_wide: bool = False
    """True if it listens to the connections of every engine."""
    creator: str | None = None
    """What connects in its own way, so that it cannot be told where to."""

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
        """The arguments that our driver takes. Raises EnvironmentFailed where one is lost."""
        if self.creator:
            raise EnvironmentFailed(
                f"env.py connects by {self.creator}, so that it cannot be told to which database. "
                "Nothing was changed. Let it take `config.attributes['connection']` where that is "
                "given, or say the same by `connect_args` and the URL."
            )
        given = {name: value for name, value in self.arguments.items() if name != "autocommit"}
        if places := sorted(given.keys() & PLACES):
            raise EnvironmentFailed(
                f"env.py says by connect_args where to connect ({', '.join(places)}), and the URL "
                "that was given says it too. Nothing was changed. Leave that to the URL."
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
            said = (f"-c {name}={_escaped(str(value))}" for name, value in settings.items())
            given["options"] = " ".join(said)
        others = given.keys() - {"options", "ssl"} if settings else given.keys()
        if others or (given.get("ssl") not in (None, False)):
            raise EnvironmentFailed(
                f"env.py connects with {self.driver} and arguments that {ours} does not know "
                f"({', '.join(sorted(others or {'ssl'}))}). Nothing was changed. Give them in the "
                "URL, in the words of its driver."
            )
        given.pop("ssl", None)
        return given

    def apply(self, raw: Raw, url: URL) -> dict[Any, Any]:
        """Let the pool's listeners prepare a connection that we opened.

        Returns what they noted on the pool's record of it, for those that look there later.
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
        """True if a listener is called for each new connection, and was when ours was opened."""
        return any(name in CONNECTED for level, name, _ in self.listeners if level == "pool")

    def on(self, engine: Engine, *, notes: Mapping[Any, Any] | None = None) -> Engine:
        """The same for an engine of ours, whose connection is there already.

        `notes`: what `apply` returned for it, which has called what is called once for a
        connection, as ATTACH has to be. None where it was not called.
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
    """What this engine's connections have beside their URL.

    `given`: the URL that env.py was given, to which it may have added options of its own.
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
