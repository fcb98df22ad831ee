"""PostgreSQL's migration lock: advisory locks of a session."""

import hashlib
import re
from datetime import UTC, datetime

from headway.dialects.driver import Raw, ask
from headway.dialects.types import Lock
from headway.types import Holder

# An application_name holds 63 bytes; the host comes last because it may be cut.
SIGNATURE = re.compile(
    r"headway/(?P<release>\S*) (?P<since>\d+) (?P<pid>\d+)@(?P<host>.*)", re.DOTALL
)


class AdvisoryLock(Lock):
    """Session-level advisory locks, held by the very session that migrates.

    So they are as alive as the work: when a client is killed and its server goes on with a long
    statement, they stay until that ends. Polled, because a waiting `pg_advisory_lock` is
    cancelled by lock_timeout and deadlocks with CREATE INDEX CONCURRENTLY.

    Who migrates a whole database has its key alone. A tenant shares that key with the other
    tenants and has the key of its schema alone, so that they migrate at the same time, and never
    together with the whole database. A tenant whose schema is not the one that the session makes
    things in has all of the database.
    """

    def __init__(self, raw: Raw, name: str, schema: str | None = None) -> None:
        self.raw = raw
        self.key = _key(name)
        self.schema = schema
        self.tenant = None if schema is None else _key(f"{name}:{schema}")
        self.shares = False

    def try_acquire(self, me: Holder) -> bool:
        if not (self._try_schema() if self._is_tenants() else self._try_database()):
            return False
        since = int(me.since.timestamp()) if me.since else 0
        name = f"headway/{me.release} {since} {me.pid}@{me.host}"
        ask(self.raw, "SELECT set_config('application_name', %s, false)", [name[:63]])
        return True

    def _is_tenants(self) -> bool:
        """True if the session makes things in the schema that the URL names."""
        if self.tenant is None:
            return False
        return bool(ask(self.raw, "SELECT current_schema()")[0][0] == self.schema)

    def _try_database(self) -> bool:
        self.shares = False
        return bool(ask(self.raw, "SELECT pg_try_advisory_lock(%s)", [self.key])[0][0])

    def _try_schema(self) -> bool:
        shared = "SELECT pg_try_advisory_lock_shared(%s)"
        if not ask(self.raw, shared, [self.key])[0][0]:
            return False
        self.shares = bool(ask(self.raw, "SELECT pg_try_advisory_lock(%s)", [self.tenant])[0][0])
        if not self.shares:
            ask(self.raw, "SELECT pg_advisory_unlock_shared(%s)", [self.key])
        return self.shares

    def holder(self) -> Holder | None:
        # Other tenants are in nobody's way but the whole database's.
        rows = ask(
            self.raw,
            "SELECT a.application_name, a.client_addr, a.backend_start "
            "FROM (SELECT pid, mode, (classid::bigint << 32) | objid::bigint AS key FROM pg_locks "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())) l "
            "LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.pid <> pg_backend_pid() AND (l.key = %s OR l.key = %s "
            "AND (l.mode = 'ExclusiveLock' OR %s)) ORDER BY l.mode, a.backend_start",
            [self.key if self.tenant is None else self.tenant, self.key, self.tenant is None],
        )
        if not rows:
            return None
        name, address, started = rows[0]
        if match := SIGNATURE.fullmatch(name or ""):
            since = datetime.fromtimestamp(int(match["since"]), UTC)
            return Holder(
                host=match["host"], pid=int(match["pid"]), release=match["release"], since=since
            )
        return Holder(host=str(address) if address else None, since=started)

    def release(self) -> None:
        if self.shares:
            ask(self.raw, "SELECT pg_advisory_unlock(%s)", [self.tenant])
            ask(self.raw, "SELECT pg_advisory_unlock_shared(%s)", [self.key])
        else:
            ask(self.raw, "SELECT pg_advisory_unlock(%s)", [self.key])


def _key(name: str) -> int:
    digest = hashlib.sha256(f"headway:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
