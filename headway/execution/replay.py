"""Compile once, replay everywhere: the statements of a proven upgrade, without Python.

Between two revisions most upgrades give the same SQL for every database of a kind. That is proven
for one upgrade by comparing the statements that a real run sent with those that Alembic renders
in other places without a database, while what the revisions read is watched (see proof). Where
Alembic's batch operations ask SQLite for its schema, the queries are recorded with their answers:
see answers. What depends on its database in another way, on the moment or on its surroundings goes
on being run as Python.
"""

import contextlib
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event

from headway.dialects import Dialect, VersionTable
from headway.dialects.driver import Raw
from headway.errors import DatabaseMoved
from headway.execution.failures import explained
from headway.execution.python import Job
from headway.execution.run import OnStep
from headway.execution.statements import SentStatements, attach_sent, readable
from headway.isolation.isolated import isolated
from headway.plan.announced import announced_by
from headway.proof import answers
from headway.proof.answers import Answer, OtherAnswer, Statement
from headway.proof.proof import (
    Rendering,
    Unproven,
    only_steps,
    reads_of,
    rendered_literally,
    renderings,
)
from headway.proof.reads import Reads
from headway.proof.recording import Recorded, Recording

# What takes no row away itself: the guard need not count after these, unless something reacts.
HARMLESS = re.compile(
    r"\s*(CREATE|INSERT INTO|ALTER TABLE \S+ ADD|UPDATE \S*alembic_version)", re.IGNORECASE
)
REACTS = re.compile(r"\s*CREATE\b.*\b(TRIGGER|REPLACE)\b", re.IGNORECASE | re.DOTALL)
"""What makes something that may react to them."""
MAY_DEPEND = "it may depend on the database, the moment or its surroundings"
MOST_STATEMENTS = 10_000
MOST_CHARACTERS = 32_000_000


