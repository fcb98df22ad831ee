"""The interface that each kind of database implements, and its defaults."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, inspect

from headway import history
from headway.dialects.driver import Raw
from headway.dialects.facts import Facts
from headway.dialects.transactions import Fate
from headway.dialects.types import (
    MOST_VERSIONS,
    OURS,
    VERSIONS,
    Beside,
    Ground,
    Image,
    Lock,
    Peek,
    RowGuard,
    VersionTable,
)
from headway.errors import AddressInvalid, HeadwayError


class Dialect(ABC):
    """One kind of database."""

    name: ClassVar[str]
    transactional_ddl: ClassVar[bool]
    """True if an upgrade that fails leaves nothing behind."""
    quote: ClassVar[str] = '"'

    def prepare(self, engine: Engine, *, settled: bool = False) -> None:  # noqa: B027  # most need nothing
        """Make the engine's transactions include DDL. Call once per engine.

        `settled`: its connections are configured already, and have timeouts that must stay.
        """

    def prepared(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002
        """The same for one connection of somebody's engine, in no transaction, for a while."""
        return nullcontext()

    def configure(self, raw: Raw) -> None:  # noqa: B027  # most need nothing
        """Configure a driver connection that we opened, as `prepare` does for an engine."""

    @abstractmethod
    def borrow(self, raw: Raw, *, shared: bool) -> AbstractContextManager[Raw]:
        """A connection of the caller's, configured for a while and given back as it was.

        With `shared` the caller's transaction is open on it, and stays open.
        """

    @abstractmethod
    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        """Version and tables as the driver reads them, in one or two queries. Writes nothing."""

    def peek_within(self, connection: Connection, table: VersionTable) -> Peek:
        """`peek` within the caller's open transaction, which stays open."""
        tables = self.tables(connection)
        versions: Sequence[str] = ()
        if inspect(connection).has_table(table.name, schema=table.schema):
            query = f"SELECT version_num FROM {table.quoted(self.quote)}"  # noqa: S608
            query += f" LIMIT {MOST_VERSIONS + 1}"
            versions = connection.exec_driver_sql(query).scalars().all()
        return Peek(
            versions=tuple(versions),
            tables=frozenset() if versions else frozenset(tables),
            leftovers=tuple(sorted(name for name in tables if self.is_leftover(name))),
            has_history=history.NAME in tables,
        )

    def is_leftover(self, table: str) -> bool:  # noqa: ARG002
        """True for the copy that a batch operation works on, and removes at its end."""
        return False

    @abstractmethod
    def set_timeouts(
        self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None
    ) -> None:
        """Set a session's lock and statement timeouts, in seconds; None: no statement timeout."""

    @abstractmethod
    def limit_reading(self, raw: Raw, seconds: float) -> None:
        """Limit what reading a status may take, in seconds, and on SQLite in memory too.

        For a connection of our own that is closed afterwards.
        """

    def power_beyond(self, raw: Raw) -> str | None:  # noqa: ARG002
        """What lets this user do more in a transaction that only reads than reading tables.

        None if there is nothing.
        """
        return None

    @abstractmethod
    def set_read_only(self, raw: Raw) -> None:
        """Make the session read-only: the server refuses every write from here on."""

    @abstractmethod
    def is_timeout(self, error: BaseException) -> bool:
        """True if this driver error means that a lock or statement timeout expired."""

    def check_pooler(self, raw: Raw, another: Callable[[], AbstractContextManager[Raw]]) -> None:  # noqa: B027
        """Raise PoolerInTheWay if transactions may get other sessions: a lock would not hold."""

    @abstractmethod
    def exists(self, url: URL) -> bool:
        """True if there is such a database, empty or not."""

    @abstractmethod
    def make(self, url: URL, template: URL | None = None, versions: str | None = None) -> None:
        """Create a database: empty, or a copy of one that has no connections.

        `versions` names the template's version table. Its rows come last, so that a copy that was
        broken off has no version. Raises DatabaseExists.
        """

    @abstractmethod
    def drop(self, url: URL) -> None:
        """Drop a database with everything in it, other schemas included.

        Raises StillNeeded for a tenant's schema.
        """

    def discard(self, url: URL) -> None:
        """Drop a temporary database of ours. Raises AddressInvalid for any other."""
        if not self.is_ours(url):
            raise AddressInvalid(f"{url.database} is no database that was made for a while.")
        self.drop(url)

    def is_ours(self, url: URL) -> bool:
        """True if the database's name is one that we give to temporary databases."""
        return str(url.database).startswith(OURS)

    def other_schemas(self, raw: Raw) -> tuple[str, ...]:  # noqa: ARG002
        """Other schemas of this database that hold objects, as the server lists them."""
        return ()

    def has_schema(self, url: URL) -> bool:
        """True if the schema that a tenant's URL names is there, empty or not."""
        raise NotImplementedError(self.name)

    def make_schema(self, url: URL) -> None:
        """Make the schema that a tenant's URL names, empty. Raises DatabaseExists."""
        raise NotImplementedError(self.name)

    def drop_schema(self, raw: Raw, url: URL) -> None:
        """Drop the schema that a tenant's URL names, on the session that holds its lock.

        Raises StillNeeded, and drops nothing, if what is outside of it would go or change.
        """
        raise NotImplementedError(self.name)

    templates: ClassVar[bool] = False
    """True if a server copies a whole database faster than it makes one; then also:"""

    def rename(self, url: URL, name: str) -> None:
        """Rename a database. Raises DatabaseExists."""
        raise NotImplementedError(self.name)

    def named(self, url: URL, beginning: str) -> list[str]:
        """The server's databases whose names begin with this."""
        raise NotImplementedError(self.name)

    @abstractmethod
    def lock(self, raw: Raw, url: URL, name: str) -> Lock:
        """The migration lock of this database, to be held by this connection's session."""

    @abstractmethod
    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        """The error class of ours that a driver error means; None for any other."""

    def missing_right(self, error: BaseException, statement: str) -> str | None:  # noqa: ARG002
        """The privilege that the account lacks, if that is what the error says."""
        return None

    def tables(self, connection: Connection) -> set[str]:
        """The names of the tables in the default schema."""
        return set(inspect(connection).get_table_names())

    @contextmanager
    def migrating(
        self,
        connection: Connection,  # noqa: ARG002
        versions: VersionTable = VERSIONS,  # noqa: ARG002
    ) -> Iterator["RowGuard | None"]:
        """Prepare a locked connection, outside a transaction, to run revisions."""
        yield None

    @contextmanager
    def savepoint(
        self,
        connection: Connection,  # noqa: ARG002
        versions: VersionTable = VERSIONS,  # noqa: ARG002
    ) -> Iterator["RowGuard | None"]:
        """Prepare a connection to run revisions within the caller's open transaction."""
        yield None

    @contextmanager
    def replaying(
        self,
        raw: Raw,
        versions: VersionTable = VERSIONS,  # noqa: ARG002
        *,
        counting: bool = True,  # noqa: ARG002
    ) -> Iterator["RowGuard | None"]:
        """One transaction on the driver connection: all statements or none.

        Its row guard has started; `counting`: see `RowGuard.start`.
        """
        try:
            yield None
            raw.commit()
        except BaseException:
            raw.rollback()
            raise

    def mark(self, raw: Raw) -> Any:  # noqa: ARG002
        """An identifier of the open transaction; None if there is none, or none can be had.

        Nothing that others could see is changed.
        """
        return None

    def fate(self, raw: Raw, mark: Any, beside: Beside | None = None) -> Fate:  # noqa: ARG002
        """Whether the transaction with this mark is open, committed or rolled back. Ends nothing.

        `beside` opens another session, which is queried if this one cannot answer.
        """
        return Fate.UNKNOWN

    def begin_again(self, raw: Raw) -> None:  # noqa: B027  # most begin by themselves
        """Begin a new transaction after a revision has ended the one it ran in."""

    def unreadable(self, connection: Connection) -> frozenset[str]:  # noqa: ARG002
        """Tables that only the application's own connections can read."""
        return frozenset()

    def snapshot(self, raw: Raw, url: URL, label: str) -> Path | None:  # noqa: ARG002
        """Copy the database if that is cheap and safe; returns the copy's path, else None."""
        return None

    def image(self, connection: Connection) -> dict[str, str] | None:  # noqa: ARG002
        """The definition of every schema object as the server prints it, by kind and name."""
        return None

    def comparable(self, before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
        """Both images reduced to what the older one records, and a note on what that leaves out.

        The image before a run may have been stored by an older release.
        """
        return dict(before), dict(now), ""

    def undo(self, connection: Connection, before: Image, now: Image) -> list[str]:
        """The statements that take the schema from `now`, which is in place, back to `before`.

        Raises RepairRefused if that would lose data.
        """
        raise NotImplementedError(self.name)

    def undoing(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002
        """Prepare a locked connection to run the statements of `undo`."""
        return nullcontext()

    def differences(self, expected: Image, found: Image) -> list[str]:
        """Keys of the entries that differ between two images."""
        return sorted(
            key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
        )

    def object_names(self, key: str) -> tuple[str, ...]:
        """Bare names of the object that an image entry is about; () for the database itself."""
        return (key,)

    def describe(self, key: str) -> str:
        """The object that an image entry is about, for messages."""
        return key

    @abstractmethod
    def facts(self, connection: Connection) -> Facts:
        """The facts of the schema. Nothing in the database is evaluated."""

    def default_schema_set(
        self,
        connection: Connection,  # noqa: ARG002
        schema: str | None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """While this lasts, `schema` is the connection's default schema, if there are schemas."""
        return nullcontext()

    def default_schema(self, connection: Connection) -> str:  # noqa: ARG002
        """The schema of names without one; "" if the server has no schemas."""
        return ""

    def ground(
        self,
        connection: Connection,
        schemas: Collection[str] = (),  # noqa: ARG002
        *,
        furnished: bool = False,  # noqa: ARG002
    ) -> Ground:
        """Properties that an empty database needs to be comparable with this one.

        Includes those of `schemas` that this one has. `furnished`: with all of its schemas and
        extensions, for revisions that need them.
        """
        return Ground(version=str(connection.dialect.server_version_info))

    @abstractmethod
    def scratch(
        self, connection: Connection, ground: Ground | None = None
    ) -> AbstractContextManager[URL]:
        """An empty database of the same kind on the same server, dropped at the end.

        Raises DatabaseDenied if the account may create none.
        """
