"""Whether a transaction is still the one that was begun, as the database itself reports it.

A revision may end it in many ways that nobody announces: COMMIT as SQL, a script that the driver
runs, a commit of the driver's connection. Whoever says that nothing stayed has to ask first.
"""

import contextlib
import itertools
from enum import StrEnum
from typing import Any

from headway.dialects.driver import Raw


class Fate(StrEnum):
    """How a transaction ended, if it did."""

    OPEN = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"


# --- SQLite -----------------------------------------------------------------------------------

SAVEPOINT = "headway_transaction"
_numbers = itertools.count(1)


def sqlite_mark(raw: Raw) -> int | None:
    """A mark on the transaction that is open; None where each statement has its own.

    The number goes with a rollback and stays after a commit; the savepoint goes with both. It is
    kept with the temporary tables: nothing is written into the file.
    """
    if not raw.in_transaction:
        return None
    number = next(_numbers) % 2**31
    raw.execute(f"PRAGMA temp.user_version={number}")
    raw.execute(f"SAVEPOINT {SAVEPOINT}")
    return number


def sqlite_fate(raw: Raw, mark: int) -> Fate:
    """What became of the transaction with this mark. One that is open keeps it."""
    if raw.in_transaction and _has_savepoint(raw):
        return Fate.OPEN
    (number,) = raw.execute("PRAGMA temp.user_version").fetchone()
    return Fate.COMMITTED if number == mark else Fate.ROLLED_BACK


def _has_savepoint(raw: Raw) -> bool:
    try:
        raw.execute(f"RELEASE {SAVEPOINT}")
        raw.execute(f"SAVEPOINT {SAVEPOINT}")
    except Exception as error:
        if "no such savepoint" in str(error):
            return False
        raise
    return True


# --- PostgreSQL -------------------------------------------------------------------------------

STATUS = "SELECT txid_status(%s)"
FATES = {"committed": Fate.COMMITTED, "aborted": Fate.ROLLED_BACK, "in progress": Fate.OPEN}
IDLE, IN_TRANSACTION = 0, 2


def postgresql_mark(raw: Raw) -> int | None:
    """The number of the transaction that is open; None where each statement has its own."""
    if raw.autocommit or not can_answer(raw):
        return None  # else the question begins one, where the driver has not yet
    return int(_query(raw, "SELECT txid_current()"))


def can_answer(raw: Raw) -> bool:
    """False after an error, until it is rolled back, and where the session is lost."""
    return not raw.closed and _state(raw) in (IDLE, IN_TRANSACTION)


def postgresql_fate(raw: Raw, mark: int) -> Fate:
    """What became of the transaction with this number."""
    if _state(raw) == IN_TRANSACTION and int(_query(raw, "SELECT txid_current()")) == mark:
        return Fate.OPEN
    return postgresql_status(raw, mark)


def postgresql_status(raw: Raw, mark: int) -> Fate:
    """Whether the transaction with this number is committed, from any session."""
    return FATES.get(str(_query(raw, STATUS, (mark,))), Fate.UNKNOWN)


def _state(raw: Raw) -> int:
    return int(raw.info.transaction_status)  # psycopg's and psycopg2's numbers are libpq's


def _query(raw: Raw, query: str, values: tuple[Any, ...] | None = None) -> Any:
    with contextlib.closing(raw.cursor()) as cursor:
        cursor.execute(query, values)
        return cursor.fetchone()[0]
