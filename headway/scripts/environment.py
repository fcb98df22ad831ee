"""How a project's env.py is used: its options, captured once, or run for each database."""

import contextlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn, Protocol

from sqlalchemy import URL

from headway.connections.address import Address
from headway.dialects.urls import DatabaseURL
from headway.error_text import plain
from headway.errors import EnvironmentFailed, HeadwayError
from headway.isolation.connecting import PLAIN, Settings
from headway.scripts.files import Scripts
from headway.words import Words

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
    """What an env.py configures, and whether it has to run for each database."""

    mode: Mode
    why: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that it gave to `context.configure`, without those that name a database."""
    run_arguments: Mapping[str, Any] = field(default_factory=dict)
    """The arguments that it gave to `context.run_migrations`."""
    x_read: tuple[str, ...] | None = None
    """The -x arguments that it read by name; None if it read none, and others change nothing."""
    schema: str | None = None
    """The first schema of the search_path that it sets, which has the version table."""
    databases: Mapping[URL, "Environment"] = field(default_factory=dict)
    """The environment of each database, if it migrates several in one run."""
    settings: Settings = PLAIN
    """Connection settings beyond the URL."""
    is_given: bool = False
    """True if it takes its connection from `config.attributes`."""
    per_database: bool = False
    """True if its options depend on the database."""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    """The environment variables that it read, with their values."""
    elsewhere: str | None = None
    """A statement that changes the schema of its session in a way that is not understood."""
    sets: tuple[str, ...] = ()
    """The statements by which it sets the role or the search_path of its session."""
    generation: int = 0
    """The import of the project's modules that it was captured with."""
    runs: int = 1
    """How often it runs the revisions on one database."""

    @property
    def schemas(self) -> Mapping[str | None, str | None]:
        """Its `schema_translate_map`."""
        return self.settings.options.get("schema_translate_map") or {}

    @property
    def has_one_script(self) -> bool:
        """False if its SQL contains schema names that differ between databases."""
        return self.runs <= 1 and not (self.per_database and self.schemas)

    @property
    def unwritten(self) -> str | None:
        """What a run does and a script of SQL lacks, in words; None for nothing."""
        if self.mode is not Mode.EXECUTED:
            return None
        schema = self.settings.schema
        looks = (f"it looks in schema {schema}",) if schema else ()
        return "; ".join((self.why, *self.sets, *looks))

    @property
    def version_schema(self) -> str | None:
        """The schema of the version table; None for the session's default schema."""
        schema = self.options.get("version_table_schema")
        return self.schemas.get(schema, schema) or self.schema

    @property
    def is_current(self) -> bool:
        """False if an environment variable that it read has changed since."""
        return all(os.environ.get(name) == value for name, value in self.variables.items())

    @property
    def options_without_callbacks(self) -> dict[str, Any]:
        """The options for work that is no upgrade: without `on_version_apply`."""
        return {k: v for k, v in self.options.items() if k != "on_version_apply"}

    @property
    def comparing(self) -> dict[str, Any]:
        """The options for comparing schemas."""
        return {k: v for k, v in self.options.items() if k in COMPARING}

    def refuse_another_schema(
        self, address: Address, words: Words, *, is_own_table: bool = False
    ) -> None:
        """Raise EnvironmentFailed if the URL names a schema and env.py another.

        `is_own_table`: its version table is named as the schema, and may be in one that has those
        of all.
        """
        versions = None if is_own_table else self.version_schema
        if not (self.schema or versions) or not (ours := DatabaseURL.of(address.url).schema):
            return
        for what, schema in (
            ("sets search_path to", self.schema),
            ("keeps versions in the schema", versions),
        ):
            if schema and schema != ours:
                raise EnvironmentFailed(
                    f"env.py {what} {schema} while the URL of this database names {ours}: it would "
                    f"migrate {schema} in place of {ours}. Nothing was changed. "
                    f"{self._schema_advice(words.setting('schema', ours), words)} A schema for the "
                    f"versions of all has a table for each: version_table='version_{ours}'."
                )

    def _schema_advice(self, value: str, words: Words) -> str:
        """How to give env.py the schema that the URL names."""
        if self.x_read is None:
            return "Let env.py leave the schema to the URL, or read it from an -x argument."
        given = words.setting("x", "an -x argument")
        if len(self.x_read) == 1:
            return f"Give {self.x_read[0]}={value} as {given}, or let env.py leave it to the URL."
        which = f" (it reads {', '.join(self.x_read)})" if self.x_read else ""
        return f"Give env.py {value} as {given}{which}, or let it leave the schema to the URL."

    def at(self, url: URL) -> "Environment":
        """The environment of one database, if env.py knows several; else itself."""
        match = (
            environment
            for other, environment in self.databases.items()
            if DatabaseURL.of(other).is_same(url)
        )
        return next(match, self)


class Readable(Protocol):
    """As much of a project as is read to tell where a database stands."""

    @property
    def scripts(self) -> Scripts:
        """Its revisions, as files."""

    def environment_of(self, address: Address, x: Mapping[str, str]) -> Environment:
        """How its env.py is used for a database."""


def raise_failed(error: Exception, url: URL, x_read: Collection[str] | None = None) -> NoReturn:
    """Raise an error of env.py's own as EnvironmentFailed, without passwords.

    `x_read`: the -x arguments that it asked for.
    """
    if isinstance(error, HeadwayError):
        raise error
    message = _message_of(error)
    text = _without_secrets(message, url)
    failure = EnvironmentFailed(
        f"env.py failed: {type(error).__name__}: {text}. {_advice(error, x_read or ())}",
        reason=text,
    )
    # The cause would be shown with it, and says what we have just taken out.
    raise failure from (error if text == message and text in plain(error) else None)


def _message_of(error: Exception) -> str:
    with contextlib.suppress(Exception):
        # pydantic's words quote all that it was given, which is where the secrets are.
        found = error.errors(include_input=False)  # type: ignore[attr-defined]
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
    return plain(error)


def _without_secrets(text: str, url: URL) -> str:
    if url.password:
        text = text.replace(str(url.password), "***")
    return PASSWORD.sub(r"\1***@", text)


def _advice(error: Exception, x_read: Collection[str]) -> str:
    if isinstance(error, KeyError) and (missing := str(error.args[0])) in x_read:
        return f"It needs the -x argument {missing}: give {missing}=VALUE."
    if "application context" in plain(error):
        return (
            "It belongs to a Flask application: work inside one, `with app.app_context():`, or "
            "through its own `flask` command; in tests, return the app from a fixture "
            "`headway_app`."
        )
    if isinstance(error, ImportError):
        return (
            "Install what it needs where Headway runs; the project's own modules are looked for in "
            "`prepend_sys_path` of its alembic.ini and beside its scripts."
        )
    return "It runs here as `alembic` would run it: check the settings and modules that it needs."
