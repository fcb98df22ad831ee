"""The transaction of a run: whether each step is still in the one that was begun."""

import copy
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from headway.dialects import Beside, Dialect, RowGuard
from headway.dialects.driver import dbapi_connection
from headway.dialects.transactions import Fate
from headway.execution.failures import Step

log = logging.getLogger(__name__)

READS = ("SELECT", "SHOW", "DESC", "EXPLAI")
BEFORE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
ENDS = re.compile(
    BEFORE + r"(?:COMMIT|END|ABORT|ROLLBACK(?!(?:\s+\w+)?\s+TO\b))\b", re.IGNORECASE | re.DOTALL
)
COMMITS = re.compile(BEFORE + r"(?:COMMIT|END)\b", re.IGNORECASE | re.DOTALL)
CHANGES_SCHEMA = re.compile(r"\s*(DROP|ALTER)\b", re.IGNORECASE)


class RolledBack(Exception):
    """A step rolled back its own transaction."""

    def __init__(self) -> None:
        super().__init__(
            "it rolled back the transaction that it ran in, so what it did before that is gone. "
            "Take the ROLLBACK out of the script"
        )


@dataclass
class Transaction:
    """Watches the transaction of each step."""

    context: MigrationContext
    connection: Connection
    dialect: Dialect
    beside: Beside
    joins: bool
    """The transaction is the caller's, who ends it."""
    rows: RowGuard | None = None
    note: Callable[[], None] = lambda: None
    """Called in a transaction that the running step is about to commit itself."""
    is_noting: bool = False
    is_running: bool = False
    mark: Any = None
    committed: bool = False
    """The running step has left its transaction, and what it did is permanent."""
    stayed: bool = False
    """The step failed, and part of it may be permanent."""
    statements: int = 0
    """Number of statements sent that change something."""
    since: int = 0
    """Number of those sent after the transaction was ended."""
    sent: list[str] = field(default_factory=list)
    """The DROP and ALTER statements."""
    is_counted: bool = False
    """The rows were counted at the start of the running step."""
    ended: bool = False
    """The step was seen to end its transaction."""
    is_lost: bool = False
    """A step ended the transaction that the run began in."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While this lasts, listen to the connection's events."""
        listeners: dict[str, Callable[..., None]] = {
            "begin": self._begun,
            "commit": self._committed,
            "rollback": self._rolled_back,
            "before_cursor_execute": self._about_to_send,
            "after_cursor_execute": self._sent,
        }
        for name, listener in listeners.items():
            event.listen(self.connection, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                event.remove(self.connection, name, listener)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Within the caller's transaction: a savepoint that takes back a failed run."""
        if not (self.joins and self.dialect.transactional_ddl):
            yield
            return
        savepoint = self.connection.begin_nested()
        try:
            yield
        except BaseException:
            if not self.is_lost:
                savepoint.rollback()
            raise
        if not self.is_lost:
            savepoint.commit()

    def checked(self, step: Step) -> Step:
        """A copy of a step that checks its transaction before the version is written."""
        own, run = copy.copy(step), step.migration_fn

        @wraps(run)  # Alembic logs its name: "Running upgrade"
        def migrate(**arguments: Any) -> None:
            try:
                self.enter_step()
                run(**arguments)
                self.end_step()
            except BaseException as error:
                self.fail_step(error)
                raise

        own.migration_fn = migrate
        return own

    def roll_back(self) -> None:
        """Roll back the connection's transaction, and the driver's."""
        self.connection.rollback()
        if self.dialect.transactional_ddl and not self.connection.invalidated:
            # One that a revision began with the driver.
            dbapi_connection(self.connection).rollback()
            self.connection.rollback()

    def begin_step(self) -> None:
        """A step begins: in the transaction of the one before, or in its own, which follows."""
        self.is_running, self.committed, self.ended, self.stayed = True, False, False, False
        self.statements = self.since = 0
        self.sent.clear()
        if self.connection.in_transaction():
            self._ready()

    def enter_step(self) -> None:
        """The step's code is about to run; its own transaction, if it has one, has begun.

        Listeners of the engine, which may begin it, are called after ours.
        """
        if self.mark is None and self.connection.in_transaction():
            self._ready()
            self.statements = self.since = 0  # the BEGIN

    def end_step(self) -> None:
        """Check the transaction after a step, before its version is written.

        Raises RolledBack: a version would be recorded whose changes are gone.
        """
        if self.mark is None:
            return
        fate = self.dialect.fate(dbapi_connection(self.connection), self.mark)
        if fate is Fate.ROLLED_BACK:
            self.is_lost = True
            raise RolledBack
        if fate is Fate.COMMITTED:
            self.is_lost = True
            self.committed, self.mark = True, None
            if not self.joins:
                self.dialect.begin_again(dbapi_connection(self.connection))

    def close_step(self) -> None:
        """The version is written: commit it if the step has committed by itself."""
        ends_here = self.is_running and self.committed and not self.joins
        self.is_running = False
        if not ends_here:
            return
        alembics = self.context._transaction  # noqa: SLF001  # FRAGILE: as `autocommit_block` does
        if alembics is not None and not alembics.is_active:
            # Committed by SQLAlchemy's connection: Alembic would commit nothing of what follows.
            self.connection.commit()
            self.context._transaction = self.connection.begin()  # noqa: SLF001
        elif self.mark is None:
            raw = dbapi_connection(self.connection)
            raw.commit()
            self.dialect.begin_again(raw)

    def fail_step(self, error: BaseException) -> None:
        """Find out what is left of a failed step, before Alembic rolls back."""
        self.is_running = False
        self.stayed = self._has_stayed(error)

    def _has_stayed(self, error: BaseException) -> bool:
        if self.committed:
            return True
        if self.mark is None:  # it had none: each statement was committed by itself
            return bool(self.statements)
        fate = self._fate_after_failure()
        self.is_lost = self.is_lost or fate is not Fate.OPEN
        if fate is Fate.ROLLED_BACK:
            # By the error itself, which then was the last: or before, and nobody knows what the
            # step did after that.
            by_error = isinstance(error, DBAPIError) and not self.ended
            return not by_error and bool(self.since or not self.ended)
        return fate is Fate.COMMITTED or (fate is Fate.UNKNOWN and self.ended)

    @property
    def has_stayed(self) -> bool:
        """True if part of the failed step may be permanent."""
        return self.stayed or self.committed

    def _fate_after_failure(self) -> Fate:
        try:
            return self.dialect.fate(dbapi_connection(self.connection), self.mark, self.beside)
        except Exception:  # its session is lost
            log.debug("the session of a failed step does not answer", exc_info=True)
        try:
            with self.beside() as other:
                return self.dialect.fate(dbapi_connection(other), self.mark)
        except Exception:  # noqa: BLE001  # nor does its server
            return Fate.UNKNOWN

    def _ready(self) -> None:
        """In the transaction of a step, before anything of it runs."""
        if self.mark is None:
            self.mark = self.dialect.mark(dbapi_connection(self.connection))
        if self.rows and not self.is_counted:
            self.rows.start()
            self.is_counted = True

    def _begun(self, _connection: Connection) -> None:
        self.mark = None
        if self.is_running:
            self._ready()

    def _about_to_send(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if COMMITS.match(statement):
            self._about_to_commit()

    def _about_to_commit(self) -> None:
        """Commit the note together with the step's changes: the process may be killed next."""
        if self.joins or self.is_noting or self.mark is None or not self.is_running:
            return
        self.is_noting = True
        try:
            with self.connection.begin_nested():
                self.note()
        except DBAPIError:  # its own COMMIT says what is wrong
            log.debug("a step that commits by itself could not be noted", exc_info=True)
        finally:
            self.is_noting = False

    def _committed(self, _connection: Connection) -> None:
        self._about_to_commit()
        self.mark = None
        if self.is_running:
            self.committed = self.is_lost = True
        else:
            self.is_counted = False  # others may write until the next begins

    def _rolled_back(self, _connection: Connection) -> None:
        if self.is_running:
            self._has_ended()

    def _has_ended(self) -> None:
        if not self.ended:
            self.ended, self.since = True, 0

    def _sent(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self.is_noting:
            return
        if ENDS.match(statement):
            self._has_ended()
        elif not statement.lstrip()[:6].upper().startswith(READS):
            self.statements += 1
            self.since += 1
            if CHANGES_SCHEMA.match(statement):
                self.sent.append(statement)
