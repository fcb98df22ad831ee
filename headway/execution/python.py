"""Run revisions as Python on one locked connection, configured by the project's env.py."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, event

from headway.connections.address import Address
from headway.connections.session import Policy
from headway.dialects.driver import Raw, dbapi_connection, display_url, engine_on, notes_of
from headway.dialects.urls import DatabaseURL
from headway.errors import EnvironmentFailed
from headway.execution.failures import GuardOptions
from headway.execution.guard import guarded
from headway.execution.run import OnStep
from headway.execution.transaction import ENDS
from headway.isolation.connecting import settings_of
from headway.isolation.engines import (
    is_autocommit,
    is_memory,
    joined_engine,
    offline_engine,
    redirect_engines,
    rehearsed_engine,
    unwrap,
)
from headway.isolation.isolated import env_py, isolated
from headway.plan import plans
from headway.plan.plans import Direction, StepsOf
from headway.plan.sql import Span
from headway.scripts.alike import alike
from headway.scripts.environment import Environment, Mode, raise_failed
from headway.scripts.project import ScriptProject
from headway.types import Holder

Watch = Callable[[MigrationContext], None]
CANNOT_JOIN = (
    "env.py runs for each database ({why}) and ends transactions itself, so that it cannot be a "
    "part of yours. Commit yours first, or give the engine or its URL."
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of Python revisions: its steps, its database and its options."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]
    direction: Direction
    target: str | tuple[str, ...]
    steps: Sequence[Any]
    """Alembic's steps as they were planned."""
    me: Holder
    guard_options: GuardOptions = field(default_factory=GuardOptions)
    on_step: OnStep | None = None
    per_migration: bool = False
    """Commit after each revision, because one of them leaves its transaction."""
    watch: Watch | None = None
    """Called with the migration context just before it runs."""
    is_rehearsal: bool = False
    """The transaction that it is part of is rolled back: what env.py commits is a savepoint."""

    def span(self, start: Sequence[str]) -> Span:
        """The same migration from given revisions, for rendering it as SQL."""
        place = {"project": self.project, "address": self.address, "x": self.x}
        return Span(**place, direction=self.direction, start=start, target=self.target)  # type: ignore[arg-type]

    @property
    def steps_of(self) -> StepsOf:
        """A function that yields Alembic's steps."""
        return plans.steps_of(self.project, self.direction, self.target)

    @functools.cached_property
    def environment(self) -> Environment:
        """How env.py is used for this database."""
        return self.project.environment_of(self.address, self.x)


def guard_options_for(policy: Policy, *, adopts: bool = False) -> GuardOptions:
    """The guard options for a project's database. Whoever moves it takes the snapshot."""
    return GuardOptions(history=policy.history, words=policy.words, adopts=adopts)


def run(job: Job, raw: Raw) -> None:
    """Run the steps on this connection, which holds the lock."""
    environment, address = job.environment, job.address
    if address.is_lent and (why := replace(environment.settings, class_wide=False).why):
        raise EnvironmentFailed(
            f"env.py sets up its own connection ({why}), and yours is another. Nothing was "
            "changed. Give the URL, or let env.py take `config.attributes['connection']`."
        )
    with (
        isolated(job.project.modules),
        address.connected(raw) as connection,
        address.beside() as beside,
    ):
        executed = environment.mode is Mode.EXECUTED
        joins = address.is_shared and not executed  # else the guard's commits are savepoints too
        job = replace(job, guard_options=replace(job.guard_options, beside=beside, joins=joins))
        if executed:
            if address.is_shared and not job.is_rehearsal:
                raise EnvironmentFailed(CANNOT_JOIN.format(why=environment.why))
            shared = rehearsed_engine(connection, ENDS).connect() if address.is_shared else None
            _EnvPy(job, shared or connection).run()
            return
        context = _context(job)
        with context, _redirected_revision_engines(job.address, connection):
            context.configure(connection=connection, **options_for(job, environment))
            _guarded(job, context, environment.run_arguments, context.run_migrations)


def options_for(job: Job, environment: Environment) -> dict[str, Any]:
    """env.py's options, with those that make a run all or nothing."""
    options = dict(environment.options)
    if job.address.dialect.transactional_ddl:
        options["transactional_ddl"] = True
    if job.per_migration:
        options["transaction_per_migration"] = True
    return options


