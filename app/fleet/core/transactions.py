"""Transactions of the catalog: one per use case, with its refusals translated to our errors."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from flask_sqlalchemy.session import Session
from sqlalchemy import Connection, bindparam, update
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm.exc import StaleDataError

from app.errors import (
    AccountChanged,
    AccountNotFound,
    CatalogBusy,
    DatabaseRegistered,
    EmailTaken,
    NameTaken,
    ProjectNotFound,
    RecordChanged,
)
from app.extensions import db
from headway.dialects import dialect_of
from headway.errors import HeadwayError

CatalogSession = scoped_session[Session]

P = ParamSpec("P")
R = TypeVar("R")

# Deadlocks, and rows that changed under a snapshot: PostgreSQL's states, MariaDB's codes; 1305 is
# the savepoint that a deadlock took along
COLLISIONS = {"40001", "40P01", 1020, 1213, 1305}
# Waits for a lock that took too long
WAITS = {"55P03", 1205}
PAUSES = (0.02, 0.1, 0.3)
HURRY = {
    "sqlite": "PRAGMA busy_timeout=200",
    "postgresql": "SET lock_timeout='200ms'",
    "mysql": "SET SESSION innodb_lock_wait_timeout=1, lock_wait_timeout=1",
}

TAKEN: dict[tuple[str, str], tuple[type[HeadwayError], str]] = {
    # PostgreSQL and MariaDB name the index, SQLite the column.
    ("uq_account_email", "account.email"): (EmailTaken, ""),
    ("uq_project_name", "project.name"): (NameTaken, "A project with this name already exists."),
    ("uq_database_project_id_name", "database.project_id, database.name"): (
        NameTaken,
        "A database with this name already exists in the project.",
    ),
    ("uq_database_identity", "database.identity"): (DatabaseRegistered, ""),
}
"""Names of a unique index -> the error for a violation, and its message."""


@contextmanager
def writing() -> Iterator[CatalogSession]:
    """A session in a write transaction, which is committed at the end of the block."""
    db.session.rollback()
    # On SQLite the write lock is taken first: a transaction that reads first may lose the race.
    db.session.connection(execution_options={"write": True})
    try:
        yield db.session
        db.session.commit()
    except StaleDataError as error:
        db.session.rollback()
        raise (AccountChanged if "'account'" in str(error) else RecordChanged) from error
    except DBAPIError as error:
        db.session.rollback()
        _translate(error)
        raise
    except StatementError as error:  # one of ours, from within a statement: no key for a secret
        db.session.rollback()
        raise (error.orig if isinstance(error.orig, HeadwayError) else error) from None
    except BaseException:
        db.session.rollback()
        raise


def write_many(session: CatalogSession, model: type[Any], rows: Sequence[dict[str, Any]]) -> None:
    """Update rows by `id`, sent together. Each has the same other columns."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "id"]
    # Under names of their own: those of columns are taken by the statement itself.
    new: dict[Any, Any] = {getattr(model, name): bindparam(f"new_{name}") for name in names}
    query = update(model).where(model.id == bindparam("row_id")).values(new)
    many = [{f"new_{name}": row[name] for name in names} | {"row_id": row["id"]} for row in rows]
    session.connection().execute(query, many)


def repeated(use_case: Callable[P, R]) -> Callable[P, R]:
    """Decorator: repeat a use case of one transaction if it collided with others.

    MariaDB may report a deadlock even for independent writes.
    """

    @wraps(use_case)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
        for pause in PAUSES:
            try:
                return use_case(*args, **kwargs)
            except CatalogBusy as error:
                if not _collided(error.__cause__):
                    raise
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # not in step again
        return use_case(*args, **kwargs)

    return attempt


@contextmanager
def in_passing() -> Iterator[Connection]:
    """A separate transaction for a small write, which fails rather than wait for others."""
    with db.engine.connect() as connection:
        connection.detach()  # its short timeout must not go back into the pool
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(HURRY[dialect_of(db.engine).name])
        connection.execution_options(write=True)
        with connection.begin():
            yield connection


def is_contended(error: DBAPIError) -> bool:
    """True if other transactions caused the error, so that a repetition may succeed."""
    return _code(error) in COLLISIONS | WAITS or "is locked" in str(error.orig)


def _collided(error: BaseException | None) -> bool:
    return isinstance(error, DBAPIError) and _code(error) in COLLISIONS


def _code(error: DBAPIError) -> object:
    original = error.orig
    first = next(iter(original.args if original else ()), 0)
    # PyMySQL has states too, and they say less than its numbers.
    return first if isinstance(first, int) and first else getattr(original, "sqlstate", first)


def _translate(error: DBAPIError) -> None:
    message = str(error.orig)
    if isinstance(error, IntegrityError):
        for names, (refusal, words) in TAKEN.items():
            if any(name in message for name in names):
                raise refusal(words) from error
        if "foreign key" in message.lower() and "project" in message:
            raise ProjectNotFound("The project was deleted at the same time.") from error
        if "foreign key" in message.lower():
            raise AccountNotFound("The account was deleted at the same time.") from error
    elif is_contended(error):
        raise CatalogBusy(
            "Another request changes the same data. Try again in a moment."
        ) from error
