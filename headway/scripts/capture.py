"""Run an env.py without a database, and note what it configures.

It connects to the database that *it* knows of: while it runs here, each engine that it makes or
imports is an offline one, so that no database is touched.
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

from headway.dialects.search_path import LOOKS_ELSEWHERE, SEARCH_PATH, SET_CONFIG, SET_ROLE
from headway.error_text import raised_in
from headway.isolation.connecting import PLAIN, Settings, listeners_of, settings_of
from headway.isolation.engines import below, commits, leading_to, mute_engine
from headway.isolation.isolated import alone, env_py
from headway.isolation.modules import Modules
from headway.isolation.own_modules import reading
from headway.isolation.running import in_project
from headway.scripts.alike import alike
from headway.scripts.environment import Environment, Mode, raise_failed

# What says where the work goes, not how: that is ours to say.
WHERE = {
    *("connection", "url", "dialect_name", "dialect", "output_buffer", "as_sql", "starting_rev"),
    *("literal_binds", "dialect_opts", "tag", "transactional_ddl"),
}


@dataclass
class Told:
    """What an env.py did while it was listened to."""

    configured: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    reads_x: bool = False
    engines: dict[URL, Engine] = field(default_factory=dict)
    """Mute engines in place of those it connected with, by their URLs."""
    given: Engine | None = None
    """The mute engine of the connection that it was given."""
    class_wide: bool = False
    """It listens to the connections of every engine."""
    settings: dict[URL, Settings] = field(default_factory=dict)
    """What those have beside their URLs."""
    variables: dict[str, str | None] = field(default_factory=dict)
    needs: str = ""
    """What it did that cannot be done once for all."""
    schema: str | None = None
    elsewhere: str | None = None
    role: str | None = None
    sets: list[str] = field(default_factory=list)
    """The statements that said one of the three."""
    failed: Exception | None = None
    kept: Any = None
    """What it left in the project's modules, if it left them other than they were imported."""
    unknown: str | None = None
    """What it may have left there that cannot be compared."""

    def asked(self, what: str | None) -> None:
        """It does what only a database can answer."""
        self.needs = self.needs or what or ""

    def said(self, statement: str) -> None:
        """It gave a statement to its connection."""
        self.asked("it runs SQL of its own on the connection")
        if found := SEARCH_PATH.match(statement) or SET_CONFIG.match(statement):
            said = found.groupdict()
            self.schema = said["quoted"] or said["plain"].lower()
        elif LOOKS_ELSEWHERE.search(statement):
            self.elsewhere = " ".join(statement.split())[:100]
        elif SET_ROLE.match(statement):
            self.role = statement
        else:
            return
        self.sets.append(" ".join(statement.split())[:100])

    @property
    def migrated(self) -> list[URL]:
        """The databases it configured a run for, in that order."""
        urls = {engine: url for url, engine in self.engines.items()}
        used = [one.engine for one in self.connections]
        return list(dict.fromkeys(urls[engine] for engine in map(below, used) if engine in urls))

    @property
    def connections(self) -> list[Connection]:
        """The connections that it configured with."""
        given = [options.get("connection") for options in self.configured]
        return [one for one in given if isinstance(one, Connection)]

    @property
    def used(self) -> Settings:
        """What the connections that it configured with have beside their URL."""
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

    def leaves_the_same(self, other: "Told") -> bool:
        """True if it left the project's modules alike, and will leave them so each time."""
        return self.kept is not None and self.kept == other.kept and not self.unknown

    def is_like(self, other: "Told") -> bool:
        """True if it said the same when it was asked for another database."""
        mine, theirs = ([_how(one) for one in told.configured] for told in (self, other))
        return (
            self.needs == other.needs
            and (self.schema, self.elsewhere) == (other.schema, other.elsewhere)
            and len(self.engines) == len(other.engines)
            and alike(mine, theirs)
            and alike(self.runs, other.runs)
            and alike(vars(self.used), vars(other.used))
        )


class _NotForAll(Exception):  # never leaves this module
    """env.py does something that has to be done for each database."""


def listen(
    config_for: Callable[[URL], Config],
    scripts: ScriptDirectory,
    url: URL,
    modules: Modules,
    *,
    lent: bool = False,
) -> Environment:
    """Run an env.py without a database and note what it configures.

    It is run as `alembic` would; where it wants a connection from the program, with one. Then for
    another database too, to see whether it says the same. `lent`: the program has a connection,
    and gives it. Raises EnvironmentFailed if it breaks for a reason of its own.
    """

    def hear(url: URL, *, given: bool, like: Told | None = None) -> Told:
        with alone(modules):
            heard = _heard(config_for(url), scripts, url, modules, given=given)
            is_kept = like and not is_within and heard.leaves_the_same(like)
            if is_kept and _concluded(heard).mode is Mode.CAPTURED:
                modules.own.settle()  # its runs begin where env.py has left it
            return heard

    is_within, given = in_project(), lent
    told = hear(url, given=given)
    if told.failed and not lent:
        again = hear(url, given=True)
        given = again.failed is None and bool(again.runs)
        told = again if given else told
    if told.failed:
        raise_failed(told.failed, url)
    other = hear(_another(url), given=given, like=told)
    differs = other.failed is not None or not told.is_like(other)
    if differs:
        told.asked("what it configures depends on the database")
    if told.kept is not None and (is_within or not other.leaves_the_same(told)):
        told.asked("what it leaves in modules of the project may depend on the database")
    return replace(_concluded(told), is_given=given, per_database=differs)