@contextmanager
def _redirected_revision_engines(address: Address, connection: Connection) -> Iterator[None]:
    """Redirect engines that revisions create to the database that they run on.

    Into the run's own session if it is one transaction: another session would not see what was just
    made, and would wait for it. Else to a second session, as `alembic` does.
    """
    beside: dict[Engine, Engine] = {}

    def redirect(theirs: Engine) -> Engine:
        if is_memory(theirs.url):
            return theirs  # a database that nobody else sees
        if theirs.dialect.name != connection.dialect.name:
            raise EnvironmentFailed(
                f"A revision connects to {display_url(theirs.url)}, which is another kind of "
                f"database than {address}. Its work on that is nothing that could be taken back."
            )
        if theirs not in beside:
            beside[theirs] = made(theirs)
        return beside[theirs]

    def made(theirs: Engine) -> Engine:
        settings = settings_of(theirs)
        if address.dialect.transactional_ddl and not is_autocommit(theirs):
            return settings.on(joined_engine(connection))
        return _isolated(settings.on(address.own_engine()), theirs)

    try:
        with redirect_engines(redirect):
            yield
    finally:
        for engine in beside.values():
            engine.dispose()


def _isolated(ours: Engine, theirs: Engine) -> Engine:
    level = "AUTOCOMMIT" if is_autocommit(theirs) else settings_of(theirs).isolation
    return ours.execution_options(isolation_level=level) if level else ours


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
    follows: bool = False,
) -> None:
    migration = context.get_context()
    if job.watch:
        job.watch(migration)
    steps = plans.fresh(job.project, job.steps)
    with guarded(
        migration,
        lambda *_: steps,
        scripts=job.project.scripts,
        me=job.me,
        on_step=job.on_step,
        options=replace(job.guard_options, joins=job.guard_options.joins or joins, follows=follows),
    ) as watched:
        migration._migrations_fn = watched  # noqa: SLF001  # FRAGILE: as Flask-Alembic does
        with migration.begin_transaction():
            run_migrations(**arguments)


