"""Run a project's revisions in an empty database of the same kind, as an upgrade would."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event

from headway import status
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects import Ground, dialect_of
from headway.errors import (
    DatabaseDenied,
    DatabaseUnreachable,
    EnvironmentFailed,
    HeadwayError,
    MigrationFailed,
)
from headway.execution import failures as care
from headway.execution import python as runner
from headway.execution.migration import Move
from headway.execution.python import Watch
from headway.plan import plans
from headway.plan.plans import Direction
from headway.scripts.project import ScriptProject

PLAIN = Policy(replay=False)
LONGEST = 300
TEXT = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.DOTALL)
ELSEWHERE = re.compile(
    r"(?:\b(?:TABLE|INTO|UPDATE|FROM|JOIN|REFERENCES|VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|SEQUENCE|"
    r"EXISTS|TRUNCATE)\s+`?(?P<name>\w+)`?\s*\.\s*[`\w])",
    re.IGNORECASE,
)
"""A table name with a database's name in front of it."""


@dataclass(frozen=True, kw_only=True)
class ReferenceBuilder:
    """Runs a project's revisions in empty databases, to be compared with a database."""

    project: ScriptProject
    address: Address
    """The database to compare with. Nothing is run in it."""
    x: Mapping[str, str]
    advice: str = ""
    """A sentence on what to do if a revision cannot be run on an empty database."""

    def grounds(self, connection: Connection) -> Iterator[Ground]:
        """Properties that the empty database needs; then, if they differ, more generous ones."""
        dialect = dialect_of(connection)
        table = status.version_table(self.project, self.address, self.x)
        environment = self.project.environment_of(self.address, self.x)
        schemas = {name for name in (table.schema, environment.schema) if name}
        plain = dialect.ground(connection, schemas)
        yield plain
        furnished = dialect.ground(connection, schemas, furnished=True)
        if furnished != plain:
            yield furnished

    @contextmanager
    def empty(self, connection: Connection, ground: Ground) -> Iterator[Address]:
        """An empty database of the same kind, dropped at the end."""
        with dialect_of(connection).scratch(connection, ground) as url:
            yield self.address.elsewhere(url)

    @contextmanager
    def first(
        self, connection: Connection, grounds: Sequence[Ground], targets: Sequence[str]
    ) -> Iterator[Address]:
        """A database at these revisions, on the first ground on which they run.

        Raises MigrationFailed for the first ground if they run on none.
        """
        failed: MigrationFailed | None = None
        for ground in grounds:
            with ExitStack() as stack:
                try:
                    place = stack.enter_context(self.empty(connection, ground))
                    self.upgrade(place, targets)
                except Exception as error:
                    if failed is None and not isinstance(error, MigrationFailed):
                        raise
                    failed = failed or error  # type: ignore[assignment]
                    continue
                yield place
                return
        assert failed is not None  # noqa: S101  # there is a ground
        raise failed

    def upgrade(
        self, place: Address, targets: Sequence[str], listener: Watch | None = None
    ) -> None:
        """Upgrade an empty database to these revisions.

        Raises MigrationFailed, naming the one that failed.
        """
        for target in targets:
            move = Move(
                project=self.project,
                address=place,
                x=self.x,
                policy=PLAIN,
                direction=Direction.UPGRADE,
                target=target,
                listener=_within(place, listener),
            )
            with self._refusing(place):
                move.make()

    @contextmanager
    def _refusing(self, place: Address) -> Iterator[None]:
        """Raise MigrationFailed with the revision that fails on an empty database, and why."""
        try:
            yield
        except (DatabaseDenied, DatabaseUnreachable, EnvironmentFailed):
            raise
        except Exception as error:
            failed = error.context.get("failed") if isinstance(error, HeadwayError) else None
            why = _reason(error.__cause__ if failed and error.__cause__ else error)
            raise MigrationFailed(
                f"{f'Revision {failed}' if failed else 'The revisions'} cannot be run on an empty "
                f"{place.dialect.name} database ({why}), so there is nothing to compare "
                f"{self.address} with. Nothing was changed.{self.advice and f' {self.advice}'}",
                failed=failed,
            ) from error

    def ask(self, place: Address, watch: Watch) -> None:
        """Let env.py configure its context in a database and pass it to `watch`; nothing is run."""
        with held(place, PLAIN) as raw:
            job = runner.Job(
                project=self.project,
                address=place,
                x=self.x,
                direction=Direction.UPGRADE,
                target="heads",
                steps=(),
                me=PLAIN.me,
                guard_options=runner.guard_options_for(PLAIN),
                watch=watch,
            )
            runner.run(job, raw)


def _within(place: Address, listener: Watch | None) -> Watch | None:
    """A listener that also refuses statements for other databases.

    On MySQL, a name with a database in front of it would leave the scratch database, for one with
    people's rows.
    """
    if place.dialect.name != "mysql":
        return listener
    mine = str(place.url.database)

    def refuse(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        plain = TEXT.sub("''", statement)
        others = {found["name"].lower() for found in ELSEWHERE.finditer(plain)}
        if others := others - {mine.lower(), "information_schema"}:
            raise MigrationFailed(
                f"it names another database of the server, {', '.join(sorted(others))}: what it "
                "does there would be done again, to what is in it"
            )

    def watch(migration: MigrationContext) -> None:
        assert migration.connection is not None  # noqa: S101  # it runs online
        if listener:
            listener(migration)
        event.listen(migration.connection, "before_cursor_execute", refuse)

    return watch


def targets_of(project: ScriptProject, current: Sequence[str]) -> tuple[str, ...]:
    """These revisions in an order in which each can be upgraded to: ancestors first."""
    names = plans.step_names(plans.alembic_steps(project, Direction.UPGRADE, "heads", ()))
    return tuple(sorted(current, key=names.index))


def _reason(error: BaseException) -> str:
    message = str(error).rstrip(".") if isinstance(error, HeadwayError) else care.reason(error)
    if " " not in message:  # only the name of what is missing
        message = f"{type(error).__name__}: {message}"
    return f"{message[:LONGEST]}…" if len(message) > LONGEST else message
