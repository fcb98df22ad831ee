"""Transactions that include DDL, on a driver whose own begin at the first INSERT."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event

from headway.dialects.driver import dbapi_connection

BUSY_SECONDS = 30


def prepare(engine: Engine, *, settled: bool) -> None:
    """Let an engine's transactions include DDL; `settled`: its connections are configured."""
    if not settled:
        event.listen(engine, "connect", lambda raw, _: configure(raw))
    for name, listener in LISTENERS.items():
        event.listen(engine, name, listener)


@contextmanager
def prepared(connection: Connection) -> Iterator[None]:
    """The same for one connection, for a while, unless its engine is prepared already."""
    if event.contains(connection.engine, "begin", _on_begin):
        yield
        return
    for name, listener in LISTENERS.items():
        event.listen(connection, name, listener)
    try:
        yield
    finally:
        for name, listener in LISTENERS.items():
            event.remove(connection, name, listener)


def configure(connection: sqlite3.Connection) -> None:
    """Set a driver connection up for it."""
    # The driver's own transactions begin at the first INSERT, so that DDL commits behind our
    # back. Switched off, and BEGIN is sent by the event below.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection: Connection) -> None:
    # A reader that becomes a writer half-way fails at once when another wrote in between: who
    # is going to write says so from the start.
    if _wants_transaction(connection) and connection.get_execution_options().get("write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _before_statement(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
    # As late as the driver's own: some pragmas (`journal_mode`) are refused inside a transaction.
    if connection.get_execution_options().get("write") or not _wants_transaction(connection):
        return
    if not statement.lstrip()[:6].upper().startswith(("PRAGMA", "BEGIN", "ATTACH", "DETACH")):
        dbapi_connection(connection).execute("BEGIN")


def _wants_transaction(connection: Connection) -> bool:
    """False in an `autocommit_block`, and where a listener of the project's has begun one."""
    autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    return not autocommit and not dbapi_connection(connection).in_transaction


LISTENERS: dict[str, Callable[..., None]] = {
    "begin": _on_begin,
    "before_cursor_execute": _before_statement,
}
