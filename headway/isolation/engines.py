"""Redirects engines that a project's code makes or imports to the requested database.

Whatever the code connects with, it reaches that database or is refused.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, StaticPool, create_engine, event

from headway.dialects import driver
from headway.dialects.driver import Raw
from headway.dialects.urls import DatabaseURL
from headway.errors import EnvironmentFailed
from headway.isolation.connecting import isolation_of, settings_of
from headway.isolation.running import in_project, patched

ASYNC = "sqlalchemy.ext.asyncio"
"""Imported where a project does: with it comes the ORM, which takes as long as Alembic."""


class _NullConnection:
    """A stand-in connection for offline mode: accepts every call, returns nothing."""

    description = (("nothing",) + (None,) * 6,)
    rowcount = 0
    lastrowid = 0

    def __init__(self, on_statement: Callable[[str], None]) -> None:
        self.on_statement = on_statement

    def execute(
        self, statement: object = "", values: Any = (), *_: Any, **__: Any
    ) -> "_NullConnection":
        self.on_statement(_with_values(str(statement), values))
        return self

    executemany = execute

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def fetchmany(self, *_: Any) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        # What SQLAlchemy asks of a driver means nothing; what env.py asks of it, `create_function`
        # and the like, means that it wants a real one.
        if not _caller().startswith("sqlalchemy."):
            self.on_statement(f"{name} of the driver")
        return self

    def __call__(self, *_: Any, **__: Any) -> "_NullConnection":
        return self


def _caller() -> str:
    return str(sys._getframe(2).f_globals.get("__name__", ""))  # noqa: SLF001


def _with_values(statement: str, values: Any) -> str:
    """The statement with its values in it, for reading only."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            statement = statement.replace(f"%({name})s", f"'{value}'").replace(
                f":{name}", f"'{value}'"
            )
    return statement


def offline_engine(url: URL, on_statement: Callable[[str], None] = lambda _: None) -> Engine:
    """An engine of this kind without a database. `on_statement` is called with each statement."""
    # `_initialize`: SQLAlchemy would ask a new connection for its version.
    engine = create_engine(
        DatabaseURL.parse(url),
        creator=lambda: _NullConnection(on_statement),
        poolclass=StaticPool,
        _initialize=False,
    )

    def options(_: object, given: Mapping[str, Any]) -> None:
        if "isolation_level" in given:
            on_statement("")

    event.listen(engine, "set_connection_execution_options", options)
    _report_server_attributes(engine.dialect, on_statement)
    return driver.register_engine(engine)


def _report_server_attributes(dialect: Dialect, on_statement: Callable[[str], None]) -> None:
    """Call `on_statement` when a project reads a dialect attribute that needs a server."""
    kind = type(dialect)

    def answer(name: str) -> property:
        def read(self: Dialect) -> Any:
            if not _caller().startswith(("sqlalchemy.", "alembic.")):
                on_statement(f"{name} of the server")
            return vars(self).get(name)

        return property(read, lambda self, value: vars(self).update({name: value}))

    body: dict[str, Any] = {"supports_statement_cache": kind.supports_statement_cache}
    body |= {name: answer(name) for name in ("default_schema_name", "server_version_info")}
    dialect.__class__ = type(kind.__name__, (kind,), body)


def is_autocommit(engine: Engine) -> bool:
    """True if the engine commits each statement."""
    return isolation_of(engine) == "AUTOCOMMIT" or bool(
        settings_of(engine).arguments.get("autocommit")
    )


def unwrap(engine: Engine) -> Engine:
    """The engine that `engine.execution_options()` was called on."""
    return getattr(engine, "_proxied", engine)  # FRAGILE: private in SQLAlchemy


Redirect = Callable[[Engine], Engine]
"""Returns the engine to use instead of a project's own, or raises."""

_redirects: list[Redirect] = []
"""The last one is in force. Only one project's code runs at a time."""


@contextlib.contextmanager
def redirect_engines(redirect: Redirect) -> Iterator[None]:
    """Within `redirected_engines`: use this function to replace the project's engines."""
    _redirects.append(redirect)
    try:
        yield
    finally:
        _redirects.pop()


@contextlib.contextmanager
def redirected_engines() -> Iterator[None]:
    """While this lasts, the project's engines connect as `redirect_engines` says, async ones too.

    Without `redirect_engines` connecting is refused: the scripts are only being read.
    """
    connect, raw_connection = Engine.connect, Engine.raw_connection

    def target_of(engine: Engine) -> Engine:
        if not in_project() or unwrap(engine) in driver.own_engines:
            return engine
        return (_redirects[-1] if _redirects else refuse_engine)(engine)

    with (
        patched(Engine, "connect", lambda engine: connect(target_of(engine))),
        patched(Engine, "raw_connection", lambda engine: raw_connection(target_of(engine))),
        _redirected_async_engines(),
    ):
        yield


