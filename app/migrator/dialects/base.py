"""What the migrator asks of a database, in a few verbs. A dialect is one file that answers them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection, Engine, inspect

from app.errors import HeadwayError
from app.migrator.driver import Raw
from app.migrator.values import Holder


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


class Dialect(ABC):
    """One kind of database."""

    name: ClassVar[str]
    transactional_ddl: ClassVar[bool]
    """True if an upgrade that fails leaves nothing behind."""

    def prepare(self, engine: Engine) -> None:  # noqa: B027  # most need nothing
        """Make the engine's sessions behave: real transactions, UTC. Call once per engine."""

    @abstractmethod
    def lock(self, raw: Raw, url: URL, name: str) -> Lock:
        """The lock of this database, to be held by this connection's session."""

    @abstractmethod
    def refusal(self, error: BaseException) -> type[HeadwayError] | None:
        """The error of ours that this error of the driver's means, or None for any other."""

    def tables(self, connection: Connection) -> set[str]:
        """The names of the tables in the default schema."""
        return set(inspect(connection).get_table_names())

    @contextmanager
    def migrating(self, connection: Connection) -> Iterator["RowGuard | None"]:  # noqa: ARG002
        """Ready a locked connection, outside a transaction, to run revisions."""
        yield None

    def snapshot(self, connection: Connection, label: str) -> Path | None:  # noqa: ARG002
        """Copy the database, where that is cheap and safe; where the copy is."""
        return None

    def image(self, connection: Connection) -> dict[str, str] | None:  # noqa: ARG002
        """The schema as the server spells it, by table, where a failed step cannot roll back."""
        return None

    def undo(self, before: dict[str, str], now: dict[str, str]) -> list[str]:
        """The statements that lead from the schema `now` back to `before`.

        Raises RepairRefused if that would lose something.
        """
        raise NotImplementedError(self.name)

    @abstractmethod
    def scratch(self, connection: Connection) -> AbstractContextManager[Connection]:
        """An empty database of the same kind, gone afterwards; nobody else sees it."""


class RowGuard(ABC):
    """Watches that no row goes missing unannounced."""

    @abstractmethod
    def check(self, revision: str, *, announced: Any) -> None:
        """After a revision: raise RowsLost if rows are gone that it did not announce."""

    @abstractmethod
    def finish(self) -> None:
        """Before the commit: raise ForeignKeysBroken if rows now point at nothing."""
