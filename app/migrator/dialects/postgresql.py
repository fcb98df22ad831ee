"""PostgreSQL: transactional DDL, advisory locks that belong to a session."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import URL, Connection, NullPool, create_engine

from app.errors import DatabaseDenied, DatabaseReadOnly, DatabaseUnreachable, HeadwayError
from app.migrator.dialects.base import Dialect, Lock
from app.migrator.driver import Raw, ask
from app.migrator.values import Holder

# An application_name holds 63 bytes; the host comes last because it may be cut.
SIGNATURE = re.compile(
    r"headway/(?P<release>\S*) (?P<since>\d+) (?P<pid>\d+)@(?P<host>.*)", re.DOTALL
)


class Postgresql(Dialect):
    """PostgreSQL."""

    name: ClassVar[str] = "postgresql"
    transactional_ddl: ClassVar[bool] = True

    def lock(self, raw: Raw, url: URL, name: str) -> Lock:  # noqa: ARG002  # keys are per database
        return AdvisoryLock(raw, name)

    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        said = str(error)
        if state in ("28P01", "28000") or "password authentication failed" in said:
            return DatabaseDenied
        if "no password supplied" in said or "no pg_hba.conf entry" in said:
            return DatabaseDenied
        if state == "25006":
            return DatabaseReadOnly
        if state is None or state[:2] in ("08", "57") or state in ("3D000", "53300"):
            operational = any(cls.__name__ == "OperationalError" for cls in type(error).__mro__)
            return DatabaseUnreachable if operational else None
        return None

    @contextmanager
    def scratch(self, connection: Connection) -> Iterator[Connection]:
        # A schema inside a transaction that never commits: nobody sees it, nothing to clean up.
        # On an engine of its own, whose idea of the default schema can be changed.
        engine = create_engine(connection.engine.url, poolclass=NullPool)
        try:
            with engine.connect() as own:
                own.exec_driver_sql("CREATE SCHEMA headway_scratch")
                own.exec_driver_sql("SET LOCAL search_path TO headway_scratch")
                own.dialect.default_schema_name = "headway_scratch"
                yield own
                own.rollback()
        finally:
            engine.dispose()


class AdvisoryLock(Lock):
    """A session-level advisory lock, held by the very session that migrates.

    So it is as alive as the work: when a client is killed and its server goes on with a long
    statement, the lock stays until that ends. Polled, because a waiting `pg_advisory_lock` is
    cancelled by lock_timeout and deadlocks with CREATE INDEX CONCURRENTLY.
    """

    def __init__(self, raw: Raw, name: str) -> None:
        self.raw = raw
        digest = hashlib.sha256(f"headway:{name}".encode()).digest()
        self.key = int.from_bytes(digest[:8], "big", signed=True)

    def try_acquire(self, me: Holder) -> bool:
        if not ask(self.raw, "SELECT pg_try_advisory_lock(%s)", [self.key])[0][0]:
            return False
        since = int(me.since.timestamp()) if me.since else 0
        name = f"headway/{me.release} {since} {me.pid}@{me.host}"
        ask(self.raw, "SELECT set_config('application_name', %s, false)", [name[:63]])
        return True

    def holder(self) -> Holder | None:
        rows = ask(
            self.raw,
            "SELECT a.application_name, a.client_addr, a.backend_start "
            "FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND (l.classid::bigint << 32) | l.objid::bigint = %s",
            [self.key],
        )
        if not rows:
            return None
        name, address, started = rows[0]
        if said := SIGNATURE.fullmatch(name or ""):
            since = datetime.fromtimestamp(int(said["since"]), UTC)
            return Holder(
                host=said["host"], pid=int(said["pid"]), release=said["release"], since=since
            )
        return Holder(host=str(address) if address else None, since=started)

    def release(self) -> None:
        ask(self.raw, "SELECT pg_advisory_unlock(%s)", [self.key])
