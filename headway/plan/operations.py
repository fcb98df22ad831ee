"""The operations of a plan's revisions, recorded without a database."""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

from alembic.operations import Operations, ops
from alembic.operations.base import AbstractOperations, BatchOperations
from alembic.operations.batch import BatchOperationsImpl
from alembic.runtime.environment import EnvironmentContext

from headway.dialects import driver
from headway.isolation.isolated import isolated
from headway.isolation.running import patched
from headway.plan import plans
from headway.plan.announced import Announced, announced_by
from headway.plan.sql import Offline, Span


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of one revision."""

    revision: str
    op: Any
    """Alembic's operation object, such as `AddColumnOp`."""


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """A table that a batch operation rebuilds."""

    revision: str
    table: str
    script: str
    """The revision's file."""
    announced: Announced


@dataclass(frozen=True, kw_only=True)
class RecordedOperations:
    """The operations of a plan, in order."""

    operations: tuple[Operation, ...]
    rebuilds: tuple[Rebuild, ...]
    """Tables that are rebuilt to be changed."""
    incomplete: tuple[str, ...]
    """Revisions that query the database: operations after the query are not recorded."""


def record_operations(span: Span) -> RecordedOperations:
    """Call every revision of a plan with operations that are recorded instead of run."""
    project, environment = span.project, span.project.environment_for(span.address.url, span.x)
    found: list[Operation] = []
    incomplete: list[str] = []
    dialect: Any = type(driver.dialect_for(span.address.url.drivername))
    context = EnvironmentContext(
        project.config_for(span.address.url, span.x),
        project.directory,
        fn=lambda *_: [],
        as_sql=True,
        destination_rev=span.target,
    )
    options = environment.options_without_callbacks
    running: list[str] = []
    rebuilds: list[Rebuild] = []
    invoke = AbstractOperations.invoke

    def note(self: Any, operation: Any) -> Any:
        found.append(Operation(revision=running[-1], op=operation))
        if isinstance(self, BatchOperations):  # which only collects them until `flush`
            with contextlib.suppress(Exception):
                invoke(self, operation)
        if isinstance(operation, ops.CreateTableOp):
            return operation.to_table(self.migration_context)
        return None

    def flush(self: Any) -> None:
        if self._should_recreate():  # FRAGILE: private in Alembic
            script = project.directory.get_revision(running[-1])
            rebuilds.append(
                Rebuild(
                    revision=running[-1],
                    table=self.table_name,
                    script=script.path,
                    announced=announced_by(script.module),
                )
            )

    with (
        isolated(project.modules),
        context,
        patched(AbstractOperations, "invoke", note),
        patched(BatchOperationsImpl, "flush", flush),
    ):
        context.configure(
            connection=Offline(dialect(paramstyle="named")),  # type: ignore[arg-type]
            **options | {"output_buffer": io.StringIO()},
        )
        migration = context.get_context()
        found_steps = plans.steps_of(project, span.direction, span.target)(tuple(span.start))
        for step in plans.fresh(project, list(found_steps)):
            running.append(str(step.info.up_revision_id))
            try:
                with Operations.context(migration):
                    step.migration_fn(**environment.run_arguments)
            except (Exception, SystemExit):  # noqa: BLE001  # it wanted an answer, and there is nobody
                incomplete.append(running[-1])
    return RecordedOperations(
        operations=tuple(found), rebuilds=tuple(rebuilds), incomplete=tuple(incomplete)
    )
