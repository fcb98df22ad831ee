"""What a schema is, and what its revision says it should be."""

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
from headway.isolation.isolated import alone
from headway.schema import adopt as adopting
from headway.schema.adopt import Match
from headway.schema.build import Building, targets_of
from headway.schema.compare import Reference, Scope, reflected
from headway.schema.differences import differences, words
from headway.scripts.project import ScriptProject
from headway.words import Words

STAMP = "If you know which revision it is at, `stamp` it."


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How a database's schema differs, in words: "extra column account.nickname"."""

    revision: tuple[str, ...]
    """What it says it is at."""
    differences: tuple[str, ...]
    """From what those revisions make."""
    models: tuple[str, ...] | None
    """How that differs from the project's models; None if env.py names none, or it is not at
    head."""
    mends: tuple[str | None, ...] = ()
    """The SQL that would take each of `differences` away; None where there is none for it."""

    @property
    def is_clean(self) -> bool:
        """True if nothing differs."""
        return not self.differences and not self.models


@dataclass
class _Asked:
    """What env.py configures for a database, and what Alembic says of the models there."""

    project: ScriptProject
    at_head: bool
    options: dict[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] | None = None

    def watch(self, migration: MigrationContext) -> None:
        """Told the context that env.py configured."""
        self.options = {name: value for name, value in migration.opts.items() if value is not None}
        if self.at_head and "target_metadata" in self.options:
            self.models = self._from_models(migration)

    def _from_models(self, migration: MigrationContext) -> tuple[str, ...]:
        """As `alembic check` does."""
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
        return tuple(sorted(said for diff in found for said in _each(diff)))


def _each(diff: Any) -> Iterator[str]:
    if isinstance(diff, list):
        for one in diff:
            yield from _each(one)
    else:
        yield words(diff)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A database and the schemas that its project's revisions make."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]

    def drift(self, connection: Connection, current: tuple[str, ...]) -> Drift:
        """Compare a database with what its revisions make, and that with the models."""
        with alone(self.project.modules):
            with self._reading(connection) as default:
                grounds = list(self.building.grounds(connection))
            wanted = self._reference(connection, grounds, current, default)
            with self._reading(connection), self._in_words():
                found = differences(connection, wanted)
        return Drift(
            revision=current,
            differences=tuple(one.says for one in found),
            models=wanted.models,
            mends=tuple(one.mend for one in found),
        )

    def closest(self, connection: Connection) -> Match:
        """The revisions that a database without a version is at, or is closest to."""
        dialect = dialect_of(connection)
        with alone(self.project.modules):
            with self._reading(connection) as default:
                grounds = list(self.building.grounds(connection))
                live = dialect.facts(connection)
            search = adopting.Search(
                building=replace(self.building, advice=STAMP),
                connection=connection,
                grounds=grounds,
                live=live,
                scope=Scope(default=default, ours=self.ours),
            )
            with self._in_words():
                return search.closest()

    def _reference(
        self,
        connection: Connection,
        grounds: list[Ground],
        current: tuple[str, ...],
        default: str,
    ) -> Reference:
        """What these revisions make. Built once for a kind of database and an environment."""
        url, project = self.address.url, self.project
        several = url.database if project.databases_of(url, self.x) else None
        x = tuple(sorted(self.x.items()))
        place = (url.drivername, url.host, url.port, several, default)
        environ = hash(frozenset(os.environ.items()))  # a revision may read it
        key = ("reference", place, x, current, grounds[0], environ)
        if key not in project.memory:
            project.memory[key] = self._built(connection, grounds, current, default)
        return project.memory[key]  # type: ignore[no-any-return]

    def _built(
        self,
        connection: Connection,
        grounds: list[Ground],
        current: tuple[str, ...],
        default: str,
    ) -> Reference:
        asked = _Asked(self.project, not self.project.scripts.pending(current))
        targets = targets_of(self.project, current)
        with self.building.first(connection, grounds, targets) as place:
            self.building.ask(place, asked.watch)
            with place.open() as raw, place.connected(raw) as own:
                facts = place.dialect.facts(own)
                tables = [key[1:3] for key in facts if key.kind == "table"]
                schema = reflected(own, tables)
        scope = Scope(default=default, ours=self.ours, options=asked.options)
        return Reference(facts=facts, schema=schema, scope=scope, models=asked.models)

    @contextmanager
    def _reading(self, connection: Connection) -> Iterator[str]:
        """Read a database that nothing may be changed in; the default schema of its project."""
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
    def _in_words(self) -> Iterator[None]:
        """What a project's own filters raise, as a sentence."""
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
    def building(self) -> Building:
        """What runs the revisions elsewhere."""
        return Building(project=self.project, address=self.address, x=self.x)

    @property
    def ours(self) -> frozenset[str]:
        """Tables that are nobody's schema: the project's version table, and a history."""
        table = verdict.version_table(self.project, self.address, self.x)
        return frozenset({table.name, history.NAME})


def unlike(name: str, match: Match, words: Words) -> HeadwayError:
    """The refusal to adopt what is no revision's schema."""
    return words.error(
        DatabaseUnstamped,
        f"{name} is closest to revision {match.revision}, except: "
        f"{', '.join(match.differences)}. Nothing was changed.{match.untried} Mend that and adopt "
        "again, or, if you know better, stamp it with "
        f"{match.revision}: `{words.command('stamp')} {match.revisions[0]}`.",
        revision=match.revision,
        differences=match.differences,
    )
