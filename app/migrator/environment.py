"""A project's env.py: run once to hear what it configures, or once a database where it must be.

An env.py connects to the database that *it* knows of. Here every engine that it makes or imports
leads to the database that was asked for, so that no other is ever touched.
"""

import contextlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine

from app.errors import EnvironmentFailed, HeadwayError
from app.migrator import driver
from app.migrator.alone import in_project, patched, without_loop

try:
    from sqlalchemy.ext.asyncio import AsyncEngine
except ImportError:  # without greenlet there is no async env.py either
    AsyncEngine = None  # type: ignore[assignment,misc]

# What says where the work goes, not how: that is ours to say.
WHERE = {
    *("connection", "url", "dialect_name", "dialect", "output_buffer", "as_sql", "starting_rev"),
    *("literal_binds", "dialect_opts", "tag", "transactional_ddl"),
}


class Mode(StrEnum):
    """How a project's env.py is used."""

    CAPTURED = "captured"  # run once a process; its options serve every database
    EXECUTED = "executed"  # run for each database
    NONE = "none"  # there is no env.py


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What an env.py says, or why it has to be asked each time."""

    mode: Mode
    why: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """What it gave to `context.configure`, without where to run."""
    run_arguments: Mapping[str, Any] = field(default_factory=dict)
    """What it gave to `context.run_migrations`."""
    reads_x: bool = False
    """True if it looked at the -x arguments, so that others may give other options."""
    several: bool = False
    """True if it runs migrations more than once: several databases in one env.py."""


@dataclass
class Told:
    """What an env.py did while it was listened to."""

    configured: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    reads_x: bool = False
    needs: str = ""
    """What it did that cannot be done once for all."""


class _NotForAll(Exception):  # never leaves this module
    """env.py does something that has to be done for each database."""


def listen(config: Config, scripts: ScriptDirectory, url: URL) -> Environment:
    """Run an env.py without a database and note what it configures.

    The caller has called `alone`. Raises EnvironmentFailed if it breaks for a reason of its own.
    """
    told = Told()
    engine = driver.own(_deaf_engine(url, told))
    context = _context(config, scripts, lambda *_: [])
    _listen_to(context, told)
    try:
        with context, leading_to(lambda _: engine.connect()), contextlib.suppress(_NotForAll):
            without_loop(scripts.run_env)
    except Exception as error:
        if not told.needs:
            raise failed(error) from error
    if told.needs or len(told.runs) != 1 or len(told.configured) != 1:
        why = told.needs or (
            f"it runs migrations {len(told.runs)} times and configures {len(told.configured)} times"
        )
        heard = _how(told.configured[0]) if told.configured else {}
        return Environment(
            mode=Mode.EXECUTED,
            why=why,
            options=heard,
            reads_x=told.reads_x,
            several=len(told.runs) > 1,
        )
    return Environment(
        mode=Mode.CAPTURED,
        why="it configures once and runs once, and touches no database itself",
        options=_how(told.configured[0]),
        run_arguments=told.runs[0],
        reads_x=told.reads_x,
    )


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in options.items() if name not in WHERE and value is not None
    }


def failed(error: Exception) -> HeadwayError:
    """An error of env.py's own, in words."""
    if isinstance(error, HeadwayError):
        return error
    said = " ".join(str(error).split()).rstrip(".")
    return EnvironmentFailed(
        f"env.py failed: {type(error).__name__}: {said}. It runs here as `alembic` would run it: "
        "check the settings and modules that it needs.",
        reason=said,
    )


def x_arguments(config: Config, x: Mapping[str, str]) -> Config:
    """The configuration as seen with these -x arguments."""
    given = [f"{name}={value}" for name, value in x.items()]
    config.cmd_opts = Namespace(x=given, quiet=True, raiseerr=True)
    return config


def _context(
    config: Config, scripts: ScriptDirectory, steps_of: Callable[..., Any]
) -> EnvironmentContext:
    return EnvironmentContext(config, scripts, fn=steps_of, destination_rev="heads")


def _listen_to(context: EnvironmentContext, told: Told) -> None:
    """Replace what env.py calls. On the instance: Alembic keys its proxies by the exact class."""

    def needs(what: str) -> Callable[..., NoReturn]:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            told.needs = told.needs or what
            raise _NotForAll(what)

        return refuse

    def configure(*args: Any, **options: Any) -> None:
        if args[1:]:  # the first is the connection
            needs("it calls context.configure with arguments by position")()
        told.configured.append(options)

    asked = context.get_x_argument

    def get_x_argument(*args: Any, **kwargs: Any) -> Any:
        told.reads_x = True
        return asked(*args, **kwargs)

    context.configure = configure  # type: ignore[method-assign]
    context.run_migrations = lambda **kw: told.runs.append(kw)  # type: ignore[method-assign]
    context.begin_transaction = nullcontext  # type: ignore[method-assign]
    context.get_x_argument = get_x_argument  # type: ignore[method-assign]
    for name in ("get_context", "get_bind", "get_impl", "execute", "static_output"):
        setattr(context, name, needs(f"it uses context.{name}()"))


def _deaf_engine(url: URL, told: Told) -> Engine:
    """An engine of the right kind whose connection refuses to say anything."""

    class Deaf:
        """Takes everything that SQLAlchemy sets up, and no statement."""

        def cursor(self, *_: Any, **__: Any) -> NoReturn:
            told.needs = told.needs or "it runs SQL of its own on the connection"
            raise _NotForAll(told.needs)

        execute = cursor

        def __getattr__(self, _: str) -> "Deaf":
            return self

        def __call__(self, *_: Any, **__: Any) -> "Deaf":
            return self

    # `_initialize`: SQLAlchemy would ask a new connection for its version.
    return create_engine(url, creator=Deaf, poolclass=StaticPool, _initialize=False)


@contextlib.contextmanager
def leading_to(connect: Callable[[Engine], Connection | None]) -> Iterator[None]:
    """Lead every engine that a project's code connects with to ours, those for asyncio too."""
    straight = Engine.connect

    def led(engine: Engine) -> Connection:
        led_away = in_project() and engine not in driver.own_engines
        return (connect(engine) if led_away else None) or straight(engine)

    with patched(Engine, "connect", led), _async_engines_too():
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

    with patched(AsyncEngine, "__init__", lenient):
        yield
