"""Drift: compare a database with what its revisions create, and with the models."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from alembic.autogenerate import RevisionContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from headway import history
from headway import status as verdict
from headway.connections.address import Address
from headway.dialects import Ground, dialect_of
from headway.errors import DatabaseUnstamped, EnvironmentFailed, HeadwayError
from headway.execution import failures
from headway.isolation.isolated import isolated
from headway.schema import adopt as adopting
from headway.schema.adopt import Match
from headway.schema.build import ReferenceBuilder, targets_of
from headway.schema.compare import Reference, Scope, reflected
from headway.schema.differences import describe, differences
from headway.scripts.project import ScriptProject
from headway.types import Bounded
from headway.words import Words

MOST_REFERENCES = 64
"""How many references a process keeps of a project: there is one for each schema and set of -x."""
STAMP = "If you know which revision it is at, `stamp` it."


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The drift of a database's schema, as texts: "extra column account.nickname"."""

    revision: tuple[str, ...]
    """The current revisions."""
    differences: tuple[str, ...]
    """Differences from what those revisions create."""
    models: tuple[str, ...] | None
    """Differences of the models from that; None without models, or if it is not at head."""
    fixes: tuple[str | None, ...] = ()
    """The SQL that removes each of `differences`; None for one that has none."""
    rows: tuple[int | None, ...] = ()
    """How many rows or values each of them would delete, 10,001 for more; None if not known."""

    @property
    def is_clean(self) -> bool:
        """True if nothing differs."""
        return not self.differences and not self.models


@dataclass
class _ModelCheck:
    """The options that env.py configures, and what Alembic finds about the models."""

    project: ScriptProject
    at_head: bool
    options: dict[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] | None = None

    def watch(self, migration: MigrationContext) -> None:
        """Called with the context that env.py configured."""
        self.options = {name: value for name, value in migration.opts.items() if value is not None}
        if self.at_head and "target_metadata" in self.options:
            self.models = self._from_models(migration)

    def _from_models(self, migration: MigrationContext) -> tuple[str, ...]:
        """The differences that `alembic check` would find."""
        command = {"message": None, "autogenerate": True, "sql": False, "head": "head"}
        command |= dict.fromkeys(("splice", "branch_label", "version_path", "rev_id", "depends_on"))
        config = self.project.config
        if migration.environment_context is not None:
            config = migration.environment_context.config
        revisions = RevisionContext(config, self.project.directory, command)
        try:
            revisions.run_autogenerate("heads", migration)
            script = revisions.generated_revisions[-1]
            found = [diff for upgrade in script.upgrade_ops_list for diff in upgrade.as_diffs()]
        except HeadwayError:
            raise
        except Exception as error:
            raise EnvironmentFailed(
                f"Alembic cannot compare the models of {self.project.folder}: "
                f"{failures.reason(error)}. Nothing was changed."
            ) from error
        return tuple(sorted(text for diff in found for text in _each(diff)))


def _each(diff: Any) -> Iterator[str]:
    if isinstance(diff, list):
        for one in diff:
            yield from _each(one)
    else:
        yield describe(diff)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Compares a database with schemas that its project's revisions create."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]

    def drift(self, connection: Connection, current: tuple[str, ...]) -> Drift:
        """Compare a database with what its revisions create, and that with the models."""
        with isolated(self.project.modules):
            with self._reading(connection) as default:
                grounds = list(self.builder.grounds(connection))
            wanted = self._reference(connection, grounds, current, default)
            with self._reading(connection), self._filter_errors():
                found = differences(connection, wanted)
        return Drift(
            revision=current,
            differences=tuple(one.says for one in found),
            models=wanted.models,
            fixes=tuple(one.fix for one in found),
            rows=tuple(one.rows for one in found),
        )

    def closest(self, connection: Connection) -> Match:
        """The revisions that a database without a version is at, or is closest to."""
        dialect = dialect_of(connection)
        with isolated(self.project.modules):
            with self._reading(connection) as default:
                grounds = list(self.builder.grounds(connection))
                live = dialect.facts(connection)
            search = adopting.Search(
                builder=replace(self.builder, advice=STAMP),
                connection=connection,
                grounds=grounds,
                live=live,
                scope=Scope(default=default, ours=self.ours),
            )
            with self._filter_errors():
                return search.closest()

    def _reference(
        self,
        connection: Connection,
        grounds: list[Ground],
        current: tuple[str, ...],
        default: str,
    ) -> Reference:
        """The schema that these revisions create. Cached by kind of database and environment."""
        url, project = self.address.url, self.project
        several = url.database if project.databases_of(url, self.x) else None
        x = tuple(sorted(self.x.items()))
        place = (url.drivername, url.host, url.port, several, default)
        environ = hash(frozenset(os.environ.items()))  # a revision may read it
        key = (place, x, current, grounds[0], environ)
        known = project.memory.setdefault("references", Bounded(MOST_REFERENCES))
        found: Reference | None = known.get(key)
        if found is None:
            found = known[key] = self._built(connection, grounds, current, default)
        return found

    def _built(
        self,
        connection: Connection,
        grounds: list[Ground],
        current: tuple[str, ...],
        default: str,
    ) -> Reference:
        check = _ModelCheck(self.project, not self.project.scripts.pending(current))
        targets = targets_of(self.project, current)
        with self.builder.first(connection, grounds, targets) as place:
            self.builder.ask(place, check.watch)
            with place.open() as raw, place.connected(raw) as own:
                facts = place.dialect.facts(own)
                tables = [key[1:3] for key in facts if key.kind == "table"]
                schema = reflected(own, tables)
        scope = Scope(default=default, ours=self.ours, options=check.options)
        return Reference(facts=facts, schema=schema, scope=scope, models=check.models)

    @contextmanager
    def _reading(self, connection: Connection) -> Iterator[str]:
        """Open a read-only transaction; yields the project's default schema."""
        if connection.dialect.name == "postgresql" and not self.address.is_shared:
            connection.rollback()
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        environment = self.project.environment_for(self.address.url, self.x)
        try:
            yield environment.schema or dialect_of(connection).default_schema(connection)
        finally:
            if not self.address.is_shared:
                connection.rollback()

    @contextmanager
    def _filter_errors(self) -> Iterator[None]:
        """Raise errors of a project's own filters as EnvironmentFailed."""
        try:
            yield
        except HeadwayError:
            raise
        except Exception as error:
            raise EnvironmentFailed(
                f"{self.address} cannot be compared: {type(error).__name__}: "
                f"{failures.reason(error)}. Nothing was changed."
            ) from error

    @cached_property
    def builder(self) -> ReferenceBuilder:
        """Runs the revisions in scratch databases."""
        return ReferenceBuilder(project=self.project, address=self.address, x=self.x)

    @property
    def ours(self) -> frozenset[str]:
        """Tables that are not compared: the version table and the history."""
        table = verdict.version_table(self.project, self.address, self.x)
        return frozenset({table.name, history.NAME})


def no_match_error(address: Address, match: Match, words: Words) -> HeadwayError:
    """The error of `adopt` if no revision has the database's schema."""
    return words.error(
        DatabaseUnstamped,
        f"{words.name(address)} is closest to revision {match.revision}, except: "
        f"{', '.join(match.differences)}. Nothing was changed.{match.untried} Fix these "
        "differences and adopt again. Or, if you know that it is at that revision, stamp it with "
        f"{match.revision}: `{words.command('stamp')} {match.revisions[0]}`.",
        revision=match.revision,
        differences=match.differences,
    )