def refuse_engine(engine: Engine) -> Engine:
    """Refuse to connect, except to a SQLite database in memory."""
    if is_memory(engine.url):
        return engine
    raise EnvironmentFailed(
        f"The scripts connect to a database ({driver.display_url(engine.url)}) while they are only "
        "read. Nothing was sent to it. Let them connect in `upgrade()`, or in env.py."
    )


def is_memory(url: URL) -> bool:
    """True for a SQLite database that only its own connection can see."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


class _SharedConnection:
    """The connection of a run, for an engine that a revision opens itself.

    The run's transaction is not ended by that engine: its own transactions are savepoints.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def commit(self) -> None:
        pass

    rollback = close = commit


def joined_engine(main: Connection) -> Engine:
    """An engine that uses this session; its transactions are savepoints in the session's."""
    raw = driver.dbapi_connection(main)
    pool = StaticPool(lambda: _SharedConnection(raw), dialect=main.dialect)
    engine = driver.register_engine(Engine(pool, main.dialect, main.engine.url))
    open_ones: list[str] = []

    def begin(connection: Connection) -> None:
        if (
            getattr(raw, "autocommit", False) is not True
        ):  # each statement commits: an `autocommit_block`
            open_ones.append(f"headway_{len(open_ones)}")
            connection.exec_driver_sql(f"SAVEPOINT {open_ones[-1]}")

    def commit(connection: Connection) -> None:
        if open_ones:
            connection.exec_driver_sql(f"RELEASE SAVEPOINT {open_ones.pop()}")

    def rollback(connection: Connection) -> None:
        if open_ones:
            connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {open_ones[-1]}")
            commit(connection)

    for name, listener in {"begin": begin, "commit": commit, "rollback": rollback}.items():
        event.listen(engine, name, listener)
    return engine


def rehearsed_engine(main: Connection, ends: re.Pattern[str]) -> Engine:
    """The same for an env.py that ends its transactions, while its work is to be rolled back.

    A statement that `ends` the session's transaction raises EnvironmentFailed.
    """
    engine = joined_engine(main)

    def refuse_end(_: object, __: object, statement: str, *___: object) -> None:
        parts = [statement] if "$" in statement else statement.split(";")  # but for a function
        if any(map(ends.match, parts)):
            raise EnvironmentFailed(
                "env.py or a revision ends its transaction by a statement of its own "
                f"({' '.join(statement.split())[:40]}), so that it cannot be rehearsed in one that "
                "is rolled back. Nothing was changed. Let it use `connection.commit()`, or "
                "rehearse it while nobody uses the database: then it is done on a copy."
            )

    event.listen(engine, "before_cursor_execute", refuse_end)
    return engine


@contextlib.contextmanager
def _redirected_async_engines() -> Iterator[None]:
    """Let an async env.py wrap our synchronous driver connections."""
    with ExitStack() as stack:
        if ASYNC in sys.modules:
            _redirect_async_engines(stack)
        else:
            finder = _AsyncFinder(lambda: _redirect_async_engines(stack))
            sys.meta_path.insert(0, finder)
            stack.callback(sys.meta_path.remove, finder)
        yield


class _AsyncFinder:
    """Calls back when SQLAlchemy's asyncio extension has been imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Python's meta path finder: what the others find, with the call after its code."""
        if name != ASYNC:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = next(filter(None, (each.find_spec(name, path, target) for each in others)), None)
        if found and found.loader:
            run: Callable[[ModuleType], None] = found.loader.exec_module

            def run_and_call(module: ModuleType) -> None:
                run(module)
                self.then()

            found.loader.exec_module = run_and_call  # type: ignore[method-assign]
        return found


def _redirect_async_engines(stack: ExitStack) -> None:
    concurrency, result, engine, session = (
        sys.modules[name]
        for name in (
            "sqlalchemy.util.concurrency",
            *(f"{ASYNC}.{part}" for part in ("result", "engine", "session")),
        )
    )
    strict = engine.AsyncEngine.__init__
    greenlet_spawn, ensure_sync_result = concurrency.greenlet_spawn, result._ensure_sync_result  # noqa: SLF001  # FRAGILE: private

    def init_sync_engine(engine: Any, sync_engine: Engine) -> None:
        if in_project():
            sync_engine.dialect.is_async = True
        strict(engine, sync_engine)

    def spawn_without_await(*args: Any, **options: Any) -> Any:
        if in_project():  # ours answers without an await, and SQLAlchemy takes that for a mistake
            options["_require_await"] = False
        return greenlet_spawn(*args, **options)

    async def unchecked_result(result: Any, method: Any) -> Any:
        return result if in_project() else await ensure_sync_result(result, method)

    stack.enter_context(patched(engine.AsyncEngine, "__init__", init_sync_engine))
    for module in (engine, session):
        # FRAGILE: private in SQLAlchemy. What an AsyncConnection runs statements through.
        stack.enter_context(patched(module, "greenlet_spawn", spawn_without_await))
        stack.enter_context(patched(module, "_ensure_sync_result", unchecked_result))
