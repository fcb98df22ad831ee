"""Types that all dialects share: locks, row guards, version tables, results."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from headway.errors import VersionsUnreadable
from headway.types import Holder

OURS = (
    "headway_template_",
    "headway_rehearsal_",
    "headway_scratch_",
    "headway_pytest_",
    "headway_check_",
)
"""Prefixes of the names of temporary databases that Headway creates on servers."""

Image = Mapping[str, str]


class Lock(ABC):
    """The migration lock of a database: one holder, released when the holder dies."""

    @abstractmethod
    def try_acquire(self, me: Holder) -> bool:
        """Take the lock if it is free; True if taken.

        Never waits: server timeouts would cancel the wait.
        """

    @abstractmethod
    def holder(self) -> Holder | None:
        """The holder, as far as the database can tell; None if the lock is free."""

    @abstractmethod
    def release(self) -> None:
        """Release the lock."""


@dataclass(frozen=True, kw_only=True)
class VersionTable:
    """The table in which a project stores a database's version."""

    name: str = "alembic_version"
    schema: str | None = None

    def quoted(self, quote: str = '"') -> str:
        """The table's name as SQL, in these quotes."""
        parts = [self.schema, self.name] if self.schema else [self.name]
        return ".".join(f"{quote}{part.replace(quote, quote * 2)}{quote}" for part in parts)


MOST_VERSIONS, MOST_TABLES, LONGEST_VERSION = 200, 100_000, 255
"""What is read of a database, at most: what has more is no version table, or too many tables."""


def wrong_version(version: object) -> str | None:
    """What is wrong with a value of a version table; None for what may be a revision's id."""
    if not isinstance(version, str):
        return "is NULL" if version is None else f"is no text ({type(version).__name__})"
    if len(version) > LONGEST_VERSION:
        return f"is longer than {LONGEST_VERSION} characters"
    if not version.strip() or not version.isprintable() or "+" in version:
        return "is empty or holds characters that Alembic allows in no id"
    return None


def refuse_no_version(table: str, versions: Sequence[object]) -> None:
    """Raise VersionsUnreadable for a version table with rows that are no revisions' ids."""
    wrong = next(filter(None, map(wrong_version, versions)), None)
    if wrong:
        raise VersionsUnreadable(
            f"The table {table} has a row whose version_num {wrong}: it cannot be the id of a "
            "revision. Nothing was changed. Delete that row, or write the right id into it; a "
            "database without a version is stamped by `adopt` or `stamp`."
        )
    if len(versions) > MOST_VERSIONS:
        raise VersionsUnreadable(
            f"The table {table} has more than {MOST_VERSIONS} rows: it is not a version table of "
            "Alembic. Nothing was changed. Check the URL and the name of the version table."
        )


def refuse_too_many(tables: Sequence[object]) -> None:
    """Raise VersionsUnreadable for more tables than are read."""
    if len(tables) > MOST_TABLES:
        raise VersionsUnreadable(
            f"It has no version and more than {MOST_TABLES} tables, which are not read. Nothing "
            "was changed. If you know its revision, record it with `stamp`."
        )


VERSIONS = VersionTable()

Beside = Callable[[], AbstractContextManager[Connection]]
"""Opens another session on a database, committed at its end."""


@dataclass(frozen=True, kw_only=True)
class Peek:
    """What the driver can read of a database in one or two queries."""

    versions: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()
    """All tables, where there is no version; else not asked for."""
    leftovers: tuple[str, ...] = ()
    """Tables that a batch operation left half-way."""
    has_history: bool = False


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Properties that an empty database needs to be comparable with another one."""

    version: str
    """The server's version."""
    options: str = ""
    """For CREATE DATABASE: its character set and its collation."""
    settings: tuple[str, ...] = ()
    """What the other database sets for its sessions: the end of ALTER DATABASE."""
    statements: tuple[str, ...] = ()
    """What is run in it first."""


class RowGuard(ABC):
    """Checks that a revision loses no rows and no schema objects that it does not declare."""

    image: dict[str, str] | None = None
    """The schema before the revision that runs, as `Dialect.image` has it."""
    reacts: bool = True
    """True if a statement that only adds rows may remove others, by a trigger for example."""
    refers: bool = True
    """True if there is a foreign key. `start` sets both."""

    @abstractmethod
    def start(self, *, counting: bool = True) -> None:
        """Count the rows. To be called in the transaction that is guarded.

        Without `counting`, for statements that remove no rows themselves, rows are counted only
        where a statement may cause others; if they are not, `check` must not be called.
        """

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
        """After a revision: raise RowsLost if a table lost rows that are not `announced`.

        With the `statements` that it sent, objects lost in table rebuilds are looked for too:
        raises ObjectsLost if they are not in `loses`, and neither the statements nor the script
        name them.
        """

    @abstractmethod
    def finish(self) -> None:
        """Before the commit: raise ForeignKeysBroken if rows refer to missing rows."""