class _EnvPy:
    """Runs an env.py for one database, on our connection, with the guard around its migrations."""

    def __init__(self, job: Job, connection: Connection) -> None:
        self.job = job
        self.main = connection
        self.engine = connection.engine
        self.engines: dict[Engine, Engine] = {}
        """Our engines by env.py's own, with the same connection settings."""
        self.known_urls = job.project.databases_of(job.address.project_url, job.x)
        self.context = context = _context(job)
        self.run_migrations, self.configure = context.run_migrations, context.configure
        self.reached, self.committed, self.is_open = False, False, False
        self.adopted: Connection | None = None
        if job.environment.is_given:
            context.config.attributes["connection"] = connection
        context.run_migrations = self._watched  # type: ignore[method-assign]
        context.configure = self._configured  # type: ignore[method-assign]
        context.begin_transaction = self._begun  # type: ignore[method-assign]

    def run(self) -> None:
        with ExitStack() as stack:
            self._watch_commits(self.engine, stack)
            self.stack = stack
            stack.enter_context(self.context)
            stack.enter_context(redirect_engines(self._redirect))
            try:
                env_py(self.job.project.modules, self.job.project.directory.run_env)
            except Exception as error:
                if self.reached:
                    raise
                raise_failed(error, self.job.address.url)
        self._refuse_nothing_done()

    def _watch_commits(self, engine: Engine, stack: ExitStack) -> None:
        event.listen(engine, "commit", self._note_commit)
        stack.callback(event.remove, engine, "commit", self._note_commit)

    def _redirect(self, engine: Engine) -> Engine:
        address = self.job.address
        if engine.url in self.known_urls and not DatabaseURL.of(engine.url).is_same(
            address.project_url
        ):
            return offline_engine(address.url)
        if engine not in self.engines:
            self.engines[engine] = self._own_engine_for(engine)
        return self.engines[engine]

    def _own_engine_for(self, theirs: Engine) -> Engine:
        """An engine on the run's session, with the settings of env.py's own engine."""
        address, captured = self.job.address, self.job.environment.settings
        given = settings_of(theirs, address.url)
        ours, settings = self.engine, replace(given, class_wide=captured.class_wide)
        if settings.why or captured.class_wide:
            if not alike(settings.arguments_for(address.url), captured.arguments_for(address.url)):
                raise EnvironmentFailed(
                    "env.py connects with other arguments than when it was asked for this "
                    "database a moment ago. Nothing was changed. Let them depend on nothing else."
                )
            raw = dbapi_connection(self.main)
            plain = engine_on(raw, address.url)
            is_prepared = address.setup is not None and captured.begins
            ours = settings.on(plain, notes=notes_of(raw) if is_prepared else None)
            address.dialect.prepare(plain, settled=True)
            self._watch_commits(plain, self.stack)
        return _isolated(ours, theirs)

    def _is_ours(self, engine: Engine) -> bool:
        return unwrap(engine) in {unwrap(one) for one in (self.engine, *self.engines.values())}

    def _configured(self, *args: Any, **options: Any) -> None:
        if self.job.per_migration:
            options["transaction_per_migration"] = True
        if self.job.address.dialect.transactional_ddl:
            options["transactional_ddl"] = True
        self.configure(*args, **options)

    @contextmanager
    def _begun(self) -> Iterator[None]:
        """Alembic's `begin_transaction`: does nothing, unless SQL was run before it."""
        try:
            yield
        except BaseException:
            if self.adopted:
                self.adopted.rollback()
            raise
        if self.adopted:
            self.adopted.commit()
        self.adopted = None

    def _watched(self, **arguments: Any) -> None:
        migration = self.context.get_context()
        there = migration.connection
        if there is None or not self._is_ours(there.engine):
            return  # another database of the same env.py: nobody asked for that
        follows = self.reached and not self.adopted and not self.is_open
        self.reached = True
        joins = migration._in_external_transaction  # noqa: SLF001  # FRAGILE
        if there.in_transaction() and not joins:
            # `SET search_path` and its like: what it set goes with the transaction.
            self.adopted, joins = there, True
            migration._in_external_transaction = True  # noqa: SLF001
            migration._transaction = there.get_transaction()  # noqa: SLF001  # autocommit_block
        self._refuse_another_place(migration)
        with _redirected_revision_engines(self.job.address, there):
            _guarded(
                self.job, self.context, arguments, self.run_migrations, joins=joins, follows=follows
            )
        commits_each = there.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        self.is_open = joins and not commits_each
        self.committed = False

    def _refuse_another_place(self, migration: MigrationContext) -> None:
        """Raise EnvironmentFailed if env.py finds the database at other revisions than the plan."""
        job, heads = self.job, migration.get_current_heads()
        if not self.adopted and not migration._in_external_transaction:  # noqa: SLF001
            migration.connection.rollback()  # type: ignore[union-attr]  # it only asked
        theirs = plans.alembic_steps(job.project, job.direction, job.target, heads)
        names = [plans.step_names(steps, job.direction) for steps in (theirs, job.steps)]
        if names[0] != names[1]:
            raise EnvironmentFailed(
                f"env.py finds this database at {', '.join(heads) or 'base'}, and by its "
                "`context.configure` it is at other revisions: env.py changes the schema of its "
                "session. Nothing was changed. Give `version_table_schema` to `context.configure`."
            )

    def _note_commit(self, _connection: Connection) -> None:
        self.committed = True

    def _refuse_nothing_done(self) -> None:
        if self.is_open and not self.committed:
            raise EnvironmentFailed(
                "env.py runs SQL before `context.configure` and ends no transaction, so that all "
                "it did was rolled back at its end: `alembic` would lose it as well. Let it "
                "commit, or roll back, before `context.configure`."
            )
        if not self.reached:
            raise EnvironmentFailed(self._missed())

    def _missed(self) -> str:
        urls = ", ".join(display_url(url) for url in self.known_urls)
        return f"env.py ran and did not touch {self.job.address}. " + (
            f"It migrates the databases that it knows of itself: give the URL of one: {urls}."
            if urls
            else "It called no `context.run_migrations`, or not on a connection of an engine."
        )
