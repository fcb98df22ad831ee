"""Run an env.py without a database, and record what it configures.

It connects to the database that *it* is configured for: while it runs here, each engine that it
makes or imports is an offline one, so that no database is touched.
"""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine

from headway.dialects.search_path import LOOKS_ELSEWHERE, SET_ROLE, schema_set_by
from headway.error_text import is_raised_by_sqlalchemy
from headway.isolation.connecting import PLAIN, Settings, listeners_of, settings_of
from headway.isolation.engines import is_autocommit, offline_engine, redirect_engines, unwrap
from headway.isolation.isolated import env_py, isolated
from headway.isolation.modules import Modules
from headway.isolation.own_modules import recorded_variables
from headway.isolation.running import in_project
from headway.scripts.alike import alike
from headway.scripts.configuration import XReads
from headway.scripts.environment import Environment, Mode, raise_failed

# What says where the work goes, not how: that is ours to say.
WHERE = {
    *("connection", "url", "dialect_name", "dialect", "output_buffer", "as_sql", "starting_rev"),
    *("literal_binds", "dialect_opts", "tag", "transactional_ddl"),
}


@dataclass
class EnvCapture:
    """What an env.py configured and did while it was captured."""

    configured: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    x: XReads = field(default_factory=XReads)
    engines: dict[URL, Engine] = field(default_factory=dict)
    """Offline engines in place of those it connected with, by their URLs."""
    given: Engine | None = None
    """The offline engine of the connection that it was given."""
    class_wide: bool = False
    """True if it listens to the connections of every engine."""
    settings: dict[URL, Settings] = field(default_factory=dict)
    """Connection settings of its engines, by their URLs."""
    variables: dict[str, str | None] = field(default_factory=dict)
    needs: str = ""
    """What it did that has to be done for each database."""
    schema: str | None = None
    elsewhere: str | None = None
    role: str | None = None
    sets: list[str] = field(default_factory=list)
    """Statements that set search_path, schema or role."""
    failed: Exception | None = None
    kept: Any = None
    """The state of the project's modules, if it changed them after their import."""
    unknown: str | None = None
    """A part of that state that cannot be compared."""

    def note_need(self, reason: str | None) -> None:
        """Record something that only a database can answer."""
        self.needs = self.needs or reason or ""

    def on_statement(self, statement: str) -> None:
        """Record a statement that it sent to its connection."""
        self.note_need("it runs SQL of its own on the connection")
        if schema := schema_set_by(statement):
            self.schema = schema
        elif LOOKS_ELSEWHERE.search(statement):
            self.elsewhere = " ".join(statement.split())[:100]
        elif SET_ROLE.match(statement):
            self.role = statement
        else:
            return
        self.sets.append(" ".join(statement.split())[:100])

    @property
    def migrated(self) -> list[URL]:
        """The databases that it configured a run for, in order."""
        urls = {engine: url for url, engine in self.engines.items()}
        used = [one.engine for one in self.connections]
        return list(dict.fromkeys(urls[engine] for engine in map(unwrap, used) if engine in urls))

    @property
    def connections(self) -> list[Connection]:
        """The connections that it gave to `context.configure`."""
        given = [options.get("connection") for options in self.configured]
        return [one for one in given if isinstance(one, Connection)]

    @property
    def used(self) -> Settings:
        """The settings of those connections."""
        found = [self.settings[url] for url in self.migrated if url in self.settings]
        options = [dict(one.get_execution_options()) for one in self.connections]
        for one in options:
            one.pop("isolation_level", None)
        settings = next((one for one in found if one.why), found[0] if found else PLAIN)
        return replace(
            settings,
            options=next((one for one in options if one), settings.options),
            class_wide=self.class_wide,
            role=self.role,
        )

    def leaves_same_state(self, other: "EnvCapture") -> bool:
        """True if both captures left the project's modules in the same state."""
        return self.kept is not None and self.kept == other.kept and not self.unknown

    def is_equivalent(self, other: "EnvCapture") -> bool:
        """True if it configured the same in a capture for another database."""
        mine, theirs = (
            [_recorded_options(one) for one in captured.configured] for captured in (self, other)
        )
        return (
            self.needs == other.needs
            and (self.schema, self.elsewhere) == (other.schema, other.elsewhere)
            and self.x.names == other.x.names
            and len(self.engines) == len(other.engines)
            and alike(mine, theirs)
            and alike(self.runs, other.runs)
            and alike(vars(self.used), vars(other.used))
        )


