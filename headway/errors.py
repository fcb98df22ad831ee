"""The errors of one database: what went wrong, and in a sentence what to do next.

The docstring of a class is its title and its default message. No error knows HTTP or exit
codes: each face has one table from `ErrorKind` to its own numbers. An error takes
`(message, **context)` with plain values only, so that it survives the way back from another
process.
"""

import inspect
from enum import StrEnum

_program = ["headway"]


def name_commands(program: str) -> None:
    """Say how the commands that messages name are called here: "flask migrate", for one."""
    _program[0] = program


def command(name: str) -> str:
    """A command of one database, as a person types it here: "headway repair"."""
    return f"{_program[0]} {name}"


class ErrorKind(StrEnum):
    """What a caller can do about an error."""

    NOT_FOUND = "not_found"
    INVALID = "invalid"
    CONFLICT = "conflict"  # trying again cannot help
    STALE = "stale"  # read it again, then decide again
    BUSY = "busy"  # trying again later helps
    UNREACHABLE = "unreachable"
    FAILED = "failed"
    DENIED = "denied"
    MISCONFIGURED = "misconfigured"
    INTERNAL = "internal"


class HeadwayError(Exception):
    """Something went wrong inside Headway."""

    kind = ErrorKind.INTERNAL
    sent: tuple[str, ...] = ()
    """The SQL that a database had been sent by then, for the record; no part of the message."""

    def __init__(self, message: str = "", **context: object) -> None:
        super().__init__(message or self.title())
        self.context = context

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self), self.context, self.sent))

    @classmethod
    def title(cls) -> str:
        """A short title, equal for every error of this class."""
        return (inspect.getdoc(cls) or cls.__name__).splitlines()[0].rstrip(".")

    @classmethod
    def slug(cls) -> str:
        """The name of its page: `docs/problems/<slug>.md`."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("-")


def _rebuild(
    cls: type[HeadwayError],
    message: str,
    context: dict[str, object],
    sent: tuple[str, ...] = (),
) -> HeadwayError:
    error = cls(message, **context)
    error.sent = sent
    return error


class SettingInvalid(HeadwayError):
    """A setting has a value that cannot be used."""

    kind = ErrorKind.MISCONFIGURED


class SetupInvalid(HeadwayError):
    """The program sets up Headway in an order that cannot work."""

    kind = ErrorKind.MISCONFIGURED


class AddressInvalid(HeadwayError):
    """This is not a database address that Headway can use."""

    kind = ErrorKind.INVALID


class DriverMissing(HeadwayError):
    """The driver for this kind of database is not installed."""

    kind = ErrorKind.MISCONFIGURED


class DatabaseUnreachable(HeadwayError):
    """The database does not answer."""

    kind = ErrorKind.UNREACHABLE


class DatabaseDenied(HeadwayError):
    """The database refuses the user or the password."""

    kind = ErrorKind.DENIED


class DatabaseRefused(HeadwayError):
    """The database refuses a statement."""

    kind = ErrorKind.FAILED


class DatabaseReadOnly(HeadwayError):
    """The database cannot be written."""

    kind = ErrorKind.MISCONFIGURED


class DatabaseDamaged(HeadwayError):
    """The file is damaged, or is not a database."""

    kind = ErrorKind.FAILED


class VersionsUnreadable(DatabaseDamaged):
    """The version or history table is not one that Alembic or Headway wrote."""


class DatabaseLocked(HeadwayError):
    """Another process is migrating this database."""

    kind = ErrorKind.BUSY


class SnapshotFailed(HeadwayError):
    """The snapshot before the upgrade could not be taken."""

    kind = ErrorKind.FAILED


class SnapshotNotFound(HeadwayError):
    """There is no such snapshot."""

    kind = ErrorKind.NOT_FOUND


class MigrationFailed(HeadwayError):
    """A revision failed."""

    kind = ErrorKind.FAILED


class ProcessEnded(MigrationFailed):
    """The process ended before its work was done."""


class DiskFull(MigrationFailed):
    """There is no disk space left for the database."""


class RowsLost(HeadwayError):
    """A revision loses rows that it does not declare."""

    kind = ErrorKind.FAILED


class ObjectsLost(HeadwayError):
    """A revision loses parts of the schema that it does not declare."""

    kind = ErrorKind.FAILED


class ForeignKeysBroken(HeadwayError):
    """A revision leaves rows whose foreign keys point at nothing."""

    kind = ErrorKind.FAILED


class SeveralHeads(HeadwayError):
    """The scripts have several heads."""

    kind = ErrorKind.CONFLICT


class ScriptsUnreadable(HeadwayError):
    """The revision scripts cannot be read as one history."""

    kind = ErrorKind.MISCONFIGURED


class EnvironmentFailed(HeadwayError):
    """The project's env.py cannot be used."""

    kind = ErrorKind.MISCONFIGURED


class RevisionNotFound(HeadwayError):
    """The scripts have no such revision."""

    kind = ErrorKind.NOT_FOUND


class TargetInvalid(HeadwayError):
    """The database cannot reach this target from its current revision."""

    kind = ErrorKind.INVALID


class PreviewImpossible(HeadwayError):
    """The SQL depends on what is in the database."""

    kind = ErrorKind.INVALID


class DatabaseMoved(HeadwayError):
    """The database moved since the plan was made."""

    kind = ErrorKind.STALE


class DatabaseExists(HeadwayError):
    """The database already exists."""

    kind = ErrorKind.CONFLICT


class DatabaseAhead(HeadwayError):
    """The database is newer than these scripts."""

    kind = ErrorKind.CONFLICT


class DatabaseForeign(HeadwayError):
    """The database belongs to another project."""

    kind = ErrorKind.CONFLICT


class DatabaseTorn(HeadwayError):
    """A revision began in this database and never ended."""

    kind = ErrorKind.CONFLICT


class DatabaseUnstamped(HeadwayError):
    """The database has tables but no version."""

    kind = ErrorKind.CONFLICT


class DatabaseInUse(HeadwayError):
    """Other sessions hold what the upgrade has to lock."""

    kind = ErrorKind.BUSY


class PoolerInTheWay(HeadwayError):
    """A proxy hands each transaction to another session."""

    kind = ErrorKind.MISCONFIGURED


class DataLossRefused(HeadwayError):
    """This would drop something that holds data."""

    kind = ErrorKind.CONFLICT


class DatabaseBehind(HeadwayError):
    """The database is older than this release needs."""

    kind = ErrorKind.CONFLICT


class HistoryInvalid(HeadwayError):
    """The scripts are not the ones that made this database."""

    kind = ErrorKind.CONFLICT


class CopyFailed(HeadwayError):
    """The database cannot be copied."""

    kind = ErrorKind.FAILED


class RepairRefused(HeadwayError):
    """The repair would lose something."""

    kind = ErrorKind.CONFLICT


class RepairFailed(HeadwayError):
    """The repair did not restore the earlier schema."""

    kind = ErrorKind.FAILED


class DatabaseMissing(HeadwayError):
    """The file of this database is not there."""

    kind = ErrorKind.NOT_FOUND


class StillNeeded(HeadwayError):
    """Something else still needs this."""

    kind = ErrorKind.CONFLICT
