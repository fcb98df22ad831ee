"""One run of revisions, watched: what is announced, written down, checked, and said at its end."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, event

from app.errors import HeadwayError
from app.migrator import history
from app.migrator.care import (
    Care,
    Step,
    action_of,
    explained,
    is_lost,
    name_of,
    needs_words,
    reason,
)
from app.migrator.dialects import Dialect, RowGuard
from app.migrator.scripts import Scripts
from app.migrator.values import Holder

StepsOf = Callable[[Any, MigrationContext], Any]
OnStep = Callable[[int, int, str], None]
READS = ("SELECT", "SHOW", "DESC", "EXPLAI")


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
    committed: bool = False
    """The running step has left its transaction."""
    image: dict[str, str] | None = None
    """The schema before it."""
    torn: bool = False

    def watch(self, heads: tuple[str, ...]) -> Iterator[StepsOf]:
        """Yield the watched steps; when Alembic's run ends, say how it went."""
        self._prepare(heads)
        callbacks = self.context.on_version_apply_callbacks
        self.context.on_version_apply_callbacks = (*callbacks, self._applied)
        event.listen(self.connection, "after_cursor_execute", self._count)
        event.listen(self.connection, "commit", self._committed)
        try:
            yield lambda *_: self._watched()
        except BaseException as error:
            self._failed(error)
            if self.running is not None and needs_words(error):
                raise self._explained(error) from error
            raise
        else:
            self._tidy()
        finally:
            event.remove(self.connection, "after_cursor_execute", self._count)
            event.remove(self.connection, "commit", self._committed)
            self.context.on_version_apply_callbacks = callbacks

    @property
    def records(self) -> bool:
        """True if each step is written down: to be kept, or to be found if we die half-way."""
        return self.care.history or any(map(self._announces, self.steps))

    def _tidy(self) -> None:
        """Leave nothing of ours in a database that keeps no history of ours."""
        if self.records and not self.care.history and not self.torn:
            with self._beside() as other:
                if history.is_passing(other):
                    history.remove(other)

    def _prepare(self, heads: tuple[str, ...]) -> None:
        """Make the history. Inside the run's own transaction where that can be rolled back."""
        if self.records and any(map(self._announces, self.steps)):
            with self._beside() as other:
                self._baseline(other, heads)

    def _baseline(self, connection: Connection, heads: tuple[str, ...]) -> None:
        """A database that came this far without a history starts one here."""
        if history.NAME in self.dialect.tables(connection):
            if self.care.history:
                history.keep(connection)
            if not history.is_empty(connection):
                return
        history.ensure(connection)
        if not self.care.history:
            history.mark_passing(connection, by=self.me)
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
        name = name_of(step.info)
        if self.on_step:
            self.on_step(place + 1, len(self.steps), name)
        if self._announces(step) and not self.care.joins:
            self.connection.commit()  # what Alembic read, and the version table it may have made
        self.running, self.statements, self.committed = place, 0, False
        self.began, self.started_at = time.monotonic(), datetime.now(UTC)
        if not self._announces(step):
            return
        # What cannot be rolled back is announced first, on a connection that survives it.
        with self._beside() as other:
            self.image = self.dialect.image(other)
            self.row_id = self._add(
                other,
                name,
                action_of(step.info),
                "running",
                image=None if self.image is None else json.dumps(self.image),
            )

    def _applied(self, *, step: MigrationInfo, **_: Any) -> None:
        """Alembic's on_version_apply: the step is done, its version row written, not committed."""
        name = name_of(step)
        if self.rows:
            script = self.context.script.get_revision(name) if self.context.script else None
            announced = getattr(getattr(script, "module", None), "loses_rows", ())
            self.rows.check(name, announced=announced)
        if self.row_id is None:
            if self.records:
                self._add(self.connection, name, action_of(step), "succeeded", **self._took())
        else:
            # In the transaction of the version row: both are there or neither is. One that others
            # end would hold on to our table.
            with self._beside() if self.care.joins else nullcontext(self.connection) as where:
                history.finish(where, self.row_id, outcome="succeeded", image=None, **self._took())
            self.row_id = None
        self.done.append(name)

    def _failed(self, error: BaseException) -> None:
        """Write down what broke, beside the transaction that is gone."""
        if not self.care.joins:
            self.connection.rollback()
        if self.running is None or not self._announces(self.steps[self.running]):
            self._forget_undone()
        else:
            self.torn = self._is_half_done(error)
        within = self.care.joins and self.dialect.transactional_ddl
        if self.running is None or not self.records or within:
            return
        try:
            with self._beside() as other:
                self._record_failure(other, f"{type(error).__name__}: {reason(error)}")
            self._tidy()
        except Exception:  # noqa: BLE001  # the cause matters more than the note about it
            return

    def _is_half_done(self, error: BaseException) -> bool:
        """True if the step that failed has left something behind, as far as can be told."""
        if self.dialect.transactional_ddl and not self.committed:
            return False
        # A first statement that the server refused changed nothing, unless it was a concurrent
        # one. After another one, or where nobody heard the server's answer, who knows.
        if self.statements or not isinstance(error, Exception) or is_lost(error):
            return True
        if not self.dialect.transactional_ddl or self.image is None:
            return False
        with self._beside() as other:
            return self.dialect.image(other) != self.image

    def _committed(self, _connection: Connection) -> None:
        self.committed = True

    def _forget_undone(self) -> None:
        """Drop what went with the transaction: all, unless each step has one of its own."""
        try:
            there = self.scripts.ancestors(self.context.get_current_heads())
            if not self.care.joins:
                self.connection.rollback()
        except Exception:  # noqa: BLE001  # gone with its server, and the transaction with it
            self.done.clear()
        else:
            steps = {name_of(step.info): step.info for step in self.steps}
            self.done = [name for name in self.done if (name in there) is steps[name].is_upgrade]

    def _announces(self, step: Step) -> bool:
        """True if this step cannot be rolled back as a whole: someone may find half of it."""
        script = None if step.info.is_stamp else self.scripts.by_id.get(name_of(step.info))
        return not self.dialect.transactional_ddl or bool(script and script.autocommits)

    def _record_failure(self, connection: Connection, said: str) -> None:
        if history.NAME not in self.dialect.tables(connection):
            return  # an empty database stays empty
        if self.row_id is None:
            info = self.steps[self.running or 0].info
            self._add(
                connection, name_of(info), action_of(info), "failed", error=said, **self._took()
            )
            return
        outcome = "torn" if self.torn else "failed"
        history.finish(connection, self.row_id, outcome=outcome, error=said, **self._took())

    def _explained(self, error: Exception) -> HeadwayError:
        own = self.dialect.transactional_ddl
        why = "it left its transaction" if own else "this database commits each statement"
        told = explained(
            error,
            names=[name_of(step.info) for step in self.steps],
            failed=self.running or 0,
            done=self.done,
            stays=f"{why}: {self.care.mend}" if self.torn else None,
        )
        return self.care.torn(str(told), **told.context) if self.torn else told

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
