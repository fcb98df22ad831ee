"""Run revisions under the lock, so that nothing is lost and everything is written down.

Used around any Alembic run: it is given the function that yields Alembic's steps and gives back
one that yields the same steps, watched.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeGuard

from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from app.errors import CatalogTorn, HeadwayError, MigrationFailed
from app.migrator import history
from app.migrator.dialects import Dialect, RowGuard, dialect_of
from app.migrator.driver import raw_of
from app.migrator.reach import reaching
from app.migrator.scripts import Scripts
from app.migrator.values import Holder

StepsOf = Callable[[Any, MigrationContext], Any]
Step = Any  # Alembic's RevisionStep or StampStep, which share `info` but no typed base
OnStep = Callable[[int, int, str], None]
READS = ("SELECT", "SHOW", "DESC", "EXPLAI")


Beside = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, kw_only=True)
class Care:
    """What a run takes care of. The catalog's own is the default; any other database has less."""

    history: bool = True
    """Keep a history table. Where DDL cannot be rolled back there is one while a run lasts."""
    snapshot: bool = True
    """Take a snapshot first, where the database can."""
    torn: type[HeadwayError] = CatalogTorn
    mend: str = "see `flask catalog status`, then `flask catalog repair`"
    beside: Beside | None = None
    """Opens another session on the same database; by default through the connection's engine."""
    joins: bool = False
    """The run is part of a transaction that is open already, and that others end."""


@contextmanager
def guarded(
    context: MigrationContext,
    steps_of: StepsOf,
    *,
    scripts: Scripts,
    me: Holder,
    on_step: OnStep | None = None,
    care: Care = Care(),  # frozen
) -> Iterator[StepsOf]:
    """Watch one Alembic run on a connection that holds the lock and is in no transaction.

    Yields what to give to Alembic instead of `steps_of`. Takes a snapshot first where the
    database can; records every step in the history; refuses lost rows and broken foreign keys
    before the commit. A step that fails raises MigrationFailed with what was applied, what
    broke and what is left.
    """
    connection = context.connection
    assert connection is not None  # noqa: S101  # offline runs are not guarded
    heads = context.get_current_heads()
    steps = list(steps_of(heads, context))
    if not care.joins:
        connection.rollback()
    if not steps:
        yield lambda *_: []
        return
    dialect = dialect_of(connection)
    with reaching(connection.engine.url):
        snapshot = None
        if care.snapshot and not care.joins:
            label = "+".join(heads) or "base"
            snapshot = dialect.snapshot(raw_of(connection), connection.engine.url, label)
        try:
            with nullcontext() if care.joins else dialect.migrating(connection) as rows:
                run = Run(context, connection, dialect, scripts, me, steps, rows, on_step, care)
                yield from run.watch(heads)
        except BaseException:
            # Nothing changed, so it is a copy of what is there; a start that fails again and
            # again must not push out the snapshots that are worth something.
            if snapshot:
                snapshot.unlink(missing_ok=True)
            raise


