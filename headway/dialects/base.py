"""What the migrator asks of a database, in a few verbs. A dialect is one file that answers them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, inspect

from headway import history
from headway.dialects.driver import Raw
from headway.dialects.facts import Facts
from headway.dialects.transactions import Fate
from headway.errors import AddressInvalid, DatabaseDamaged, HeadwayError
from headway.types import Holder

OURS = ("headway_template_", "headway_rehearsal_", "headway_scratch_", "headway_pytest_")
"""How the names of databases begin that we make on a server for a while, and that are nobody's."""

Image = Mapping[str, str]


class Lock(ABC):
    """The one migration lock of a database. It goes when its holder dies."""

    @abstractmethod
    def try_acquire(self, me: Holder) -> bool:
        """Take it if nobody has it. Never waits: a waiting server cancels us by its own rules."""

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who has it, as far as the database can tell; None if nobody has."""

    @abstractmethod
    def release(self) -> None:
        """Give it back."""


@dataclass(frozen=True, kw_only=True)
class VersionTable:
    """Where a project keeps the version of a database."""

    name: str = "alembic_version"
    schema: str | None = None

    def quoted(self, quote: str = '"') -> str:
        """The name as SQL, between these quotes."""
        parts = [self.schema, self.name] if self.schema else [self.name]
        return ".".join(f"{quote}{part.replace(quote, quote * 2)}{quote}" for part in parts)


def refuse_no_version(table: str, versions: Sequence[object]) -> None:
    """Raise DatabaseDamaged for a row of a version table that is no revision's id."""
    for version in versions:
        if not isinstance(version, str):
            what = "NULL" if version is None else repr(version)
            raise DatabaseDamaged(
                f"The table {table} has a row whose version_num is {what}, which is the id of no "
                "revision. Nothing was changed. Delete that row, or write the right id in it; a "
                "database without a version is stamped by `adopt` or `stamp`."
            )


VERSIONS = VersionTable()
Beside = Callable[[], AbstractContextManager[Connection]]
"""Opens another session on a database, committed at its end."""


