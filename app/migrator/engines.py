"""The engines that an env.py makes or imports, led to the database that was asked for.

Whatever it connects with, it reaches ours, so that no other database is ever touched.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from sqlalchemy import URL, Engine, StaticPool, create_engine, event

from app.migrator import driver
from app.migrator.alone import in_project, patched

try:
    from sqlalchemy.ext.asyncio import AsyncEngine, engine, session
    from sqlalchemy.ext.asyncio.result import _ensure_sync_result
    from sqlalchemy.util.concurrency import greenlet_spawn
except ImportError:  # without greenlet there is no async env.py either
    AsyncEngine = None  # type: ignore[assignment,misc]


class _Nobody:
    """A connection with nobody at the other end: takes everything and answers nothing."""

    description = (("nothing",) + (None,) * 6,)
    rowcount = 0
    lastrowid = 0

    def __init__(self, heard: Callable[[str], None]) -> None:
        self.heard = heard

    def execute(self, statement: object = "", *_: Any, **__: Any) -> "_Nobody":
        self.heard(str(statement))
        return self

    executemany = execute

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def fetchmany(self, *_: Any) -> list[Any]:
        return []

    def __getattr__(self, _: str) -> "_Nobody":
        return self

    def __call__(self, *_: Any, **__: Any) -> "_Nobody":
        return self


def mute_engine(url: URL, heard: Callable[[str], None] = lambda _: None) -> Engine:
    """An engine of this kind without a database. `heard` is told each statement."""
    # `_initialize`: SQLAlchemy would ask a new connection for its version.
    engine = create_engine(
        driver.parse(url), creator=lambda: _Nobody(heard), poolclass=StaticPool, _initialize=False
    )

    def options(_: object, given: Mapping[str, Any]) -> None:
        if "isolation_level" in given:
            heard("")

    event.listen(engine, "set_connection_execution_options", options)
    return driver.own(engine)


def commits(engine: Engine) -> bool:
    """True if it was made without transactions: each statement is committed."""
    # FRAGILE: where SQLAlchemy keeps `create_engine(isolation_level=…)`.
    at_birth = getattr(engine.dialect, "_on_connect_isolation_level", None)
    later = engine.get_execution_options().get("isolation_level")
    return "AUTOCOMMIT" in (at_birth, later)


def below(engine: Engine) -> Engine:
    """The engine that `engine.execution_options()` was called on."""
    return getattr(engine, "_proxied", engine)  # FRAGILE: private in SQLAlchemy


@contextlib.contextmanager
def leading_to(lead: Callable[[Engine], Engine]) -> Iterator[None]:
    """Lead every engine that a project's code connects with to ours, those for asyncio too."""
    connect, raw_connection = Engine.connect, Engine.raw_connection

    def led(engine: Engine) -> Engine:
        is_theirs = in_project() and below(engine) not in driver.own_engines
        return lead(engine) if is_theirs else engine

    with (
        patched(Engine, "connect", lambda engine: connect(led(engine))),
        patched(Engine, "raw_connection", lambda engine: raw_connection(led(engine))),
        _async_engines_too(),
    ):
        yield


@contextlib.contextmanager
def _async_engines_too() -> Iterator[None]:
    """Let an async env.py wrap the driver that the URL names, though ours is not for asyncio."""
    if AsyncEngine is None:
        yield
        return
    strict = AsyncEngine.__init__

    def lenient(engine: "AsyncEngine", sync_engine: Engine) -> None:
        if in_project():
            sync_engine.dialect.is_async = True
        strict(engine, sync_engine)

    def patient(*args: Any, **options: Any) -> Any:
        if in_project():  # ours answers without an await, and SQLAlchemy takes that for a mistake
            options["_require_await"] = False
        return greenlet_spawn(*args, **options)

    async def as_it_is(result: Any, method: Any) -> Any:
        return result if in_project() else await _ensure_sync_result(result, method)

    with ExitStack() as stack:
        stack.enter_context(patched(AsyncEngine, "__init__", lenient))
        for module in (engine, session):
            # FRAGILE: private in SQLAlchemy. What an AsyncConnection runs statements through.
            stack.enter_context(patched(module, "greenlet_spawn", patient))
            stack.enter_context(patched(module, "_ensure_sync_result", as_it_is))
        yield
