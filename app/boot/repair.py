"""Mend the catalog's record: a torn revision, edited or missing scripts. Never by itself."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select

from app.boot.bind import catalog
from app.errors import RepairRefused
from app.extensions import alembic, db
from app.migrator import history
from app.migrator.dialects import dialect_of
from app.migrator.driver import raw_of
from app.migrator.lock import NAME as LOCK
from app.migrator.lock import database_lock
from app.migrator.look import look
from app.migrator.reach import connect, reaching
from app.migrator.values import Holder, Look
from app.settings import RELEASE


class Verdict(StrEnum):
    """What a person knows about revisions that the catalog cannot be sure of."""

    APPLIED = "applied"
    NOT_APPLIED = "not-applied"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What a repair would do. Shown first, then done as shown."""

    torn: str | None = None
    statements: tuple[str, ...] = ()
    """What takes the half of the torn revision back."""
    verdict: Verdict | None = None
    record: tuple[str, ...] = ()
    """Revisions whose present script is to be taken for the applied one."""
    forget: tuple[str, ...] = ()
    """Applied revisions that have no script any more."""
    claim: tuple[str, ...] = ()
    """Revisions below the current one that a person says are there."""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to mend."""
        return not (self.torn or self.record or self.forget or self.claim)


def plan_repair(verdict: Verdict | None = None) -> Repair:
    """What a repair would do now. Changes nothing.

    `verdict` is a person's word on what is torn or out of order; without it the half of a torn
    revision is to be taken back. Raises RepairRefused if that would lose something.
    """
    with connect(db.engine) as connection, reaching(db.engine.url):
        return _plan(connection, look(connection, catalog().scripts), verdict)


def repair(plan: Repair) -> None:
    """Do what the plan says, under the lock. Refused if the catalog has moved since."""
    me = Holder.myself(RELEASE)
    with _locked(me) as connection:
        if _plan(connection, look(connection, catalog().scripts), plan.verdict) != plan:
            raise RepairRefused("The catalog changed since this was planned. Look again.")
        writing = connection.execution_options(write=True)
        for statement in plan.statements:
            writing.exec_driver_sql(statement)
        _write_down(writing, plan, me)
        writing.commit()


def _plan(connection: Connection, seen: Look, verdict: Verdict | None) -> Repair:
    statements: tuple[str, ...] = ()
    if seen.torn and verdict is None:
        before = json.loads(_torn_row(connection).image or "null")
        if before is None:
            raise RepairRefused(
                f"What was there before revision {seen.torn} is not known. Mend it by hand, then "
                "run `flask catalog repair --as applied` or `--as not-applied`."
            )
        dialect = dialect_of(connection)
        statements = tuple(dialect.undo(before, dialect.image(connection) or {}))
    connection.rollback()
    return Repair(
        torn=seen.torn,
        statements=statements,
        verdict=verdict,
        record=seen.edited,
        forget=seen.missing,
        claim=seen.out_of_order if verdict is Verdict.APPLIED else (),
    )


def _torn_row(connection: Connection) -> Any:
    open_rows = history.table.c.outcome.in_(("running", "torn"))
    query = select(history.table).where(open_rows).order_by(history.table.c.id.desc())
    return connection.execute(query).first()


def _write_down(connection: Connection, plan: Repair, me: Holder) -> None:
    scripts = catalog().scripts

    def add(revision: str, action: str) -> None:
        script = scripts.by_id.get(revision)
        history.add(
            connection,
            revision=revision,
            action=action,
            outcome="succeeded",
            by=me,
            duration_ms=0,
            checksum=script.checksum if script else None,
        )

    if plan.torn:
        history.finish(connection, _torn_row(connection).id, outcome="repaired", image=None)
        if plan.verdict is Verdict.APPLIED:
            context = MigrationContext.configure(connection)
            context.stamp(alembic.script_directory, plan.torn)
            add(plan.torn, "repair")
    for revision in plan.record + plan.claim:
        add(revision, "repair")
    for revision in plan.forget:
        add(revision, "forget")


@contextmanager
def _locked(me: Holder) -> Iterator[Connection]:
    wait = catalog().settings.boot_lock_seconds
    with (
        connect(db.engine) as connection,
        reaching(db.engine.url),
        database_lock(connection, me, wait=wait),
    ):
        yield connection


def read_history(limit: int | None = None) -> list[history.Row]:
    """The newest rows of the history, oldest first; [] where there is none yet."""
    with connect(db.engine) as connection, reaching(db.engine.url):
        if history.NAME not in dialect_of(connection).tables(connection):
            return []
        return history.read(connection, limit=limit)


def lock_holder() -> Holder | None:
    """Who is migrating the catalog right now; None if nobody is."""
    with connect(db.engine) as connection, reaching(db.engine.url):
        return dialect_of(connection).lock(raw_of(connection), db.engine.url, LOCK).holder()
