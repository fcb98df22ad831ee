"""The address of a database: a URL, or an engine or connection that the caller has already."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine

from headway import history
from headway.connections.keepalive import keep_alive
from headway.dialects import (
    Beside,
    Dialect,
    Peek,
    VersionTable,
    dialect_of,
    driver,
    refuse_no_version,
)
from headway.dialects.driver import Raw
from headway.dialects.reach import reaching
from headway.dialects.translation import opened
from headway.dialects.urls import DatabaseURL
from headway.isolation.connecting import PLAIN, Settings

BESIDE_SECONDS = 30
"""How long another session of ours waits for a lock; MariaDB would wait a day."""


class Setup(Protocol):
    """How a project sets up connections to its databases."""

    def settings_at(self, address: "Address") -> Settings:
        """Connection settings beyond the URL.

        Raises EnvironmentFailed if they cannot be determined.
        """

    def prepare(self, raw: Raw, address: "Address") -> Mapping[Any, Any]:
        """Run the project's listeners on a new connection; returns what they stored."""


@dataclass(frozen=True)
class Address:
    """A database that can be opened. One with only a URL travels between processes."""

    url: URL
    engine: Engine | None = None
    connection: Connection | None = None
    setup: Setup | None = field(default=None, compare=False, repr=False)
    stands_for: URL | None = None
    """The original's URL, if this database is a copy or a draft of it."""

    @classmethod
    def of(cls, database: "str | URL | Path | Engine | Connection") -> "Address":
        """An address for a URL, path, engine or connection. Raises AddressInvalid."""
        if isinstance(database, Engine):
            return cls(database.url, engine=database)
        if isinstance(database, Connection):
            return cls(database.engine.url, connection=database)
        return cls(DatabaseURL.parse(database))

    def __repr__(self) -> str:
        return f"Address({self})"

    def set_up_by(self, setup: Setup) -> "Address":
        """A copy of this address whose connections are set up by the project."""
        # Each status of each database comes by here; `replace` takes ten times as long.
        return Address(self.url, self.engine, self.connection, setup, self.stands_for)

    def elsewhere(self, url: URL) -> "Address":
        """The address of another database that is opened and migrated as this one would be."""
        return replace(self, url=url, engine=None, connection=None, stands_for=self.project_url)

    @property
    def project_url(self) -> URL:
        """The URL that the project uses for this database: the original's, if this is a copy."""
        return self.stands_for or self.url

    @property
    def is_lent(self) -> bool:
        """True if it is reached through an engine or a connection of the caller's."""
        return self.engine is not None or self.connection is not None

    def __str__(self) -> str:
        return driver.display_url(self.url)

    @property
    def dialect(self) -> Dialect:
        """The kind of database."""
        return dialect_of(self.url)

    @property
    def path(self) -> Path | None:
        """The file, or None where a server or the memory keeps it."""
        return DatabaseURL.of(self.url).file

    @property
    def is_shared(self) -> bool:
        """True if the caller has a transaction open, which what we do becomes a part of."""
        return self.connection is not None and self.connection.in_transaction()

    @contextmanager
    def open(self) -> Iterator[Raw]:
        """The driver's connection: a new one, or the caller's, given back as it was."""
        with reaching(self.url, all=True):
            if self.connection is not None:
                lent = driver.dbapi_connection(self.connection)
                with self.dialect.borrow(lent, shared=self.is_shared) as raw:
                    yield raw
            elif self.engine is not None:
                pooled = self.engine.raw_connection()
                try:
                    with self.dialect.borrow(pooled.dbapi_connection, shared=False) as raw:
                        yield raw
                finally:
                    pooled.close()
            else:
                raw, notes = self._opened()
                with driver.closing(raw), driver.listener_notes(raw, notes):
                    yield raw

    def open_raw(self) -> Raw:
        """A connection of the driver's, set up as the project wants it; the caller closes it."""
        return self._opened()[0]

    def _opened(self) -> tuple[Raw, Mapping[Any, Any]]:
        """A new driver connection, set up by the project, and what its listeners stored."""
        settings = self.setup.settings_at(self) if self.setup else PLAIN
        raw = opened(self.url, settings.arguments_for(self.url))
        notes: Mapping[Any, Any] = {}
        if self.setup and settings.prepares:
            notes = self.setup.prepare(raw, self)
        keep_alive(raw, self.url)
        self.dialect.configure(raw)
        return raw, notes

    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        """Version and tables as the driver reads them. Writes nothing and ends no transaction."""
        if self.connection is not None and self.is_shared:
            peek = self.dialect.peek_within(self.connection, table)
        else:
            peek = self.dialect.peek(raw, table)
        refuse_no_version(table.name, peek.versions)
        return peek

    def history(self, raw: Raw) -> list[history.Entry]:
        """What its history says, where it has one. Writes nothing, ends nothing."""
        if self.connection is not None and self.is_shared:
            return history.entries(self.connection.exec_driver_sql(history.ENTRIES))
        return driver.ask(raw, history.ENTRIES, read=history.entries)

    def tables(self, raw: Raw) -> set[str]:
        """The names of its tables."""
        with self.connected(raw) as connection:
            return self.dialect.tables(connection)

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
                made.append(self.own_engine())
            with made[0].connect() as connection:
                if not in_memory:
                    raw = driver.dbapi_connection(connection)
                    self.dialect.set_timeouts(
                        raw, lock_seconds=BESIDE_SECONDS, statement_seconds=None
                    )
                yield connection.execution_options(write=True)
                connection.commit()

        try:
            yield session
        finally:
            if made and made[0] is not lent:
                made[0].dispose()

    def own_engine(self) -> Engine:
        """An engine with sessions of its own on this database. The caller disposes of it."""
        opened = {"creator": driver.existing_connection(self.open_raw), "pool_pre_ping": True}
        engine = driver.register_engine(create_engine(self.url, poolclass=QueuePool, **opened))
        self.dialect.prepare(engine)
        return engine