@dataclass(frozen=True, kw_only=True)
class Peek:
    """What the driver alone can tell about a database, in one or two questions."""

    versions: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()
    """All tables, where there is no version; else not asked for."""
    leftovers: tuple[str, ...] = ()
    """Tables that a batch operation left half-way."""
    has_history: bool = False


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What an empty database has to be like to be compared with another one."""

    version: str
    """Of the server."""
    options: str = ""
    """For CREATE DATABASE: its character set and its collation."""
    settings: tuple[str, ...] = ()
    """What the other database sets for its sessions: the end of ALTER DATABASE."""
    statements: tuple[str, ...] = ()
    """What is run in it first."""


class Dialect(ABC):
    """One kind of database."""

    name: ClassVar[str]
    transactional_ddl: ClassVar[bool]
    """True if an upgrade that fails leaves nothing behind."""
    quote: ClassVar[str] = '"'

    def prepare(self, engine: Engine, *, settled: bool = False) -> None:  # noqa: B027  # most need nothing
        """Make the engine's transactions real. Call once per engine.

        `settled`: its connections are already, and have brakes that must stay.
        """

    def settle(self, raw: Raw) -> None:  # noqa: B027  # most need nothing
        """The same for a connection of the driver's that we opened."""

    @abstractmethod
    def borrowed(self, raw: Raw, *, shared: bool) -> AbstractContextManager[Raw]:
        """A connection of someone else's, settled for a while and given back as it was.

        With `shared` a transaction of theirs is open on it, and stays open.
        """

    @abstractmethod
    def peek(self, raw: Raw, table: VersionTable) -> Peek:
        """Where a database stands, as far as the driver can tell. Writes nothing."""

    def peek_within(self, connection: Connection, table: VersionTable) -> Peek:
        """The same within a transaction of someone else's, which goes on afterwards."""
        tables = self.tables(connection)
        versions: Sequence[str] = ()
        if inspect(connection).has_table(table.name, schema=table.schema):
            query = f"SELECT version_num FROM {table.quoted(self.quote)}"  # noqa: S608
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
    def brake(self, raw: Raw, *, lock_seconds: float, statement_seconds: float | None) -> None:
        """Give up on locks and statements that take longer. Set when our own lock is held."""

    @abstractmethod
    def only_read(self, raw: Raw) -> None:
        """From here on this session changes nothing, whatever it is sent."""

    @abstractmethod
    def is_brake(self, error: BaseException) -> bool:
        """True if this error of the driver's says that a brake was pulled."""

    def notice_pooler(self, raw: Raw, another: Callable[[], AbstractContextManager[Raw]]) -> None:  # noqa: B027
        """Raise PoolerInTheWay where a session is not ours alone, so that no lock would hold."""

    @abstractmethod
    def exists(self, url: URL) -> bool:
        """True if there is such a database, empty or not."""

    @abstractmethod
    def make(self, url: URL, template: URL | None = None, versions: str | None = None) -> None:
        """Make a database: empty, or a copy of another that nobody is connected to.

        `versions` names the template's version table. Its rows come last, so that a copy that was
        broken off has no version. Raises DatabaseExists.
        """

    @abstractmethod
    def drop(self, url: URL) -> None:
        """Remove a database and all that is in it, neighbours too.

        Raises StillNeeded for a tenant's schema.
        """

    def discard(self, url: URL) -> None:
        """Remove a database that we made for a while. Raises AddressInvalid for any other."""
        if not self.is_ours(url):
            raise AddressInvalid(f"{url.database} is no database that was made for a while.")
        self.drop(url)

    def is_ours(self, url: URL) -> bool:
        """True for what we make on a server for a while, by its name."""
        return str(url.database).startswith(OURS)

    def neighbours(self, raw: Raw) -> tuple[str, ...]:  # noqa: ARG002
        """The other schemas of this database that hold something, as the server sees them."""
        return ()

    templates: ClassVar[bool] = False
    """True if a server copies a whole database faster than it makes one; then also:"""

    def rename(self, url: URL, name: str) -> None:
        """Give a database another name. Raises DatabaseExists."""
        raise NotImplementedError(self.name)

    def named(self, url: URL, beginning: str) -> list[str]:
        """The databases of this server whose names begin like this."""
        raise NotImplementedError(self.name)

    @abstractmethod
    def lock(self, raw: Raw, url: URL, name: str) -> Lock:
        """The lock of this database, to be held by this connection's session."""

    @abstractmethod
    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        """The error of ours that this error of the driver's means, or None for any other."""

    def missing_right(self, error: BaseException, statement: str) -> str | None:  # noqa: ARG002
        """The right that the account lacks, where that is what the error says."""
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
        """Ready a locked connection, outside a transaction, to run revisions."""
        yield None

    @contextmanager
    def joining(
        self,
        connection: Connection,  # noqa: ARG002
        versions: VersionTable = VERSIONS,  # noqa: ARG002
    ) -> Iterator["RowGuard | None"]:
        """The same within a transaction of someone else's."""
        yield None

    @contextmanager
    def replaying(
        self,
        raw: Raw,
        versions: VersionTable = VERSIONS,  # noqa: ARG002
    ) -> Iterator["RowGuard | None"]:
        """One transaction on the driver's connection: all of it or nothing. Its guard has begun."""
        try:
            yield None
            raw.commit()
        except BaseException:
            raw.rollback()
            raise

    def mark(self, raw: Raw) -> Any:  # noqa: ARG002
        """A mark on the transaction that is open; None where there is none, or none can be asked.

        It changes nothing that anybody else sees.
        """
        return None

    def fate(self, raw: Raw, mark: Any, beside: Beside | None = None) -> Fate:  # noqa: ARG002
        """What became of the transaction with this mark; one that is open stays open.

        `beside` opens another session, to be asked where this one cannot answer.
        """
        return Fate.UNKNOWN

    def begin_again(self, raw: Raw) -> None:  # noqa: B027  # most begin by themselves
        """Begin a transaction in place of one that a revision has ended."""

    def unreadable(self, connection: Connection) -> frozenset[str]:  # noqa: ARG002
        """Tables that only the application's own connections can read: no question reaches them."""
        return frozenset()

    def snapshot(self, raw: Raw, url: URL, label: str) -> Path | None:  # noqa: ARG002
        """Copy the database, where that is cheap and safe; where the copy is."""
        return None

    def image(self, connection: Connection) -> dict[str, str] | None:  # noqa: ARG002
        """Every object of the schema as the server spells it, by what it is and its name."""
        return None

    def comparable(self, before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
        """Both images as the older of them can tell, and what that leaves open, in words.

        A release that knew less may have taken the first of them.
        """
        return dict(before), dict(now), ""

    def undo(self, connection: Connection, before: Image, now: Image) -> list[str]:
        """The statements that lead from the schema `now`, which is there, back to `before`.

        Raises RepairRefused if that would lose something.
        """
        raise NotImplementedError(self.name)

    def undoing(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002
        """Ready a locked connection to run these statements."""
        return nullcontext()

    def differences(self, expected: Image, found: Image) -> list[str]:
        """The entries of two images that are not the same."""
        return sorted(
            key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
        )

    def subjects(self, key: str) -> tuple[str, ...]:
        """The bare names of what an entry of the image is about; () for the database itself."""
        return (key,)

    def spoken(self, key: str) -> str:
        """What an entry of the image is about, for people."""
        return key

    @abstractmethod
    def facts(self, connection: Connection) -> Facts:
        """What the schema is made of. Nothing in the database is evaluated."""

    def looking_at(
        self,
        connection: Connection,  # noqa: ARG002
        schema: str | None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """With this schema as the default one for a while, where there are several."""
        return nullcontext()

    def default_schema(self, connection: Connection) -> str:  # noqa: ARG002
        """Where names without a schema lead; "" where there is one only."""
        return ""

    def ground(
        self,
        connection: Connection,
        schemas: Collection[str] = (),  # noqa: ARG002
        *,
        furnished: bool = False,  # noqa: ARG002
    ) -> Ground:
        """What an empty database has to be like to be compared with this one.

        With those of `schemas` that this one has. `furnished`: with all of its schemas and
        extensions, for revisions that count on them.
        """
        return Ground(version=str(connection.dialect.server_version_info))

    @abstractmethod
    def scratch(
        self, connection: Connection, ground: Ground | None = None
    ) -> AbstractContextManager[URL]:
        """An empty database of the same kind on the same server, gone afterwards.

        Raises DatabaseDenied where the account may make none.
        """


class RowGuard(ABC):
    """Watches that no row, and no other part of the schema, goes missing unannounced."""

    image: dict[str, str] | None = None
    """The schema before the revision that runs, as `Dialect.image` has it."""

    @abstractmethod
    def start(self) -> None:
        """Count what is there now. To be called in the transaction that is watched."""

    @abstractmethod
    def check(
        self,
        revision: str,
        *,
        announced: Any,
        loses: Iterable[str] = (),
        statements: Sequence[str] | None = None,
        script: str | None = None,
    ) -> None:
        """After a revision: raise RowsLost if rows are gone of tables that it did not announce.

        With the statements that it sent, what its rebuilds of tables lost is looked for too, and
        raises ObjectsLost where it is not in `loses` and neither they nor its file speak of it.
        """

    @abstractmethod
    def finish(self) -> None:
        """Before the commit: raise ForeignKeysBroken if rows now point at nothing."""
