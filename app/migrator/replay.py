"""Compile once, replay everywhere: the statements of a proven upgrade, without Python.

Between two revisions most upgrades give the same SQL for every database of a kind. That is proven
for one upgrade by comparing the statements that a real run sent with those that Alembic renders
without a database. A script that looks at its database sends statements which are not rendered
there, so the two differ, and it goes on being run as Python.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import DDLElement

from app.migrator.alone import alone
from app.migrator.care import Announced, announced_by, explained
from app.migrator.dialects import VERSIONS, Dialect, VersionTable
from app.migrator.driver import Raw
from app.migrator.offline import Span, Statements, write
from app.migrator.run import OnStep
from app.migrator.runner import Job
from app.migrator.sent import noting, readable

# What cannot take a row away: the guard need not count after these.
HARMLESS = re.compile(
    r"\s*(CREATE|INSERT INTO|ALTER TABLE \S+ ADD|UPDATE \S*alembic_version)", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The statements of one revision, as the driver was given them."""

    revision: str
    statements: tuple[tuple[str, Any], ...]
    may_lose_rows: bool
    announced: Announced
    """What the script says that it means to lose."""
    script: str


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a run was found to be."""

    steps: tuple[Recorded, ...] = ()
    versions: VersionTable = VERSIONS
    """Where the project keeps the version."""
    why_not: str | None = None
    """Why it has to run as Python; None if it may be replayed."""

    @cached_property
    def readable(self) -> tuple[str, ...]:
        """What it sends, for a person."""
        return readable(sql for step in self.steps for sql, _ in step.statements)


@dataclass
class Recorder:
    """Listens to one run, then says whether it may be replayed."""

    job: Job
    steps: list[list[tuple[str, Any]]] = field(default_factory=list)
    rendered: list[list[str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    migration: MigrationContext | None = None
    stray: str | None = None
    """A statement that did not come from an operation."""
    ended: str | None = None
    """A revision that ended its transaction itself."""
    _within: int = 0

    def on_ended(self, name: str) -> None:
        """A revision ended its transaction itself, so that nothing makes the run one whole."""
        self.ended = name

    def watch(self, migration: MigrationContext) -> None:
        """Hear every statement of this context's connection from now on."""
        self.migration = migration
        assert migration.connection is not None  # noqa: S101  # it runs online
        event.listen(migration.connection, "before_cursor_execute", self._heard)
        execute = migration.impl._exec  # noqa: SLF001  # FRAGILE: where all operations go through

        def rendered(construct: Any, *args: Any, **kwargs: Any) -> Any:
            if self.rendered:
                self.rendered[-1].append(_literally(construct, migration))
            self._within += 1
            try:
                return execute(construct, *args, **kwargs)
            finally:
                self._within -= 1

        migration.impl._exec = rendered  # type: ignore[method-assign]  # noqa: SLF001

    def on_step(self, number: int, total: int, name: str) -> None:
        """A revision begins."""
        self.steps.append([])
        self.rendered.append([])
        self.names.append(name)
        if self.job.on_step:
            self.job.on_step(number, total, name)

    def _heard(
        self, _connection: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if not self.steps:
            return
        if not self._within:
            self.stray = self.stray or " ".join(statement.split())[:80]
        self.steps[-1].append((statement, parameters))

    @property
    def readable(self) -> tuple[str, ...]:
        """What was sent, for a person."""
        return readable(sql for step in self.steps for sql, _ in step)

    def judge(self, current: Sequence[str]) -> Recording:
        """Compare with what Alembic renders offline for the same steps."""
        if self.ended:
            return Recording(why_not=f"revision {self.ended} ends its transaction itself")
        if self.stray:
            return Recording(why_not=f"a revision asks the database: {self.stray}")
        try:
            with alone(self.job.project.modules):
                offline = _offline(self.job.span(current), self.migration)
        except Exception as error:  # noqa: BLE001  # whatever a script says without a database
            said = " ".join(f"{type(error).__name__}: {error}".split())
            return Recording(why_not=f"it cannot be rendered without a database ({said[:120]})")
        online = [said for step in self.rendered for said in step]
        if online != offline:
            return Recording(why_not="what it sends depends on the database or the moment")
        if [len(step) for step in self.steps] != [len(step) for step in self.rendered]:
            return Recording(why_not="an operation sends several statements")
        assert self.migration is not None  # noqa: S101  # judged after it ran
        versions = VersionTable(
            name=self.migration.version_table, schema=self.migration.version_table_schema
        )
        steps = tuple(map(self._recorded, self.names, self.steps))
        return Recording(steps=steps, versions=versions)

    def _recorded(self, name: str, statements: list[tuple[str, Any]]) -> Recorded:
        script = self.job.project.directory.get_revision(name)
        return Recorded(
            revision=name,
            statements=tuple(statements),
            may_lose_rows=not all(HARMLESS.match(sql) for sql, _ in statements),
            announced=announced_by(script.module),
            script=script.path,
        )


def replay(recording: Recording, raw: Raw, dialect: Dialect, on_step: OnStep | None = None) -> None:
    """Run the statements in one transaction of a locked connection."""
    sent: list[str] = []
    with noting(lambda: readable(sent)), dialect.replaying(raw, recording.versions) as rows:
        for number, step in enumerate(recording.steps, 1):
            if on_step:
                on_step(number, len(recording.steps), step.revision)
            try:
                for statement, parameters in step.statements:
                    sent.append(statement)
                    raw.cursor().execute(statement, parameters)
            except Exception as error:
                names = [one.revision for one in recording.steps]
                raise explained(
                    error, names=names, failed=number - 1, done=(), stays=None
                ) from error
            if rows and step.may_lose_rows:
                rows.check(
                    step.revision,
                    announced=step.announced.rows,
                    loses=step.announced.objects,
                    statements=[statement for statement, _ in step.statements],
                    script=step.script,
                )
        if rows:
            rows.finish()


def _literally(construct: Any, migration: MigrationContext) -> str:
    """As Alembic writes it without a database (`DefaultImpl._exec`)."""
    if isinstance(construct, str):
        construct = text(construct)
    values = {} if isinstance(construct, DDLElement) else {"literal_binds": True}
    try:
        written = str(construct.compile(dialect=migration.dialect, compile_kwargs=values))
    except CompileError as error:
        return f"cannot be rendered: {error}"
    return written.replace("\t", "    ").strip()


def _offline(span: Span, online: MigrationContext | None) -> list[str]:
    assert online is not None  # noqa: S101  # judged after it ran
    buffer = Statements()
    migration = write(span, online.dialect, buffer)
    end = migration.impl.command_terminator
    written = [said.removesuffix(end).strip() for said in buffer.found]
    version_table = str(online.version_table)
    return [
        said
        for said in written
        if not said.startswith("-- Running")
        and said not in ("BEGIN", "COMMIT")
        and not _makes(said, version_table)
    ]


def _makes(said: str, table: str) -> bool:
    """Online the version table is made before the first step; offline within it."""
    return said.startswith("CREATE TABLE") and f"{table} (" in said.partition("\n")[0]
