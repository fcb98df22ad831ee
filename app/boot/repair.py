"""Mend the catalog's record: a torn revision, edited or missing scripts. Never by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from app.boot.bind import catalog
from app.extensions import alembic, db
from app.settings import RELEASE
from headway import history
from headway.connections.lock import NAME as LOCK
from headway.connections.lock import database_lock
from headway.dialects import dialect_of
from headway.dialects.driver import dbapi_connection
from headway.dialects.reach import connect, reaching
from headway.errors import RepairRefused
from headway.execution.repair import Repairer, RepairPlan, Verdict
from headway.status import status_of
from headway.types import Holder


def plan_repair(verdict: Verdict | None = None) -> RepairPlan:
    """What a repair would do now. Changes nothing.

    `verdict` is a person's word on what is torn or out of order; without it the half of a torn
    revision is to be taken back. Raises RepairRefused if that would lose something.
    """
    mender = _mender(Holder.myself(RELEASE))
    with connect(db.engine) as connection, reaching(db.engine.url):
        return mender.plan(connection, status_of(connection, mender.scripts), verdict)


def repair(plan: RepairPlan) -> None:
    """Do what the plan says, under the lock. Refused if the catalog has moved since."""
    me = Holder.myself(RELEASE)
    mender = _mender(me)
    with _locked(me) as connection:
        if mender.plan(connection, status_of(connection, mender.scripts), plan.verdict) != plan:
            raise RepairRefused("The catalog changed since this was planned. Look again.")
        mender.carry_out(connection, plan)


def _mender(me: Holder) -> Repairer:
    return Repairer(
        scripts=catalog().scripts,
        directory=alembic.script_directory,
        me=me,
        command="flask catalog repair",
    )


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
        return (
            dialect_of(connection).lock(dbapi_connection(connection), db.engine.url, LOCK).holder()
        )
