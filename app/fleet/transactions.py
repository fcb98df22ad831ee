"""One transaction a use case, and one seam for what the catalog refuses."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from flask_sqlalchemy.session import Session
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm.exc import StaleDataError

from app.errors import AccountChanged, AccountNotFound, CatalogBusy, EmailTaken
from app.extensions import db
from app.migrator.dialects import dialect_of

CatalogSession = scoped_session[Session]

# Lock waits that ended, deadlocks, rows that changed under a snapshot
CONTENDED_STATES = {"40001", "40P01", "55P03"}
CONTENDED_CODES = {1020, 1205, 1213}
HURRY = {
    "sqlite": "PRAGMA busy_timeout=200",
    "postgresql": "SET lock_timeout='200ms'",
    "mysql": "SET SESSION innodb_lock_wait_timeout=1, lock_wait_timeout=1",
}


@contextmanager
def writing() -> Iterator[CatalogSession]:
    """A session in a transaction that will write; committed at the end."""
    db.session.rollback()
    # On SQLite the write lock is taken first: who reads and then writes may lose the race.
    db.session.connection(execution_options={"write": True})
    try:
        yield db.session
        db.session.commit()
    except StaleDataError as error:
        db.session.rollback()
        raise AccountChanged from error
    except DBAPIError as error:
        db.session.rollback()
        _translate(error)
        raise
    except BaseException:
        db.session.rollback()
        raise


@contextmanager
def in_passing() -> Iterator[Connection]:
    """A transaction of its own for a small write, which fails rather than wait for others."""
    with db.engine.connect() as connection:
        connection.detach()  # its haste must not go back into the pool
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(HURRY[dialect_of(db.engine).name])
        connection.execution_options(write=True)
        with connection.begin():
            yield connection


def is_contended(error: DBAPIError) -> bool:
    """True if others were in the way, so that the same again may well succeed."""
    original = error.orig
    code = original.args[0] if original and original.args else None
    state = getattr(original, "sqlstate", None)
    return state in CONTENDED_STATES or code in CONTENDED_CODES or "is locked" in str(original)


def _translate(error: DBAPIError) -> None:
    said = str(error.orig)
    if isinstance(error, IntegrityError):
        # PostgreSQL and MariaDB name the index, SQLite the column.
        if "uq_account_email" in said or "account.email" in said:
            raise EmailTaken from error
        if "foreign key" in said.lower():
            raise AccountNotFound("The account was deleted in this very moment.") from error
    elif is_contended(error):
        raise CatalogBusy("Others change the same at once. Try again in a moment.") from error
