"""A project's env.py: run once to hear what it configures, or once a database where it must be.

An env.py connects to the database that *it* knows of. Here every engine that it makes or imports
leads to the database that was asked for, so that no other is ever touched.
"""

import contextlib
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NoReturn

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine

from app.errors import EnvironmentFailed, HeadwayError
from app.migrator.alone import Modules, env_py
from app.migrator.engines import below, commits, leading_to, mute_engine
from app.migrator.urls import is_same

# What env.py says about comparing; the rest of it is about running.
COMPARING = {
    *("compare_type", "compare_server_default", "include_object", "include_name"),
    *("include_schemas", "user_module_prefix"),
}

# What says where the work goes, not how: that is ours to say.
WHERE = {
    *("connection", "url", "dialect_name", "dialect", "output_buffer", "as_sql", "starting_rev"),
    *("literal_binds", "dialect_opts", "tag", "transactional_ddl"),
}


PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s@]+@")


SEARCH_PATH = re.compile(
    r"\s*SET\s+(?:LOCAL\s+|SESSION\s+)?search_path\s*(?:TO|=)\s*"
    r"(?:[\"'](?P<quoted>[^\"']+)[\"']|(?P<plain>\w+))",
    re.IGNORECASE,
)


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
    schema: str | None = None
    """Where it lets its session look, and so where the version is: `SET search_path`."""
    databases: Mapping[URL, "Environment"] = field(default_factory=dict)
    """The same for each database, where it knows several and migrates them in one go."""

    @property
    def untold(self) -> dict[str, Any]:
        """The options for what is no upgrade of a database: env.py is not told of revisions."""
        return {k: v for k, v in self.options.items() if k != "on_version_apply"}

    @property
    def comparing(self) -> dict[str, Any]:
        """The options that say how schemas are compared."""
        return {k: v for k, v in self.options.items() if k in COMPARING}

    def at(self, url: URL) -> "Environment":
        """How it is used for one database of several."""
        found = (mine for known, mine in self.databases.items() if is_same(known, url))
        return next(found, self)


@dataclass
class Told:
    """What an env.py did while it was listened to."""

    configured: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    reads_x: bool = False
    engines: dict[URL, Engine] = field(default_factory=dict)
    """Mute engines in place of those it connected with, by their URLs."""
    needs: str = ""
    """What it did that cannot be done once for all."""
    schema: str | None = None

    def asked(self, what: str) -> None:
        """It does what only a database can answer."""
        self.needs = self.needs or what

    def said(self, statement: str) -> None:
        """It gave a statement to its connection."""
        self.asked("it runs SQL of its own on the connection")
        if found := SEARCH_PATH.match(statement):
            self.schema = found["quoted"] or found["plain"].lower()

    @property
    def migrated(self) -> list[URL]:
        """The databases it configured a run for, in that order."""
        urls = {engine: url for url, engine in self.engines.items()}
        given = [options.get("connection") for options in self.configured]
        used = [one.engine for one in given if isinstance(one, Connection)]
        return list(dict.fromkeys(urls[engine] for engine in map(below, used) if engine in urls))


class _NotForAll(Exception):  # never leaves this module
    """env.py does something that has to be done for each database."""


def listen(config: Config, scripts: ScriptDirectory, url: URL, modules: Modules) -> Environment:
    """Run an env.py without a database and note what it configures.

    The caller has called `alone`. Raises EnvironmentFailed if it breaks for a reason of its own.
    """
    told = Told()
    context = _context(config, scripts, lambda *_: [])
    _listen_to(context, told)

    def lead(theirs: Engine) -> Engine:
        if commits(theirs):
            told.asked("it connects in autocommit")
        if theirs.url not in told.engines:
            told.engines[theirs.url] = mute_engine(url, told.said)
        return told.engines[theirs.url]

    try:
        with context, leading_to(lead), contextlib.suppress(_NotForAll):
            env_py(modules, scripts.run_env)
    except Exception as error:  # noqa: BLE001  # it is not our code
        # Without an answer from its database it may go astray: the real run will tell.
        if not told.needs:
            raise_failed(error, url)
    return _concluded(told)


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
            url: replace(one, mode=Mode.EXECUTED, why=why) for url, one in databases.items()
        }
    return Environment(
        mode=Mode.EXECUTED,
        why=why,
        options=heard[0].options if heard else {},
        reads_x=told.reads_x,
        schema=told.schema,
        databases=databases,
    )


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in options.items() if name not in WHERE and value is not None
    }


def raise_failed(error: Exception, url: URL) -> NoReturn:
    """Raise an error of env.py's own as ours, in words and without passwords."""
    if isinstance(error, HeadwayError):
        raise error
    plain = _in_words(error)
    said = _without_secrets(plain, url)
    ours = EnvironmentFailed(
        f"env.py failed: {type(error).__name__}: {said}. {_advice(error)}", reason=said
    )
    # The cause would be shown with it, and says what we have just taken out.
    raise ours from (error if said == plain and said in " ".join(str(error).split()) else None)


def _in_words(error: Exception) -> str:
    with contextlib.suppress(Exception):
        # pydantic's words quote all that it was given, which is where the secrets are.
        found = error.errors(include_input=False)  # type: ignore[attr-defined]
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    return " ".join(str(error).split()).rstrip(".")


def _without_secrets(said: str, url: URL) -> str:
    if url.password:
        said = said.replace(str(url.password), "***")
    return PASSWORD.sub(r"\1***@", said)


def _advice(error: Exception) -> str:
    if "application context" in str(error):
        return (
            "It belongs to a Flask application: work inside one, `with app.app_context():`, or "
            "through its own `flask` command."
        )
    if isinstance(error, ImportError):
        return (
            "Install what it needs where Headway runs; the project's own modules are looked for in "
            "`prepend_sys_path` of its alembic.ini and beside its scripts."
        )
    return "It runs here as `alembic` would run it: check the settings and modules that it needs."


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