class _NeedsDatabase(Exception):  # never leaves this module
    """Ends a capture: env.py does something that has to be done for each database."""


def capture_env(
    config_for: Callable[[URL], Config],
    scripts: ScriptDirectory,
    url: URL,
    modules: Modules,
    *,
    lent: bool = False,
) -> Environment:
    """Run an env.py without a database and record what it configures.

    It runs as `alembic` would run it; if it takes a connection from the program, with one. Then it
    runs for another database, to see whether it configures the same. `lent`: the program has a
    connection, and gives it. Raises EnvironmentFailed if it fails for a reason of its own.
    """

    def run_for(url: URL, *, given: bool, like: EnvCapture | None = None) -> EnvCapture:
        with isolated(modules):
            captured = capture_once(config_for(url), scripts, url, modules, given=given)
            is_kept = like and not is_within and captured.leaves_same_state(like)
            if is_kept and _environment_of(captured).mode is Mode.CAPTURED:
                modules.own.settle()  # its runs begin where env.py has left it
            return captured

    is_within, given = in_project(), lent
    first = run_for(url, given=given)
    if first.failed and not lent:
        again = run_for(url, given=True)
        given = again.failed is None and bool(again.runs)
        first = again if given else first
    if first.failed:
        raise_failed(first.failed, url, first.x.names)
    other = run_for(_another_database(url), given=given, like=first)
    differs = other.failed is not None or not first.is_equivalent(other)
    if differs:
        first.note_need("what it configures depends on the database")
    if first.kept is not None and (is_within or not other.leaves_same_state(first)):
        first.note_need("what it leaves in modules of the project may depend on the database")
    return replace(_environment_of(first), is_given=given, per_database=differs)


def recapture_env(
    previous: Environment,
    config_for: Callable[[URL], Config],
    scripts: ScriptDirectory,
    url: URL,
    modules: Modules,
) -> Environment:
    """Capture an env.py again after its modules were imported anew; it is used as before."""
    with isolated(modules):
        captured = capture_once(config_for(url), scripts, url, modules, given=previous.is_given)
        if previous.mode is Mode.CAPTURED and captured.failed is None:
            modules.own.settle()
    if captured.failed:
        raise_failed(captured.failed, url, captured.x.names)
    if previous.mode is Mode.EXECUTED:
        captured.note_need(previous.why)
    return replace(
        _environment_of(captured), is_given=previous.is_given, per_database=previous.per_database
    )