def listen_again(
    known: Environment,
    config_for: Callable[[URL], Config],
    scripts: ScriptDirectory,
    url: URL,
    modules: Modules,
) -> Environment:
    """The same from modules that were imported anew, where it is known how env.py is used."""
    with alone(modules):
        told = _heard(config_for(url), scripts, url, modules, given=known.is_given)
        if known.mode is Mode.CAPTURED and told.failed is None:
            modules.own.settle()
    if told.failed:
        raise_failed(told.failed, url)
    if known.mode is Mode.EXECUTED:
        told.asked(known.why)
    return replace(_concluded(told), is_given=known.is_given, per_database=known.per_database)


def _another(url: URL) -> URL:
    """A database that is not this one, of the same kind."""
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "memory")
        return url.set(database=str(path.with_name(f"other_{path.stem}_other{path.suffix}")))
    name = f"other_{url.database}_other"
    return url.set(database=name, username="other", host="other.invalid")


def _heard(
    config: Config, scripts: ScriptDirectory, url: URL, modules: Modules, *, given: bool
) -> Told:
    told = Told()
    context = _context(config, scripts, lambda *_: [])
    _listen_to(context, told)
    known = list(modules.registered.listeners)

    def lead(theirs: Engine) -> Engine:
        if theirs.url not in told.engines:
            settings = told.settings[theirs.url] = settings_of(theirs, url)
            told.asked("it connects in autocommit" if commits(theirs) else settings.why)
            told.engines[theirs.url] = mute_engine(url, told.said)
        return told.engines[theirs.url]

    if given:
        told.given = mute_engine(url, told.said)
        config.attributes["connection"] = told.given.connect()
    try:
        with context, leading_to(lead), reading(told.variables), contextlib.suppress(_NotForAll):
            env_py(modules, scripts.run_env)
    except Exception as error:  # noqa: BLE001  # it is not our code
        # Without an answer from its database it may go astray: the real run will tell.
        if (told.engines or told.given) and _is_of_sqlalchemy(error):
            told.asked("it asks its connection what only a database can answer")
        if not told.needs:
            told.failed = error
    _look_at_connections(told)
    if any(one.hears_connections for one in (*known, *modules.registered.listeners)):
        told.class_wide = True
        told.asked("it listens to the events of every engine")
    for name in modules.environ:
        told.variables.pop(name, None)  # it sets that itself
    if modules.own.left():
        told.kept, told.unknown = modules.own.values()
        told.unknown = told.unknown or modules.own.asks
    return told


def _is_of_sqlalchemy(error: BaseException) -> bool:
    """True if SQLAlchemy raised it: its dialects ask a server for what they need to know."""
    frame = raised_in(error)
    module = frame.f_globals.get("__name__") if frame else ""
    return str(module).startswith("sqlalchemy.")


def _look_at_connections(told: Told) -> None:
    """What it said of the very connections that it configured with."""
    for connection in told.connections:
        names = set(connection.get_execution_options()) - {"isolation_level"}
        if names:
            told.asked(f"its connection has execution options ({', '.join(sorted(names))})")
        of_engine = [listener for _, listener in listeners_of(connection.engine)]
        if any(listener not in of_engine for _, listener in listeners_of(connection)):
            told.asked("its connection has listeners")


def _concluded(told: Told) -> Environment:
    count, runs = len(told.configured), len(told.runs)
    arguments = [*told.runs, *[{}] * count]
    heard = [
        Environment(
            mode=Mode.CAPTURED,
            why="it configures and runs once, and touches no database itself",
            options=_how(options),
            run_arguments=arguments[place],
            reads_x=told.reads_x,
            variables=told.variables,
        )
        for place, options in enumerate(told.configured)
    ]
    if not told.needs and count == runs == 1:
        return heard[0]
    databases = {}
    if len(told.migrated) == count == runs > 1:  # each of them once
        databases = dict(zip(told.migrated, heard, strict=True))
    why = told.needs or f"it configures {count} times and runs migrations {runs} times"
    if told.needs:
        databases = {
            url: replace(one, mode=Mode.EXECUTED, why=why, settings=told.settings.get(url, PLAIN))
            for url, one in databases.items()
        }
    return Environment(
        mode=Mode.EXECUTED,
        why=why,
        options=heard[0].options if heard else {},
        reads_x=told.reads_x,
        schema=told.schema or told.used.schema,
        databases=databases,
        settings=told.used,
        variables=told.variables,
        elsewhere=told.elsewhere,
        sets=tuple(told.sets),
        runs=1 if databases else runs,
    )


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in options.items() if name not in WHERE and value is not None
    }


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

    ask_x = context.get_x_argument

    def get_x_argument(*args: Any, **kwargs: Any) -> Any:
        told.reads_x = True
        return ask_x(*args, **kwargs)

    context.configure = configure  # type: ignore[method-assign]
    context.run_migrations = lambda **kw: told.runs.append(kw)  # type: ignore[method-assign]
    context.begin_transaction = nullcontext  # type: ignore[method-assign]
    context.get_x_argument = get_x_argument  # type: ignore[method-assign]
    for name in ("get_context", "get_bind", "get_impl", "execute", "static_output"):
        setattr(context, name, needs(f"it uses context.{name}()"))
