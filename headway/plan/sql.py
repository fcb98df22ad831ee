"""A plan as SQL, rendered by Alembic without a database."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL
from sqlalchemy.engine.interfaces import Dialect

from headway.connections.address import Address
from headway.dialects import driver
from headway.errors import HeadwayError, PreviewImpossible
from headway.isolation.isolated import isolated
from headway.plan import plans
from headway.plan.plans import Direction
from headway.scripts.environment import Environment
from headway.scripts.project import ScriptProject


class Statements(io.StringIO):
    """A buffer that collects what Alembic writes, statement by statement."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def write(self, text: str) -> int:
        self.found.append(text.strip())
        return len(text)


@dataclass(frozen=True, kw_only=True)
class Span:
    """A migration from one revision to another, for one kind of database."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]
    direction: Direction
    start: Sequence[str]
    target: str | tuple[str, ...]


def render(span: Span) -> str:
    """The SQL of a migration as one script with its transaction.

    Raises PreviewImpossible, with the reason, if a revision queries the database.
    """
    environment = span.project.environment_for(span.address.url, span.x)
    if environment.runs > 1:
        raise PreviewImpossible(
            f"env.py runs the revisions {environment.runs} times on this database, as for several "
            "schemas, which one script cannot show. `--rehearse` runs it on a copy and shows what "
            "it sent."
        )
    buffer = Statements()
    with isolated(span.project.modules):
        try:
            write(span, dialect_of(span.address.url, environment), buffer)
        except HeadwayError:
            raise
        except (Exception, SystemExit) as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            raise PreviewImpossible(
                f"The SQL cannot be shown without running it: a revision asks the database "
                f"({message[:200]}). `--rehearse` runs it on a copy and shows what it sent."
            ) from error
    return note(environment.unwritten) + "\n\n".join(buffer.found) + "\n"


def dialect_of(url: URL, environment: Environment) -> Dialect:
    """The SQLAlchemy dialect that renders the SQL, with env.py's schema translation."""
    kind: Any = type(driver.dialect_for(url.drivername))
    dialect: Dialect = kind(paramstyle="named")  # a percent sign stays one
    if schemas := environment.schemas:
        for name in ("statement_compiler", "ddl_compiler"):
            translating = partial(
                getattr(dialect, name), schema_translate_map=schemas, render_schema_translate=True
            )
            setattr(dialect, name, translating)
    return dialect


def note(unwritten: str | None) -> str:
    """A comment above the script on what env.py does beside it; "" if nothing."""
    if unwritten is None:
        return ""
    return (
        "-- env.py is executed for each database, and what it sends and sets up itself is not in "
        f"this SQL: {unwritten}.\n\n"
    )


def write(
    span: Span,
    dialect: Dialect,
    buffer: io.StringIO,
    *,
    config: Config | None = None,
    steps: Sequence[Any] | None = None,
) -> MigrationContext:
    """Write a migration's statements to a buffer, one `write` each. Call within `isolated`.

    `config` and `steps` replace the project's configuration and Alembic's steps.
    """
    project, environment = span.project, span.project.environment_for(span.address.url, span.x)
    found = plans.steps_of(project, span.direction, span.target)
    context = EnvironmentContext(
        config or project.config_for(span.address.url, span.x),
        project.directory,
        fn=lambda *arguments: plans.fresh(project, found(*arguments)) if steps is None else steps,
        as_sql=True,
        starting_rev=tuple(span.start) or None,
        destination_rev=span.target,
    )
    options = environment.options_without_callbacks
    options |= {"literal_binds": True, "output_buffer": buffer}
    if span.address.dialect.transactional_ddl:
        options["transactional_ddl"] = True
    with context:
        context.configure(connection=Offline(dialect), **options)  # type: ignore[arg-type]
        migration = context.get_context()
        with migration.begin_transaction():
            context.run_migrations(**environment.run_arguments)
    return migration


class Offline:
    """The attributes that `configure` reads of a connection in offline mode."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