def _another_database(url: URL) -> URL:
    """The URL of another database of the same kind."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "memory")
        return url.set(database=str(path.with_name(f"other_{path.stem}_other{path.suffix}")))
    name = f"other_{url.database}_other"
    return url.set(database=name, username="other", host="other.invalid")


def capture_once(
    config: Config, scripts: ScriptDirectory, url: URL | None, modules: Modules, *, given: bool
) -> EnvCapture:
    """Run an env.py with offline engines for `url`, or else for what each connects to itself."""
    captured = EnvCapture()
    context = _environment_context(config, scripts, lambda *_: [])
    _record_calls(context, captured)
    already_registered = list(modules.registered.listeners)

    def redirect(theirs: Engine) -> Engine:
        if theirs.url not in captured.engines:
            here = url or theirs.url
            settings = captured.settings[theirs.url] = settings_of(theirs, here)
            captured.note_need(
                "it connects in autocommit" if is_autocommit(theirs) else settings.why
            )
            captured.engines[theirs.url] = offline_engine(here, captured.on_statement)
        return captured.engines[theirs.url]

    if given and url:
        captured.given = offline_engine(url, captured.on_statement)
        config.attributes["connection"] = captured.given.connect()
    try:
        with (
            context,
            redirect_engines(redirect),
            recorded_variables(captured.variables),
            contextlib.suppress(_NeedsDatabase),
        ):
            env_py(modules, scripts.run_env)
    except Exception as error:  # noqa: BLE001  # it is not our code
        # Without an answer from its database it may go astray: the real run will tell.
        if (captured.engines or captured.given) and is_raised_by_sqlalchemy(error):
            captured.note_need("it asks its connection what only a database can answer")
        if not captured.needs:
            captured.failed = error
    _note_connection_settings(captured)
    if any(one.is_for_connections for one in (*already_registered, *modules.registered.listeners)):
        captured.class_wide = True
        captured.note_need("it listens to the events of every engine")
    for name in modules.environ:
        captured.variables.pop(name, None)  # it sets that itself
    if modules.own.left():
        captured.kept, captured.unknown = modules.own.values()
        captured.unknown = captured.unknown or modules.own.nondeterministic
    return captured


def _note_connection_settings(captured: EnvCapture) -> None:
    """Record options and listeners of the connections that it configured with."""
    for connection in captured.connections:
        names = set(connection.get_execution_options()) - {"isolation_level"}
        if names:
            captured.note_need(f"its connection has execution options ({', '.join(sorted(names))})")
        of_engine = [listener for _, listener in listeners_of(connection.engine)]
        if any(listener not in of_engine for _, listener in listeners_of(connection)):
            captured.note_need("its connection has listeners")


def _environment_of(captured: EnvCapture) -> Environment:
    count, runs = len(captured.configured), len(captured.runs)
    arguments = [*captured.runs, *[{}] * count]
    environments = [
        Environment(
            mode=Mode.CAPTURED,
            why="it configures and runs once, and touches no database itself",
            options=_recorded_options(options),
            run_arguments=arguments[place],
            x_read=captured.x.names,
            variables=captured.variables,
        )
        for place, options in enumerate(captured.configured)
    ]
    if not captured.needs and count == runs == 1:
        return environments[0]
    databases = {}
    if len(captured.migrated) == count == runs > 1:  # each of them once
        databases = dict(zip(captured.migrated, environments, strict=True))
    why = captured.needs or f"it configures {count} times and runs migrations {runs} times"
    if captured.needs:
        databases = {
            url: replace(
                one, mode=Mode.EXECUTED, why=why, settings=captured.settings.get(url, PLAIN)
            )
            for url, one in databases.items()
        }
    return Environment(
        mode=Mode.EXECUTED,
        why=why,
        options=environments[0].options if environments else {},
        x_read=captured.x.names,
        schema=captured.schema or captured.used.schema,
        databases=databases,
        settings=captured.used,
        variables=captured.variables,
        elsewhere=captured.elsewhere,
        sets=tuple(captured.sets),
        runs=1 if databases else runs,
    )


def _recorded_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in options.items() if name not in WHERE and value is not None
    }


def _environment_context(
    config: Config, scripts: ScriptDirectory, steps_of: Callable[..., Any]
) -> EnvironmentContext:
    return EnvironmentContext(config, scripts, fn=steps_of, destination_rev="heads")


def _record_calls(context: EnvironmentContext, captured: EnvCapture) -> None:
    """Replace what env.py calls on the context.

    On the instance: Alembic keys its proxies by the exact class.
    """

    def needs(what: str) -> Callable[..., NoReturn]:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            captured.needs = captured.needs or what
            raise _NeedsDatabase(what)

        return refuse

    def configure(*args: Any, **options: Any) -> None:
        if args[1:]:  # the first is the connection
            needs("it calls context.configure with arguments by position")()
        captured.configured.append(options)

    context.configure = configure  # type: ignore[method-assign]
    context.run_migrations = lambda **kw: captured.runs.append(kw)  # type: ignore[method-assign]
    context.begin_transaction = nullcontext  # type: ignore[method-assign]
    captured.x.watch(context)
    for name in ("get_context", "get_bind", "get_impl", "execute", "static_output"):
        setattr(context, name, needs(f"it uses context.{name}()"))
