"""Run Python revisions on one locked connection, through what the project's env.py configured."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine

from app.errors import DatabaseTorn, EnvironmentFailed
from app.migrator import plans
from app.migrator.address import Address
from app.migrator.alone import alone, env_py
from app.migrator.driver import Raw
from app.migrator.environment import (
    Environment,
    Mode,
    is_same,
    leading_to,
    mute_engine,
    raise_failed,
)
from app.migrator.offline import Span
from app.migrator.plans import Direction, StepsOf
from app.migrator.project import Project
from app.migrator.run import Care, OnStep, guarded
from app.migrator.values import Holder

Watch = Callable[[MigrationContext], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: what, where, and what to take care of."""

    project: Project
    address: Address
    x: Mapping[str, str]
    direction: Direction
    target: str
    steps: Sequence[Any]
    """Alembic's steps, as they were shown: what runs is what was planned."""
    me: Holder
    care: Care = field(default_factory=Care)
    on_step: OnStep | None = None
    per_migration: bool = False
    """Commit after each revision, whatever env.py says: one of them leaves its transaction."""
    watch: Watch | None = None
    """Told the migration context just before it runs."""

    def span(self, start: Sequence[str]) -> Span:
        """The same from a given place, as SQL could tell it."""
        return Span(
            project=self.project,
            address=self.address,
            x=self.x,
            direction=self.direction,
            start=start,
            target=self.target,
        )

    @property
    def steps_of(self) -> StepsOf:
        """What yields Alembic's steps."""
        return plans.steps_of(self.project, self.direction, self.target)

    @functools.cached_property
    def environment(self) -> Environment:
        """How env.py is used here."""
        return self.project.environment_for(self.address.url, self.x)


def care_for(address: Address, *, history: bool) -> Care:
    """What a run on somebody's database takes care of."""
    return Care(
        history=history,
        snapshot=False,  # whoever moves a database takes it
        torn=DatabaseTorn,
        mend="`flask migrate status` shows it, `flask migrate repair` takes the half back",
        beside=address.beside,
        joins=address.is_shared,
    )


def run(job: Job, raw: Raw) -> None:
    """Run the steps on this connection, which holds the lock."""
    environment = job.environment
    with alone(job.project.modules), job.address.connected(raw) as connection:
        if environment.mode is Mode.EXECUTED:
            _through_env_py(job, connection)
            return
        context = _context(job)
        with context:
            context.configure(connection=connection, **options_for(job, environment))
            _guarded(job, context, environment.run_arguments, context.run_migrations)


def options_for(job: Job, environment: Environment) -> dict[str, Any]:
    """What env.py said, and what the database's all-or-nothing needs."""
    options = dict(environment.options)
    if job.address.dialect.transactional_ddl:
        options["transactional_ddl"] = True
    if job.per_migration:
        options["transaction_per_migration"] = True
    return options


def _context(job: Job) -> EnvironmentContext:
    config = job.project.config_for(job.address.url, job.x)
    return EnvironmentContext(
        config, job.project.directory, fn=job.steps_of, destination_rev=job.target
    )


def _guarded(
    job: Job,
    context: EnvironmentContext,
    arguments: Mapping[str, Any],
    run_migrations: Callable[..., None],
    *,
    joins: bool = False,
) -> None:
    migration = context.get_context()
    if job.watch:
        job.watch(migration)
    with guarded(
        migration,
        lambda *_: list(job.steps),
        scripts=job.project.scripts,
        me=job.me,
        on_step=job.on_step,
        care=replace(job.care, joins=job.care.joins or joins),
    ) as watched:
        migration._migrations_fn = watched  # noqa: SLF001  # FRAGILE: as Flask-Alembic does
        with migration.begin_transaction():
            run_migrations(**arguments)


def _through_env_py(job: Job, connection: Connection) -> None:
    """Let env.py do it, on our connection, with our guard around its run."""
    context = _context(job)
    context.config.attributes["connection"] = connection
    ours, reached = connection.engine, list[str]()
    known = job.project.databases_of(job.address.url, job.x)
    run_migrations, configure = context.run_migrations, context.configure

    def watched(**arguments: Any) -> None:
        migration = context.get_context()
        there = migration.connection
        if there is None or there.engine is not ours:
            return  # another database of the same env.py: nobody asked for that
        reached.append("ours")
        joins = migration._in_external_transaction  # noqa: SLF001  # FRAGILE
        _guarded(job, context, arguments, run_migrations, joins=joins)

    def configured(*args: Any, **options: Any) -> None:
        if job.per_migration:
            options["transaction_per_migration"] = True
        if job.address.dialect.transactional_ddl:
            options["transactional_ddl"] = True
        configure(*args, **options)

    context.run_migrations = watched  # type: ignore[method-assign]
    context.configure = configured  # type: ignore[method-assign]
    context.begin_transaction = nullcontext  # type: ignore[method-assign]  # the guard has its own

    def lead(engine: Engine) -> Engine:
        is_other = engine.url in known and not is_same(engine.url, job.address.url)
        return mute_engine(job.address.url) if is_other else ours

    with ExitStack() as stack:
        stack.enter_context(context)
        stack.enter_context(leading_to(lead))
        try:
            env_py(job.project.modules, job.project.directory.run_env)
        except Exception as error:
            if reached:
                raise
            raise_failed(error, job.address.url)
    if not reached:
        shown = ", ".join(url.render_as_string() for url in known)
        raise EnvironmentFailed(
            f"env.py ran and did not touch {job.address}. It migrates the databases that it knows "
            f"of itself: give the URL of one of those{f' ({shown})' if shown else ''}."
        )
