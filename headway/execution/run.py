"""One run of revisions, watched: what is announced, written down, checked, and said at its end."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection

from headway import history
from headway.dialects import Dialect, RowGuard
from headway.dialects.driver import raw_of
from headway.errors import DatabaseTorn, ForeignKeysBroken, HeadwayError, ObjectsLost, RowsLost
from headway.execution.failures import (
    Care,
    Step,
    explained,
    is_lost,
    name_of,
    needs_words,
    reason,
    what_stays,
)
from headway.execution.transaction import Transaction
from headway.plan.announced import announced_by
from headway.scripts.files import Scripts
from headway.types import Holder

StepsOf = Callable[[Any, MigrationContext], Any]
OnStep = Callable[[int, int, str], None]
GUARDS = (RowsLost, ObjectsLost, ForeignKeysBroken)
NOTHING = "Nothing was changed."
"""What a guard says of a database that is rolled back whole."""


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
    image: dict[str, str] | None = None
    """The schema before it."""
    torn: bool = False
    noted: bool = False
    """A step that was not announced has committed by itself, and was noted then."""
    unnoted: str = ""
    """Why the database has no note of what is torn."""
    heads: tuple[str, ...] = ()
    """Where the database is: before the run, and after one that failed."""

    def __post_init__(self) -> None:
        self.transaction = Transaction(
            self.context,
            self.connection,
            self.dialect,
            self._beside,
            self.care.joins,
            self.rows,
            self._note_half,
        )

    def watch(self, heads: tuple[str, ...]) -> Iterator[StepsOf]:
        """Yield the watched steps; when Alembic's run ends, say how it went."""
        self.heads = heads
        self._prepare(heads)
        callbacks = self.context.on_version_apply_callbacks
        self.context.on_version_apply_callbacks = (*callbacks, self._applied)
        try:
            with self.transaction.watched():
                try:
                    with self._savepoint():
                        yield lambda *_: self._watched()
                except BaseException as error:
                    self._failed(error)
                    raise
        except BaseException as error:  # `sys.exit` of a revision too
            if self.running is None or not (needs_words(error) or isinstance(error, GUARDS)):
                raise
            told = self._explained(error)
            if told is error:
                raise
            raise told from error
        else:
            self._tidy()
        finally:
            self.context.on_version_apply_callbacks = callbacks

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """In a transaction of somebody else's, what takes back a run that failed, and only that."""
        if not (self.care.joins and self.dialect.transactional_ddl):
            yield
            return
        savepoint = self.connection.begin_nested()
        try:
            yield
        except BaseException:
            if not self.transaction.is_lost:
                savepoint.rollback()
            raise
        if not self.transaction.is_lost:
            savepoint.commit()

    @property
    def records(self) -> bool:
        """True if each step is written down: to be kept, or to be found if we die half-way."""
        return self.care.history or any(map(self._announces, self.steps))

    def _tidy(self) -> None:
        """Leave nothing of ours in a database that keeps no history of ours."""
        if (self.records or self.noted) and not self.care.history and not self.torn:
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
            yield self._asked_after(step)
        if self.rows and self.transaction.is_counted:
            self.rows.finish()

    def _asked_after(self, step: Step) -> Step:
        """The same step, whose transaction is asked about before its version is written."""
        own, run = copy.copy(step), step.migration_fn

        @wraps(run)  # Alembic logs its name: "Running upgrade"
        def migrate(**arguments: Any) -> None:
            try:
                self.transaction.enter_step()
                run(**arguments)
                self.transaction.end_step()
            except BaseException as error:
                self.transaction.fail_step(error)
                raise

        own.migration_fn = migrate
        return own

    def _begin(self, place: int, step: Step) -> None:
        name = name_of(step.info)
        if self.on_step:
            self.on_step(place + 1, len(self.steps), name)
        if self._announces(step) and not self.care.joins:
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
                self.care.action_of(step.info),
                "running",
                image=None if self.image is None else json.dumps(self.image),
            )

    def _note_half(self) -> None:
        """Write down that the running step is under way: it is about to commit what it has done."""
        if self.row_id is not None or self.running is None:
            return
        if not self.records:
            self._baseline(self.connection, self.context.get_current_heads())
        info, image = self.steps[self.running].info, self._image_before()
        self.row_id = self._add(
            self.connection, name_of(info), self.care.action_of(info), "running", image=image
        )
        self.noted = True

    def _applied(self, *, step: MigrationInfo, **_: Any) -> None:
        """Alembic's on_version_apply: the step is done, its version row written, not committed."""
        name = name_of(step)
        self._check(name)
        if self.row_id is None:
            if self.records:
                self._add(
                    self.connection, name, self.care.action_of(step), "succeeded", **self._took()
                )
        else:
            # In the transaction of the version row: both are there or neither is. One that others
            # end would hold on to our table.
            with self._beside() if self.care.joins else nullcontext(self.connection) as where:
                history.finish(where, self.row_id, outcome="succeeded", image=None, **self._took())
            self.row_id = None
        if self.transaction.committed and self.care.on_ended:
            self.care.on_ended(name)
        self.transaction.close_step()
        self.done.append(name)

    def _check(self, name: str) -> None:
        """No row, key or other part of the schema went missing that the script does not name."""
        if not self.rows or not self.transaction.is_counted:
            return
        script = self.context.script.get_revision(name) if self.context.script else None
        said = announced_by(getattr(script, "module", None))
        self.rows.check(
            name,
            announced=said.rows,
            loses=said.objects,
            statements=self.transaction.sent,
            script=script.path if script else None,
        )
        # FRAGILE: private in Alembic.
        if self.context._transaction_per_migration:  # noqa: SLF001
            self.rows.finish()

    def _failed(self, error: BaseException) -> None:
        """Write down what broke, beside the transaction that is gone."""
        stays = not self.dialect.transactional_ddl or self.transaction.has_stayed
        if not self.care.joins:
            self._roll_back()
        elif self.transaction.is_lost:  # what is left is this step's, and locks our note out
            raw_of(self.connection).rollback()
        self.torn = self.running is not None and stays and self._differs(error)
        if self.running is None or not self._announces(self.steps[self.running]):
            self._forget_undone()
        within = self.care.joins and self.dialect.transactional_ddl and not self.torn
        if self.running is None or not (self.records or self.torn or self.noted) or within:
            return
        try:
            with self._beside() as other:
                self._record_failure(other, f"{type(error).__name__}: {reason(error)}")
            self._tidy()
        except Exception as why:  # noqa: BLE001  # the cause matters more than the note about it
            self.unnoted = reason(why)

    def _roll_back(self) -> None:
        self.connection.rollback()
        if self.dialect.transactional_ddl and not self.connection.invalidated:
            raw_of(self.connection).rollback()  # one that a revision began with the driver
            self.connection.rollback()

    def _differs(self, error: BaseException) -> bool:
        """True if a step that was not rolled back has left something, as far as can be told."""
        # A first statement that the server refused changed nothing, unless it was a concurrent
        # one. After another one, or where nobody heard the server's answer, who knows.
        if self.transaction.statements or not isinstance(error, Exception) or is_lost(error):
            return True
        if self.image is None:
            return True
        with self._beside() as other:
            return self.dialect.image(other) != self.image

    def _forget_undone(self) -> None:
        """Drop what went with the transaction: all, unless each step has one of its own."""
        try:
            self.heads = self.context.get_current_heads()
            there = self.scripts.ancestors(self.heads)
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
        outcome = "torn" if self.torn else "failed"
        if self.torn and not self.records:  # nobody knew beforehand that it would be wanted
            self._baseline(connection, self.heads)
        if history.NAME not in self.dialect.tables(connection):
            return  # an empty database stays empty
        took = self._took()
        if self.row_id is None or not history.finish(
            connection, self.row_id, outcome=outcome, error=said, **took
        ):
            info = self.steps[self.running or 0].info
            name, action = name_of(info), self.care.action_of(info)
            image = self._image_before() if self.torn else None
            more = {"error": said, "image": image, **took}
            self._add(connection, name, action, outcome, **more)

    def _image_before(self) -> str | None:
        """The schema before a step that was not announced, where it is known."""
        if self.rows is None or not self.transaction.is_counted:
            return None
        return json.dumps(self.rows.image)

    def _explained(self, error: BaseException) -> HeadwayError:
        own = self.dialect.transactional_ddl
        why = "it left its transaction" if own else "this database commits each statement"
        words = self.care.words
        next_step = (
            f"`{words.command('status')}` shows it, `{words.command('repair')}` takes the half back"
        )
        if self.unnoted and self.row_id is None:  # else it is there as one that runs
            next_step = (
                f"that could not be noted in the database ({self.unnoted}), so that its status "
                "does not show it. Compare it with the script by hand"
            )
        stays = f"Part of it stays, because {why}: {next_step}" if self.torn else None
        if isinstance(error, GUARDS):
            return self._of_guard(error, stays)
        told = explained(
            error,
            names=[name_of(step.info) for step in self.steps],
            failed=self.running or 0,
            done=self.done,
            stays=stays,
            follows=self.care.follows,
        )
        return words.error(DatabaseTorn, str(told), **told.context) if self.torn else told

    def _of_guard(self, error: HeadwayError, stays: str | None) -> HeadwayError:
        """A guard's refusal, with what is known of what stays."""
        after = what_stays(self.done, stays, follows=self.care.follows)
        if not after:
            return error
        kind = DatabaseTorn if stays else type(error)
        return self.care.words.error(kind, str(error).replace(NOTHING, after), **error.context)

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
