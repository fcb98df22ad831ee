"""Rehearse a plan on a copy: duration, statements, locks."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, event

from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects import driver
from headway.dialects.urls import DatabaseURL
from headway.errors import HeadwayError, MigrationFailed
from headway.execution.migration import Move
from headway.execution.statements import SentStatements

TABLES = """
SELECT c.oid, c.oid::regclass::text FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
LOCKS = """
SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'
AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""
"""What keeps others from writing, or from reading too."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """How a plan went on a copy."""

    place: str
    """"a copy of the file", "a copy of the database", or the database or tenant's schema itself, in
    a transaction that was rolled back."""
    seconds: float
    statements: tuple[str, ...]
    locks: tuple[str, ...]
    """On PostgreSQL: "AccessExclusiveLock on account"."""
    failed: str | None
    """The error message; None if it succeeded."""

    def lines(self) -> list[str]:
        """The result in lines of text, without the statements."""
        outcome = f"failed: {self.failed}" if self.failed else "went well"
        found = [f"rehearsed on {self.place}: {outcome}", f"took {self.seconds:.2f} s"]
        return found + [f"locks: {lock}" for lock in self.locks]


@dataclass
class _Listener:
    """Records the statements of a run, and its locks just before each commit."""

    sent: SentStatements = field(default_factory=SentStatements)
    locks: set[str] = field(default_factory=set)
    tables: dict[int, str] = field(default_factory=dict)
    """Tables that existed before, by oid: a lock on a new table blocks no one."""

    def watch(self, migration: MigrationContext) -> None:
        connection = migration.connection
        assert connection is not None  # noqa: S101  # it runs online
        self.sent.watch(migration)
        if connection.dialect.name == "postgresql":
            self.tables = dict(_query(connection, TABLES))
            event.listen(connection, "commit", self._note_locks)
            migration.on_version_apply_callbacks = (
                *migration.on_version_apply_callbacks,
                lambda **_: self._note_locks(connection),
            )

    def _note_locks(self, connection: Connection) -> None:
        held = _query(connection, LOCKS)
        self.locks |= {f"{mode} on {self.tables[oid]}" for oid, mode in held if oid in self.tables}


def _query(connection: Connection, query: str) -> list[Any]:
    """Rows of a query in the transaction that is open."""
    with contextlib.closing(driver.dbapi_connection(connection).cursor()) as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def rehearse(move: Move) -> Rehearsal:
    """Run a migration on a copy of its database, which is not changed."""
    listener, began = _Listener(), time.monotonic()
    failed = None
    with _copy(move.address, move.policy) as (address, place):
        began = time.monotonic()
        try:
            if address.is_shared:
                _refuse_leaving(move)
            replace(move, address=address, listener=listener.watch, is_rehearsal=True).make()
        except HeadwayError as error:
            failed = _of_original(str(error), address, move.address)
        seconds = time.monotonic() - began
    return Rehearsal(
        place=place,
        seconds=seconds,
        statements=tuple(listener.sent.statements),
        locks=tuple(sorted(listener.locks)),
        failed=failed,
    )


def _of_original(text: str, copy: Address, original: Address) -> str:
    """What was said of a copy, with the name of the database that it is a copy of."""
    for name, own in ((str(copy), str(original)), (copy.url.database, original.url.database)):
        text = text.replace(name, own) if name and own else text
    return text


def _refuse_leaving(move: Move) -> None:
    """Raise MigrationFailed for what would not stay in a transaction that is rolled back."""
    scripts = move.project.scripts
    steps = [step.revision for step in move.expected.steps] if move.expected else []
    alone = [name for name in steps if name in scripts.by_id and scripts.by_id[name].autocommits]
    if not alone:
        return
    is_tenant = DatabaseURL.of(move.address.url).schema is not None
    place = "a tenant's schema" if is_tenant else "a database that cannot be copied now"
    raise MigrationFailed(
        f"This cannot be rehearsed here: revision {alone[0]} has an `autocommit_block`, and "
        f"{place} is rehearsed in a transaction that is rolled back. Nothing was changed. Rehearse "
        "it on a copy of your own, or read its SQL."
    )


@contextmanager
def _copy(address: Address, policy: Policy) -> Iterator[tuple[Address, str]]:
    if address.path:
        with _copied_file(address) as copy:
            yield copy, "a copy of the file"
        return
    copy_url = address.url.set(database=f"headway_rehearsal_{os.getpid()}_{time.time_ns() % 10**9}")
    # A tenant's database holds all the others' data too.
    if not DatabaseURL.of(address.url).schema and _copied(address, copy_url):
        try:
            yield address.elsewhere(copy_url), "a copy of the database"
        finally:
            address.dialect.discard(copy_url)
        return
    with held(address, policy) as raw, address.connected(raw) as connection:
        transaction = connection.begin()
        try:
            own = replace(address, engine=None, connection=connection)
            what = "schema" if DatabaseURL.of(address.url).schema else "database"
            yield own, f"the {what} itself, in a transaction that was rolled back"
        finally:
            transaction.rollback()


def _copied(address: Address, copy: URL) -> bool:
    """Copy a database on its server; False if it is in use, or the account may not."""
    if not address.dialect.transactional_ddl:
        address.dialect.make(copy, address.url)
        return True
    try:
        address.dialect.make(copy, address.url)
    except Exception:  # noqa: BLE001  # in use, or no right to make databases: there is another way
        return False
    return True


@contextmanager
def _copied_file(address: Address) -> Iterator[Address]:
    with tempfile.TemporaryDirectory(prefix="headway-rehearsal-") as folder:
        url = URL.create("sqlite", database=str(Path(folder) / "copy.sqlite"))
        with (
            address.open() as raw,
            driver.closing(driver.open_raw(url)) as copy,
        ):
            raw.backup(copy)
        yield address.elsewhere(url)
