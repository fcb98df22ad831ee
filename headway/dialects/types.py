"""Types that all dialects share: locks, row guards, version tables, results."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from headway.errors import DatabaseDamaged
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
