"""What a schema is, and what its revision says it should be."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import Connection, MetaData

from app.errors import DatabaseUnstamped
from app.migrator import history, reference, verdict
from app.migrator.address import Address
from app.migrator.alone import alone
from app.migrator.project import Project
from app.migrator.reference import Match


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How a database's schema differs, in words: "extra column account.nickname"."""

    revision: tuple[str, ...]
    """What it says it is at."""
    differences: tuple[str, ...]
    """From what those revisions make."""
    models: tuple[str, ...] | None
    """From the project's models; None if env.py names none, or it is not at head."""
    mends: tuple[str | None, ...] = ()
    """The SQL that would take each of `differences` away; None where there is none for it."""

    @property
    def is_clean(self) -> bool:
        """True if nothing differs."""
        return not self.differences and not self.models


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A database and the schemas that its project's revisions make."""

    project: Project
    address: Address
    x: Mapping[str, str]

    def drift(self, connection: Connection, current: tuple[str, ...]) -> Drift:
        """Compare a database with what its revisions, and its models, say."""
        environment = self.project.environment_for(self.address.url, self.x)
        options = environment.comparing
        models = environment.options.get("target_metadata")
        with self._ground():
            found = reference.mendable(
                connection, self._schema(connection, current), ours=self.ours, options=options
            )
            at_head = not verdict.pending(self.project, current)
            against_models = None
            if models is not None and at_head:
                against_models = self._from_models(connection, models, options)
        return Drift(
            revision=current,
            differences=tuple(one.says for one in found),
            models=against_models,
            mends=tuple(one.mend for one in found),
        )

    def closest(self, connection: Connection) -> Match:
        """The revision that a database without a version really is, or is closest to."""
        with self._ground():
            return reference.closest(connection, self._climb("heads"), ours=self.ours)

    def _from_models(
        self, connection: Connection, models: Any, options: Mapping[str, Any]
    ) -> tuple[str, ...]:
        several = models if isinstance(models, list | tuple) else [models]
        merged: Any = several if len(several) > 1 else several[0]
        return reference.differences(connection, merged, ours=self.ours, options=options)

    def _schema(self, connection: Connection, current: tuple[str, ...]) -> MetaData:
        """The schema of these revisions. Built once per kind of server."""
        url = self.address.url
        key = ("schema", url.drivername, url.host, url.port, tuple(sorted(self.x.items())), current)
        memory = self.project.memory
        if key not in memory:
            memory[key] = reference.built(connection, self._climb(current))
        return memory[key]  # type: ignore[no-any-return]

    def _climb(self, target: str | tuple[str, ...]) -> reference.Climb:
        environment = self.project.environment_for(self.address.url, self.x)
        return reference.climbing(
            self.project.directory,
            target,
            options=environment.untold,
            arguments=environment.run_arguments,
        )

    @property
    def ours(self) -> frozenset[str]:
        """Tables that are nobody's schema: the project's version table, and a history."""
        table = verdict.version_table(self.project, self.address, self.x)
        return frozenset({table.name, history.NAME})

    @contextmanager
    def _ground(self) -> Iterator[None]:
        """What a revision may ask of `alembic.context` while it is run for comparison."""
        config = self.project.config_for(self.address.url, self.x)
        with (
            alone(self.project.modules),
            EnvironmentContext(config, self.project.directory, fn=lambda *_: []),
        ):
            yield


def unlike(address: Address, match: Match) -> DatabaseUnstamped:
    """The refusal to adopt what is no revision's schema."""
    return DatabaseUnstamped(
        f"{address} is closest to revision {match.revision}, except: "
        f"{', '.join(match.differences)}. Nothing was changed. Mend that and adopt again, or, if "
        f"you know better, stamp it with {match.revision}.",
        revision=match.revision,
        differences=match.differences,
    )
