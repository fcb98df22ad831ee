"""One guarded run of revisions: history rows, row guard, transactions, error messages."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection

from headway import history
from headway.dialects import Dialect, RowGuard
from headway.dialects.driver import dbapi_connection
from headway.errors import DatabaseTorn, ForeignKeysBroken, HeadwayError, ObjectsLost, RowsLost
from headway.execution.failures import (
    GuardOptions,
    Step,
    describe_remains,
    explained,
    guard_error,
    is_lost,
    name_of,
    needs_message,
    reason,
)
from headway.execution.transaction import Transaction
from headway.plan.announced import announced_by
from headway.scripts.files import Scripts
from headway.types import Holder

StepsOf = Callable[[Any, MigrationContext], Any]
OnStep = Callable[[int, int, str], None]
GUARDS = (RowsLost, ObjectsLost, ForeignKeysBroken)


@dataclass
class Run:
    """The state of one run."""

    context: MigrationContext
    connection: Connection
    dialect: Dialect
    scripts: Scripts
    me: Holder
    steps: list[Step]
    rows: RowGuard | None
    on_step: OnStep | None
    options: GuardOptions
    done: list[str] = field(default_factory=list)
    running: int | None = None
    """Index in `steps` of the step that is running."""
    row_id: int | None = None
    began: float = 0.0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    image: dict[str, str] | None = None
    """The schema before the running step."""
    torn: bool = False
    noted: bool = False
    """True if a step that was not announced has committed, and was recorded then."""
    unnoted: str = ""
    """Why the failure could not be recorded in the database; "" if it was."""
    heads: tuple[str, ...] = ()
    """The current revisions: before the run, or after it failed."""

    def __post_init__(self) -> None:
        self.transaction = Transaction(
            self.context,
            self.connection,
            self.dialect,
            self._beside,
            self.options.joins,
            self.rows,
            self._note_half,
        )

    def watch(self, heads: tuple[str, ...]) -> Iterator[StepsOf]:
        """Yield the guarded steps; after the run, record and explain how it ended."""
        self.heads = heads
        self._prepare(heads)
        callbacks = self.context.on_version_apply_callbacks
        self.context.on_version_apply_callbacks = (*callbacks, self._applied)
        try:
            with self.transaction.watched():
                try:
                    with self.transaction.savepoint():
                        yield lambda *_: self._watched()
                except BaseException as error:
                    self._failed(error)
                    raise
        except BaseException as error:  # `sys.exit` of a revision too
            if self.running is None or not (needs_message(error) or isinstance(error, GUARDS)):
                raise
            explained_error = self._explained(error)
            if explained_error is error:
                raise
            raise explained_error from error
        else:
            self._tidy()
        finally:
            self.context.on_version_apply_callbacks = callbacks

    @property
    def records(self) -> bool:
        """True if each step is recorded: to be kept, or in case the process dies."""
        return self.options.history or any(map(self._announces, self.steps))

    def _tidy(self) -> None:
        """Drop a history that was only for this run."""
        if (self.records or self.noted) and not self.options.history and not self.torn:
            with self._beside() as other:
                if history.is_passing(other):
                    history.remove(other)

    def _prepare(self, heads: tuple[str, ...]) -> None:
        """Create the history before the run if its steps cannot be rolled back."""
        if self.records and any(map(self._announces, self.steps)):
            with self._beside() as other:
                self._baseline(other, heads)

    def _baseline(self, connection: Connection, heads: tuple[str, ...]) -> None:
        """Start a history in a database that has none: the current revisions count as adopted."""
        if history.NAME in self.dialect.tables(connection):
            if self.options.history:
                history.keep(connection)
            if not history.is_empty(connection):
                return
        history.ensure(connection)
        if not self.options.history:
            history.mark_passing(connection, by=self.me)
        for revision in heads:
            self._add(connection, revision, "adopt", "succeeded", duration_ms=0)

    def _watched(self) -> Iterator[Step]:
        if self.records and not any(map(self._announces, self.steps)):
            self._baseline(self.connection, self.context.get_current_heads())
        for place, step in enumerate(self.steps):
            self._begin(place, step)
            yield self.transaction.checked(step)
        if self.rows and self.transaction.is_counted:
            self.rows.finish()

    def _begin(self, place: int, step: Step) -> None:
        name = name_of(step.info)
        if self.on_step:
            self.on_step(place + 1, len(self.steps), name)
        if self._announces(step) and not self.options.joins:
            self.connection.commit()  # what Alembic read, and the version table it may have made
        self.running = place
        self.began, self.started_at = time.monotonic(), datetime.now(UTC)
        if self._announces(step):
            self._announce(step)
        self.transaction.begin_step()

    def _announce(self, step: Step) -> None:
        name = name_of(step.info)
        # What cannot be rolled back is announced first, on a connection that survives it.
        with self._beside() as other:
            self.image = self.dialect.image(other)
            self.row_id = self._add(
                other,
                name,
                self.options.action_of(step.info),
                "running",
                image=None if self.image is None else json.dumps(self.image),
            )

    def _note_half(self) -> None:
        """Record that the running step is under way: it is about to commit what it has done."""
        if self.row_id is not None or self.running is None:
            return
        if not self.records:
            self._baseline(self.connection, self.context.get_current_heads())
        info, image = self.steps[self.running].info, self._image_before()
        self.row_id = self._add(
            self.connection, name_of(info), self.options.action_of(info), "running", image=image
        )
        self.noted = True

    def _applied(self, *, step: MigrationInfo, **_: Any) -> None:
        """Alembic's on_version_apply: the step is done, its version row written, not committed."""
        name = name_of(step)
        self._check(name)
        if self.row_id is None:
            if self.records:
                self._add(
                    self.connection,
                    name,
                    self.options.action_of(step),
                    "succeeded",
                    **self._duration(),
                )
        else:
            # In the transaction of the version row: both are there or neither is. One that others
            # end would hold on to our table.
            with self._beside() if self.options.joins else nullcontext(self.connection) as where:
                history.finish(
                    where, self.row_id, outcome="succeeded", image=None, **self._duration()
                )
            self.row_id = None
        if self.transaction.committed and self.options.on_ended:
            self.options.on_ended(name)
        self.transaction.close_step()
        self.done.append(name)

    def _check(self, name: str) -> None:
        """Raise if rows, keys or objects are missing that the script does not declare."""
        if not self.rows or not self.transaction.is_counted:
            return
        script = self.context.script.get_revision(name) if self.context.script else None
        announced = announced_by(getattr(script, "module", None))
        self.rows.check(
            name,
            announced=announced.rows,
            loses=announced.objects,
            statements=self.transaction.sent,
            script=script.path if script else None,
        )
        # FRAGILE: private in Alembic.
        if self.context._transaction_per_migration:  # noqa: SLF001
            self.rows.finish()

    def _failed(self, error: BaseException) -> None:
        """Roll back and record the failure on another connection."""
        stays = not self.dialect.transactional_ddl or self.transaction.has_stayed
        if not self.options.joins:
            self.transaction.roll_back()
        elif self.transaction.is_lost:  # what is left is this step's, and locks our note out
            dbapi_connection(self.connection).rollback()
        self.torn = self.running is not None and stays and self._differs(error)
        if self.running is None or not self._announces(self.steps[self.running]):
            self._forget_undone()
        within = self.options.joins and self.dialect.transactional_ddl and not self.torn
        if self.running is None or not (self.records or self.torn or self.noted) or within:
            return
        try:
            with self._beside() as other:
                self._record_failure(other, f"{type(error).__name__}: {reason(error)}")
            self._tidy()
        except Exception as why:  # noqa: BLE001  # the cause matters more than the note about it
            self.unnoted = reason(why)

    def _differs(self, error: BaseException) -> bool:
        """True if a step that was not rolled back has changed the schema, or may have."""
        # A first statement that the server refused changed nothing, unless it was a concurrent
        # one. After another one, or where nobody heard the server's answer, who knows.
        if self.transaction.statements or not isinstance(error, Exception) or is_lost(error):
            return True
        if self.image is None:
            return True
        with self._beside() as other:
            return self.dialect.image(other) != self.image

    def _forget_undone(self) -> None:
        """Drop rolled back revisions from `done`: all, unless each step has its own transaction."""
        try:
            self.heads = self.context.get_current_heads()
            there = self.scripts.ancestors(self.heads)
            if not self.options.joins:
                self.connection.rollback()
        except Exception:  # noqa: BLE001  # gone with its server, and the transaction with it
            self.done.clear()
        else:
            steps = {name_of(step.info): step.info for step in self.steps}
            self.done = [name for name in self.done if (name in there) is steps[name].is_upgrade]

    def _announces(self, step: Step) -> bool:
        """True if this step cannot be rolled back as a whole, so that it may end half-way."""
        script = None if step.info.is_stamp else self.scripts.by_id.get(name_of(step.info))
        return not self.dialect.transactional_ddl or bool(script and script.autocommits)

    def _record_failure(self, connection: Connection, message: str) -> None:
        outcome = "torn" if self.torn else "failed"
        if self.torn and not self.records:  # nobody knew beforehand that it would be wanted
            self._baseline(connection, self.heads)
        if history.NAME not in self.dialect.tables(connection):
            return  # an empty database stays empty
        duration = self._duration()
        if self.row_id is None or not history.finish(
            connection, self.row_id, outcome=outcome, error=message, **duration
        ):
            info = self.steps[self.running or 0].info
            name, action = name_of(info), self.options.action_of(info)
            image = self._image_before() if self.torn else None
            more = {"error": message, "image": image, **duration}
            self._add(connection, name, action, outcome, **more)

    def _image_before(self) -> str | None:
        """The schema before a step that was not announced, if it is available."""
        if self.rows is None or not self.transaction.is_counted:
            return None
        return json.dumps(self.rows.image)

    def _explained(self, error: BaseException) -> HeadwayError:
        own = self.dialect.transactional_ddl
        why = "it left its transaction" if own else "this database commits each statement"
        words = self.options.words
        next_step = f"`{words.command('status')}` shows it, `{words.command('repair')}` undoes it"
        if self.unnoted and self.row_id is None:  # else it is there as one that runs
            next_step = (
                f"that could not be recorded in the database ({self.unnoted}), so that its status "
                "does not show it. Compare it with the script by hand"
            )
        stays = f"Part of it stays, because {why}: {next_step}" if self.torn else None
        if isinstance(error, GUARDS):
            remains = describe_remains(self.done, stays, follows=self.options.follows)
            return guard_error(error, remains, words.kind(DatabaseTorn) if stays else type(error))
        failure = explained(
            error,
            names=[name_of(step.info) for step in self.steps],
            failed=self.running or 0,
            done=self.done,
            stays=stays,
            follows=self.options.follows,
        )
        return words.error(DatabaseTorn, str(failure), **failure.context) if self.torn else failure

    @contextmanager
    def _beside(self) -> Iterator[Connection]:
        """Another connection, committed at the end."""
        if self.options.beside:
            with self.options.beside() as other:
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

    def _duration(self) -> dict[str, int]:
        return {"duration_ms": round((time.monotonic() - self.began) * 1000)}
