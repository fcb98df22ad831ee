"""A project's env.py: run once to hear what it configures, or once a database where it must be.

An env.py connects to the database that *it* knows of. Here every engine that it makes or imports
leads to the database that was asked for, so that no other is ever touched.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from sqlalchemy import URL

from headway.dialects.urls import is_same
from headway.error_text import plain
from headway.errors import EnvironmentFailed, HeadwayError
from headway.isolation.connecting import PLAIN, Settings

# What env.py says about comparing; the rest of it is about running.
COMPARING = {
    *("compare_type", "compare_server_default", "include_object", "include_name"),
    *("include_schemas", "user_module_prefix"),
}


PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s@]+@")


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
    settings: Settings = PLAIN
    """What its connections have beside their URL."""
    is_given: bool = False
    """True if it wants its connection in `config.attributes`."""
    per_database: bool = False
    """True if it says other things of another database."""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    """The variables that it read, with what they were."""
    elsewhere: str | None = None
    """A statement by which its session looks where it cannot be told."""
    sets: tuple[str, ...] = ()
    """The statements by which it sets the role or the search_path of its session."""
    generation: int = 0
    """Which import of the project's modules it comes from."""
    runs: int = 1
    """How often it runs the revisions on one database."""

    @property
    def schemas(self) -> Mapping[str | None, str | None]:
        """Schemas that stand for others: its `schema_translate_map`."""
        return self.settings.options.get("schema_translate_map") or {}

    @property
    def has_one_script(self) -> bool:
        """False if what it sends to two databases goes to schemas of two names."""
        return self.runs <= 1 and not (self.per_database and self.schemas)

    @property
    def unwritten(self) -> str | None:
        """What a run has, and SQL that is only written has not; None for nothing."""
        if self.mode is not Mode.EXECUTED:
            return None
        schema = self.settings.schema
        looks = (f"it looks in schema {schema}",) if schema else ()
        return "; ".join((self.why, *self.sets, *looks))

    @property
    def version_schema(self) -> str | None:
        """Where the version is; None for where its session looks first."""
        schema = self.options.get("version_table_schema")
        return self.schemas.get(schema, schema) or self.schema

    @property
    def is_current(self) -> bool:
        """False if a variable that it read has changed since."""
        return all(os.environ.get(name) == value for name, value in self.variables.items())

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


def raise_failed(error: Exception, url: URL) -> NoReturn:
    """Raise an error of env.py's own as ours, in words and without passwords."""
    if isinstance(error, HeadwayError):
        raise error
    words = _in_words(error)
    said = _without_secrets(words, url)
    ours = EnvironmentFailed(
        f"env.py failed: {type(error).__name__}: {said}. {_advice(error)}", reason=said
    )
    # The cause would be shown with it, and says what we have just taken out.
    raise ours from (error if said == words and said in plain(error) else None)


def _in_words(error: Exception) -> str:
    with contextlib.suppress(Exception):
        # pydantic's words quote all that it was given, which is where the secrets are.
        found = error.errors(include_input=False)  # type: ignore[attr-defined]
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    return plain(error)


def _without_secrets(said: str, url: URL) -> str:
    if url.password:
        said = said.replace(str(url.password), "***")
    return PASSWORD.sub(r"\1***@", said)


def _advice(error: Exception) -> str:
    if "application context" in plain(error):
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