@dataclass
class Recorder:
    """Records a run, then decides whether it may be replayed."""

    job: Job
    steps: list[list[Statement]] = field(default_factory=list)
    rendered: list[Rendering] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    migration: MigrationContext | None = None
    why_not: str | None = None
    """Why recording has stopped."""
    sent: SentStatements = field(default_factory=SentStatements)
    count: int = 0
    characters: int = 0
    _within: int = 0
    _moves: bool = False
    _is_sending: bool = False
    """A statement was sent and has not succeeded yet."""

    def on_ended(self, name: str) -> None:
        """Stop recording: a revision ended its transaction itself, so a replay would differ."""
        self._stop(f"revision {name} ends its transaction itself")

    def watch(self, migration: MigrationContext) -> None:
        """Record every statement of this context's connection from now on."""
        self.migration = migration
        assert migration.connection is not None  # noqa: S101  # it runs online
        event.listen(migration.connection, "before_cursor_execute", self._on_statement)
        event.listen(migration.connection, "after_cursor_execute", self._on_success)
        execute = migration.impl._exec  # noqa: SLF001  # FRAGILE: where all operations go through

        def rendered(construct: Any, *args: Any, **kwargs: Any) -> Any:
            if self.rendered and not self.why_not:
                self.rendered[-1].append(rendered_literally(construct, migration))
            self._within += 1
            self._moves = _moves(construct, migration)
            try:
                return execute(construct, *args, **kwargs)
            finally:
                self._within -= 1
                self._moves = False

        migration.impl._exec = rendered  # type: ignore[method-assign]  # noqa: SLF001

    def on_step(self, number: int, total: int, name: str) -> None:
        """A revision begins."""
        self.steps.append([])
        self.rendered.append([])
        self.names.append(name)
        if self.job.on_step:
            self.job.on_step(number, total, name)

    def _on_statement(
        self,
        _connection: Connection,
        cursor: Any,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        if not self.steps:
            return
        self.sent.add(sql)
        if self.why_not:
            return
        self.count += 1
        self.characters += len(sql) + _length(parameters)
        compiled = getattr(context, "compiled", None)
        failed, self._is_sending = self._is_sending, True
        answer = None if self._within else self._answer(cursor, sql, parameters)
        if failed:
            self._stop("a revision goes on after an error of the database")
        elif not self._within and answer is None:
            self._stop(f"a revision asks the database: {' '.join(sql.split())[:80]}")
        elif self._is_sqlite and answers.STAYS.match(sql) and answer is None:
            self._stop(
                "it uses the state of its connection, of which a rollback takes nothing back"
            )
        elif executemany:
            self._stop("it sends rows as values, which are not rendered without a database")
        elif getattr(compiled, "insert_prefetch", None) or getattr(
            compiled, "update_prefetch", None
        ):
            self._stop("it sends a value that a column's default computes in Python")
        elif self.count > MOST_STATEMENTS or self.characters > MOST_CHARACTERS:
            self._stop("it sends too much to be kept")
        else:
            self.steps[-1].append(
                Statement(sql=sql, parameters=parameters, moves=self._moves, answer=answer)
            )

    def _on_success(self, *_: Any) -> None:
        self._is_sending = False

    @property
    def _is_sqlite(self) -> bool:
        assert self.migration is not None  # noqa: S101  # it is watched
        return self.migration.dialect.name == "sqlite"

    def _answer(self, cursor: Any, sql: str, parameters: Any) -> Answer | None:
        """What SQLite is about to answer; None if that is no query, or has too many rows."""
        raw = getattr(cursor, "connection", None)
        if not isinstance(raw, sqlite3.Connection) or not answers.QUERY.match(sql):
            return None
        with contextlib.closing(raw.cursor()) as other:
            answer = Answer.read(other.execute(sql, parameters))
        self.characters += len(repr(answer))
        return answer

    def _stop(self, why_not: str) -> None:
        """Stop recording and drop what was recorded: a run may send any number of rows."""
        self.why_not = why_not
        for statements in self.steps:
            statements.clear()
        for rendering in self.rendered:
            rendering.clear()

    @property
    def readable(self) -> tuple[str, ...]:
        """The statements that were sent, for display."""
        return tuple(self.sent.statements)

    def judge(self, current: Sequence[str]) -> Recording:
        """Run the same steps again without a database, and compare what they send."""
        if self.why_not:
            return Recording(why_not=self.why_not)
        assert self.migration is not None  # noqa: S101  # judged after it ran
        reads = reads_of(self.job.steps)
        asks = any(one.answer for step in self.steps for one in step)
        try:
            with isolated(self.job.project.modules):
                prove = self._prove_answered if asks else self._prove_rendered
                prove(current, reads)
        except Unproven as error:
            why_not = f"{MAY_DEPEND}: {reads.why}" if reads.why else str(error)
            return Recording(why_not=why_not)
        except Exception as error:  # noqa: BLE001  # whatever a script says without a database
            statement = " ".join(f"{type(error).__name__}: {error}".split())
            return Recording(
                why_not=f"it cannot be rendered without a database ({statement[:120]})"
            )
        if reads.why:
            return Recording(why_not=f"{MAY_DEPEND}: {reads.why}")
        versions = VersionTable(
            name=self.migration.version_table, schema=self.migration.version_table_schema
        )
        steps = tuple(map(self._recorded, self.names, self.steps))
        return Recording(steps=steps, versions=versions, files=reads.files)

    def _prove_answered(self, current: Sequence[str], reads: Reads) -> None:
        """Raise Unproven where another statement is sent after the same answers."""
        answers.prove(self.job.span(current), self.job.steps, self.steps, reads)

    def _prove_rendered(self, current: Sequence[str], reads: Reads) -> None:
        """Raise Unproven where Alembic's offline mode writes other statements."""
        assert self.migration is not None  # noqa: S101  # judged after it ran
        found = renderings(self.job.span(current), self.migration.dialect, self.job.steps, reads)
        online = [statement for step in self.rendered for statement in step]
        version_table = str(self.migration.version_table)
        if any(only_steps(offline, version_table) != online for offline in found):
            raise Unproven("what it sends depends on the database or the moment")
        if [len(step) for step in self.steps] != [len(step) for step in self.rendered]:
            raise Unproven("an operation sends several statements")

    @cached_property
    def _reacts(self) -> bool:
        sent = (one for step in self.steps for one in step if one.answer is None)
        return any(REACTS.match(one.sql) for one in sent)

    def _recorded(self, name: str, statements: list[Statement]) -> Recorded:
        script = self.job.project.directory.get_revision(name)
        return Recorded(
            revision=name,
            statements=tuple(statements),
            may_lose_rows=self._reacts
            or not all(one.answer or HARMLESS.match(one.sql) for one in statements),
            announced=announced_by(script.module),
            script=script.path,
        )


def replay(recording: Recording, raw: Raw, dialect: Dialect, on_step: OnStep | None = None) -> None:
    """Run the statements in one transaction of a locked connection.

    With all of it rolled back, raises DatabaseMoved if the version was changed meanwhile, and
    OtherAnswer if the recording is not for this database.
    """
    sent: list[str] = []
    counting = recording.may_lose_rows
    with (
        attach_sent(lambda: readable(sent)),
        dialect.replaying(raw, recording.versions, counting=counting) as rows,
        contextlib.closing(raw.cursor()) as cursor,
    ):
        for number, step in enumerate(recording.steps, 1):
            if on_step:
                on_step(number, len(recording.steps), step.revision)
            try:
                for one in step.statements:
                    sent.append(one.sql)
                    _execute(cursor, one, step.revision)
            except (DatabaseMoved, OtherAnswer):
                raise
            except Exception as error:
                if isinstance(error, sqlite3.Error) and not _is_interrupted(error):
                    raise OtherAnswer(sent[-1]) from error
                names = [one.revision for one in recording.steps]
                raise explained(
                    error, names=names, failed=number - 1, done=(), stays=None
                ) from error
            if rows and (number <= recording.counted or rows.reacts):
                rows.check(
                    step.revision,
                    announced=step.announced.rows,
                    loses=step.announced.objects,
                    statements=step.changes,
                    script=step.script,
                )
        if rows and (rows.refers or recording.refers):
            rows.finish()


def _is_interrupted(error: sqlite3.Error) -> bool:
    """True if it was somebody's wish that this ends: a timeout."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT"


def _execute(cursor: Any, statement: Statement, revision: str) -> None:
    cursor.execute(statement.sql, statement.parameters)
    if statement.answer is not None and not statement.answer.is_same(Answer.read(cursor)):
        raise OtherAnswer(statement.sql)
    if statement.moves and cursor.rowcount != 1:
        raise DatabaseMoved(
            "The version of this database changed meanwhile: another program moved it while "
            f"{revision} was run. All of this upgrade was rolled back. Look where the database "
            "stands now, then upgrade again."
        )


def _moves(construct: Any, migration: MigrationContext) -> bool:
    version_table = migration._version  # noqa: SLF001  # FRAGILE: private in Alembic
    writes = getattr(construct, "is_update", False) or getattr(construct, "is_delete", False)
    return bool(writes and construct.table is version_table)


def _length(parameters: Any) -> int:
    """About how many characters these values have."""
    if isinstance(parameters, str | bytes):
        return len(parameters)
    if isinstance(parameters, dict):
        return _length(list(parameters.values()))
    if isinstance(parameters, list | tuple):
        return sum(map(_length, parameters))
    return 8