@dataclass
class Run:
    """One run: the steps, where it is, and what it wrote down."""

    context: MigrationContext
    connection: Connection
    dialect: Dialect
    scripts: Scripts
    me: Holder
    steps: list[Step]
    rows: RowGuard | None
    on_step: OnStep | None
    care: Care
    done: list[str] = field(default_factory=list)
    running: int | None = None
    """The place of the step that is running, in `steps`."""
    row_id: int | None = None
    began: float = 0.0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    statements: int = 0
    torn: bool = False

    def watch(self, heads: tuple[str, ...]) -> Iterator[StepsOf]:
        """Yield the watched steps; when Alembic's run ends, say how it went."""
        self._prepare(heads)
        callbacks = self.context.on_version_apply_callbacks
        self.context.on_version_apply_callbacks = (*callbacks, self._applied)
        event.listen(self.connection, "after_cursor_execute", self._count)
        try:
            yield lambda *_: self._watched()
        except BaseException as error:
            self._failed(error)
            if self.running is not None and _needs_words(error):
                raise self._explain(error) from error
            raise
        else:
            self._tidy()
        finally:
            event.remove(self.connection, "after_cursor_execute", self._count)
            self.context.on_version_apply_callbacks = callbacks

    @property
    def records(self) -> bool:
        """True if each step is written down: to be kept, or to be found if we die half-way."""
        return self.care.history or any(map(self._announces, self.steps))

    def _tidy(self) -> None:
        """Leave nothing of ours in a database that keeps no history of ours."""
        if self.records and not self.care.history and not self.torn:
            with self._beside() as other:
                history.remove(other)

    def _prepare(self, heads: tuple[str, ...]) -> None:
        """Make the history. Inside the run's own transaction where that can be rolled back."""
        if self.records and any(map(self._announces, self.steps)):
            with self._beside() as other:
                self._baseline(other, heads)

    def _baseline(self, connection: Connection, heads: tuple[str, ...]) -> None:
        """A database that came this far without a history starts one here."""
        if history.NAME in self.dialect.tables(connection):
            return
        history.ensure(connection)
        for revision in heads:
            self._add(connection, revision, "adopt", "succeeded", duration_ms=0)

    def _watched(self) -> Iterator[Step]:
        if self.records and not any(map(self._announces, self.steps)):
            self._baseline(self.connection, self.context.get_current_heads())
        for place, step in enumerate(self.steps):
            self._begin(place, step)
            yield step
        if self.rows:
            self.rows.finish()

    def _begin(self, place: int, step: Step) -> None:
        name = _name(step.info)
        if self.on_step:
            self.on_step(place + 1, len(self.steps), name)
        self.running, self.statements = place, 0
        self.began, self.started_at = time.monotonic(), datetime.now(UTC)
        if not self._announces(step):
            return
        # What cannot be rolled back is announced first, on a connection that survives it.
        with self._beside() as other:
            image = self.dialect.image(other)
            self.row_id = self._add(
                other,
                name,
                _action(step.info),
                "running",
                image=None if image is None else json.dumps(image),
            )

    def _applied(self, *, step: MigrationInfo, **_: Any) -> None:
        """Alembic's on_version_apply: the step is done, its version row written, not committed."""
        name = _name(step)
        if self.rows:
            script = self.context.script.get_revision(name) if self.context.script else None
            announced = getattr(getattr(script, "module", None), "loses_rows", ())
            self.rows.check(name, announced=announced)
        if self.row_id is None:
            if self.records:
                self._add(self.connection, name, _action(step), "succeeded", **self._took())
        else:
            # In the transaction of the version row: both are there or neither is.
            history.finish(
                self.connection, self.row_id, outcome="succeeded", image=None, **self._took()
            )
            self.row_id = None
        self.done.append(name)

    def _failed(self, error: BaseException) -> None:
        """Write down what broke, beside the transaction that is gone."""
        if not self.care.joins:
            self.connection.rollback()
        if self.running is None or not self._announces(self.steps[self.running]):
            self._forget_undone()
        else:
            # A first statement that the server refused changed nothing. After another one, or
            # where nobody heard the server's answer, who knows.
            heard = isinstance(error, Exception) and not _is_lost(error)
            self.torn = self.statements > 0 or not heard
        if self.running is None or not self.records:
            return
        try:
            with self._beside() as other:
                self._record_failure(other, f"{type(error).__name__}: {_reason(error)}")
            self._tidy()
        except Exception:  # noqa: BLE001  # the cause matters more than the note about it
            return

    def _forget_undone(self) -> None:
        """Drop what went with the transaction: all, unless each step has one of its own."""
        try:
            there = self.scripts.ancestors(self.context.get_current_heads())
            if not self.care.joins:
                self.connection.rollback()
        except Exception:  # noqa: BLE001  # gone with its server, and the transaction with it
            self.done.clear()
        else:
            steps = {_name(step.info): step.info for step in self.steps}
            self.done = [name for name in self.done if (name in there) is steps[name].is_upgrade]

    def _announces(self, step: Step) -> bool:
        """True if this step cannot be rolled back as a whole: someone may find half of it."""
        script = self.scripts.by_id.get(_name(step.info))
        return not self.dialect.transactional_ddl or bool(script and script.autocommits)

    def _record_failure(self, connection: Connection, said: str) -> None:
        if history.NAME not in self.dialect.tables(connection):
            return  # an empty database stays empty
        if self.row_id is None:
            info = self.steps[self.running or 0].info
            self._add(connection, _name(info), _action(info), "failed", error=said, **self._took())
            return
        outcome = "torn" if self.torn else "failed"
        history.finish(connection, self.row_id, outcome=outcome, error=said, **self._took())

    def _explain(self, error: Exception) -> HeadwayError:
        names = [_name(step.info) for step in self.steps]
        failed, left = names[self.running or 0], names[(self.running or 0) + 1 :]
        after = (
            f"Part of it stays, because this database commits each statement: {self.care.mend}."
            if self.torn
            else "The database is as it was."
        )
        if self.done:
            after = f"Applied before it: {', '.join(self.done)}. {after}"
        kind = self.care.torn if self.torn else MigrationFailed
        return kind(
            f"Revision {failed} failed: {_reason(error)}. {after}"
            + (f" Still to come: {', '.join(left)}." if left else ""),
            applied=tuple(self.done),
            failed=failed,
            pending=tuple(left),
        )

    @contextmanager
    def _beside(self) -> Iterator[Connection]:
        """Another connection, committed at the end."""
        if self.care.beside:
            with self.care.beside() as other:
                yield other
            return
        with self.connection.engine.connect() as other:
            yield other.execution_options(write=True)
            other.commit()

    def _add(
        self, connection: Connection, revision: str, action: str, outcome: str, **more: Any
    ) -> int:
        script = self.scripts.by_id.get(revision)
        return history.add(
            connection,
            revision=revision,
            action=action,
            outcome=outcome,
            by=self.me,
            started_at=self.started_at,
            checksum=script.checksum if script else None,
            **more,
        )

    def _took(self) -> dict[str, int]:
        return {"duration_ms": round((time.monotonic() - self.began) * 1000)}

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip()[:6].upper().startswith(READS):
            self.statements += 1


def _needs_words(error: BaseException) -> TypeGuard[Exception]:
    """False for our own errors, which have them, and for being told to stop."""
    return isinstance(error, Exception) and not isinstance(error, HeadwayError)


def _reason(error: BaseException) -> str:
    """What the driver or the script said, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")


def _is_lost(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _name(info: MigrationInfo) -> str:
    """The revision a step is about; `base` for a stamp that clears all."""
    if info.is_stamp:
        return next(iter(info.destination_revision_ids), "base")
    return str(info.up_revision_id)


def _action(info: MigrationInfo) -> str:
    if info.is_stamp:
        return "stamp"
    return "upgrade" if info.is_upgrade else "downgrade"
