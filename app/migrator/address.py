"""Where a database is: a URL, or an engine or connection that a program already has."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine

from app.migrator import driver
from app.migrator.dialects import Dialect, Peek, VersionTable, dialect_of
from app.migrator.driver import Raw
from app.migrator.keepalive import keep_alive
from app.migrator.reach import reaching

Beside = Callable[[], AbstractContextManager[Connection]]
"""Opens another session on a database, committed at its end."""
BESIDE_SECONDS = 30
"""How long another session of ours waits for a lock; MariaDB would wait a day."""


@dataclass(frozen=True)
class Address:
    """A database that can be opened. One with only a URL travels between processes."""

    url: URL
    engine: Engine | None = None
    connection: Connection | None = None

    @classmethod
    def of(cls, database: "str | URL | Path | Engine | Connection") -> "Address":
        """Raises AddressInvalid for what is no database that we know."""
        if isinstance(database, Engine):
            return cls(database.url, engine=database)
        if isinstance(database, Connection):
            return cls(database.engine.url, connection=database)
        return cls(driver.parse(database))

    def __repr__(self) -> str:
        return f"Address({self})"

    def __str__(self) -> str:
        return driver.shown(self.url)

    @property
    def dialect(self) -> Dialect:
        """The kind of database."""
        return dialect_of(self.url)

    @property
    def path(self) -> Path | None:
        """The file, or None where a server or the memory keeps it."""
        name = self.url.database
        if self.dialect.name != "sqlite" or name in (None, "", ":memory:"):
            return None
        return Path(str(name)).absolute()

    @property
    def is_shared(self) -> bool:
        """True if the caller has a transaction open, which what we do becomes a part of."""
        return self.connection is not None and self.connection.in_transaction()

    @contextmanager
    def open(self) -> Iterator[Raw]:
        """The driver's connection: a new one, or the caller's, given back as it was."""
        with reaching(self.url):
            if self.connection is not None:
                lent = driver.raw_of(self.connection)
                with self.dialect.borrowed(lent, shared=self.is_shared) as raw:
                    yield raw
            elif self.engine is not None:
                pooled = self.engine.raw_connection()
                try:
                    with self.dialect.borrowed(pooled.dbapi_connection, shared=False) as raw:
                        yield raw
                finally:
                    pooled.close()
            else:
                with driver.closing(driver.open_raw(self.url)) as raw:
                    keep_alive(raw, self.url)
                    self.dialect.settle(raw)
                    yield raw

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        """Where it stands, as far as the driver can tell. Writes nothing, ends nothing."""
        if self.connection is not None and self.is_shared:
            return self.dialect.peek_within(self.connection, table)
        return self.dialect.peek(raw, table)

    @contextmanager
    def connected(self, raw: Raw) -> Iterator[Connection]:
        """SQLAlchemy's connection on top of the driver's; the caller's own where it is shared."""
        if self.connection is not None and self.is_shared:
            yield self.connection
            return
        engine = driver.engine_on(raw, self.url)
        self.dialect.prepare(engine, settled=True)
        with engine.connect() as connection:
            yield connection

    @contextmanager
    def beside(self) -> Iterator[Beside]:
        """While this lasts: what opens another session on the same database, to be committed.

        One connection serves them all, made when the first is asked for, and made again where
        its server has ended it meanwhile.
        """
        made: list[Engine] = []
        lent = self.connection.engine if self.connection is not None else self.engine
        in_memory = self.dialect.name == "sqlite" and self.path is None
        if lent is not None and in_memory:
            made.append(lent)  # a new one would open another, empty memory

        @contextmanager
        def session() -> Iterator[Connection]:
            if not made:
                made.append(self._own_engine())
            with made[0].connect() as connection:
                if not in_memory:
                    raw = driver.raw_of(connection)
                    self.dialect.brake(raw, lock_seconds=BESIDE_SECONDS, statement_seconds=None)
                yield connection.execution_options(write=True)
                connection.commit()

        try:
            yield session
        finally:
            if made and made[0] is not lent:
                made[0].dispose()

    def _own_engine(self) -> Engine:
        opened = {"creator": lambda: driver.open_raw(self.url), "pool_pre_ping": True}
        engine = driver.own(create_engine(self.url, poolclass=QueuePool, **opened))
        self.dialect.prepare(engine)
        return engine
