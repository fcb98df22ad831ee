"""Snapshots of SQLite files: complete, checked, written aside and renamed; restoring them."""

import bisect
import contextlib
import errno
import itertools
import logging
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from headway.dialects.sqlite.objects import CANNOT_ASK
from headway.errors import SnapshotFailed, SnapshotNotFound
from headway.types import Bounded

log = logging.getLogger(__name__)

CALLED = re.compile(
    r"\d{8}T\d{6}Z(?:\d{4})?\..*\.snapshot(?P<draft>\.partial(?:-\w+)?)?", re.DOTALL
)
KEPT = 3
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
MOST = 2**31 - 1
"""How many faults to look for: some are none of the file's, and damage may come after them."""
FORBIDDEN = re.compile(r"CHECK constraint failed in|(NULL|TEXT|NUMERIC|non-\w+) value in")
RECENT_SECONDS = 10.0
"""How long the names of a large folder are known without reading it again."""
MANY_NAMES = 100
MOST_FOLDERS = 16
LAST = "\U0010ffff"
"""Comes after every character of a name."""
BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file, and what belongs to nothing else."""


def take(source: sqlite3.Connection, path: Path, label: str, *, keep: int = KEPT) -> Path:
    """Copy a database, WAL included, beside itself; check the copy; keep the newest few.

    The caller holds the migration lock. Raises SnapshotFailed; nothing is left then.
    """
    before, leftovers = _beside(path, recent=True)
    final = _free(path, before, _safe(label))
    draft = final.with_name(final.name + ".partial")
    for leftover in (*leftovers, draft):
        leftover.unlink(missing_ok=True)  # we hold the lock: whoever wrote it is gone
    try:
        draft.touch(0o600)  # nobody else's, before a row of it is in there
        with contextlib.closing(sqlite3.connect(draft)) as copy:
            copy.execute("PRAGMA synchronous=OFF")  # flushed once, when it is whole
            source.backup(copy)
        _check(draft, path)
        _flush(draft)
        shutil.copymode(path, draft)  # last: it may be read-only
        draft.rename(final)
    except (sqlite3.Error, OSError) as error:
        advice = " Make room beside it and start again." if _is_full(error) else ""
        raise SnapshotFailed(
            f"No snapshot of {path} could be taken ({error}), so nothing was changed.{advice}"
        ) from error
    finally:
        _remove(draft)
    _listings.add(final)
    for old in [*before, final][:-keep]:
        old.unlink(missing_ok=True)
    return final


def taken(path: Path) -> list[Path]:
    """The snapshots of this database, oldest first."""
    return _beside(path)[0]


def taken_since(path: Path, since: datetime, label: str) -> Path | None:
    """The first snapshot of a database with this label that was begun at a time or after it."""
    stamp = f"{since.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    ending = f".{_safe(label)}.snapshot"
    known = (one for one in taken(path) if one.name.endswith(ending))
    return next((one for one in known if one.name[len(path.name) + 1 :] >= stamp), None)


def _safe(label: str) -> str:
    return re.sub(r"[^\w+.-]", "_", label)[:80]


def _beside(path: Path, *, recent: bool = False) -> tuple[list[Path], list[Path]]:
    """Snapshots of this database, oldest first, and drafts of them: not those of `<name>.old`.

    `recent`: what another process did to a large folder in the last seconds may be missing.
    """
    start = f"{path.name}."
    both: tuple[list[Path], list[Path]] = ([], [])
    for name in _listings.names(path.parent, start, recent=recent):
        if match := CALLED.fullmatch(name[len(start) :]):
            both[bool(match["draft"])].append(path.with_name(name))
    return both


class _Listings:
    """The names in folders. A large folder is read once for many databases in it.

    To read a folder takes a millisecond for 3,000 names: more than the copy of a small file.
    """

    def __init__(self) -> None:
        self._large: Bounded = Bounded(MOST_FOLDERS)

    def names(self, folder: Path, start: str, *, recent: bool) -> list[str]:
        """The names that begin so, in order."""
        read_at, names = self._large.get(folder) or (0.0, [])
        if not recent or not names or time.monotonic() > read_at + RECENT_SECONDS:
            # Names alone: three times as quick as with what pathlib makes of each.
            names = sorted(os.listdir(folder))  # noqa: PTH208
            self._large[folder] = (time.monotonic(), names if len(names) > MANY_NAMES else [])
        first = bisect.bisect_left(names, start)
        return names[first : bisect.bisect_left(names, f"{start}{LAST}", first)]

    def add(self, path: Path) -> None:
        """A file was made in a folder."""
        _, names = self._large.get(path.parent) or (0.0, [])
        if names:
            bisect.insort(names, path.name)


_listings = _Listings()


def restore(snapshot: Path, path: Path) -> None:
    """Put a snapshot in the place of a database. The caller holds the migration lock.

    What the database held until now stays beside it as `<name>.replaced`, so a restore of the
    wrong one can be taken back too. A `-wal` of before would be played into the restored file:
    it is checkpointed first. Raises SnapshotNotFound, or SnapshotFailed with nothing changed.
    """
    if not snapshot.is_file():
        there = ", ".join(one.name for one in taken(path)) or "none"
        raise SnapshotNotFound(f"There is no snapshot {snapshot}. Beside {path.name} are: {there}.")
    path = path.resolve()  # a link stays a link
    draft = path.with_name(f"{path.name}.restoring")
    # Immutable: a snapshot of a database with a WAL would want one of its own.
    whole = f"{snapshot.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        _remove(draft)
        with (
            contextlib.closing(sqlite3.connect(whole, uri=True)) as source,
            contextlib.closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
        _check(draft, snapshot)
        _flush(draft)
        shutil.copymode(path if path.exists() else snapshot, draft)  # last: it may be read-only
        if path.exists():
            _set_aside(path)
        for ending in BESIDE:
            Path(f"{path}{ending}").unlink(missing_ok=True)
        draft.replace(path)
    except (sqlite3.Error, OSError) as error:
        raise SnapshotFailed(
            f"{snapshot} could not be restored ({error}). {path} is as it was."
        ) from error
    finally:
        _remove(draft)


def _set_aside(path: Path) -> None:
    """Keep the present database beside its place, with all its WAL in it.

    Under both names until the restored one takes its own: at no moment is there none.
    """
    if holders := _holders(path):
        raise sqlite3.OperationalError(f"{holders} has it open; close that first")
    aside = path.with_name(f"{path.name}.replaced")
    _remove(aside)
    try:
        _close(path)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise sqlite3.OperationalError("another program has it open; close that first") from error
    except (
        sqlite3.DatabaseError
    ):  # damaged: a reason to restore, and its WAL may be worth something
        for ending in BESIDE:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{ending}").rename(f"{aside}{ending}")
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copy2(path, aside)


def _close(path: Path) -> None:
    """Bring the WAL into the file. Raises OperationalError where another has it open."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as present:
        # Leaving the journal mode empties and removes the WAL; it fails while someone else has
        # the file open, and then a restore would pull it from under them.
        (mode,) = present.execute("PRAGMA journal_mode=DELETE").fetchone()
        if mode != "delete":
            raise sqlite3.OperationalError("database is locked")
        present.execute("BEGIN EXCLUSIVE")


def _holders(path: Path) -> str:
    """Processes that have a file open, as far as the system tells (Linux)."""
    there = path.stat()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            for entry in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.path.samestat(entry.stat(), there):
                        found.append(process.name)
                        break
    return f"process {', '.join(found)}" if found else ""


def copy_closed(source: Path, target: Path) -> None:
    """Copy a closed database file to a new name: complete and on disk, or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        shutil.copyfile(source, draft)  # in the kernel, where it can
        with draft.open("rb+") as here:
            os.fsync(here.fileno())
        try:
            os.link(draft, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: FAT, many shares
            target.touch(exist_ok=False)  # takes the name, if nobody has it
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _free(path: Path, before: Sequence[Path], label: str) -> Path:
    """A name that comes after all that are there, also within one second or when a clock is set."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    last = "".join(file.name[len(path.name) + 1 :].split(".")[0] for file in before[-1:])
    stamp = max(stamp, last[: len(stamp)])
    numbers = itertools.chain([""], (f"{number:04}" for number in range(1, 10_000)))
    stamps = (f"{stamp}{number}" for number in numbers if f"{stamp}{number}" > last)
    names = (path.with_name(f"{path.name}.{free}.{label}.snapshot") for free in stamps)
    return next(name for name in names if not name.exists())


def _is_full(error: Exception) -> bool:
    return "full" in str(error) or getattr(error, "errno", None) in FULL


def _check(copy: Path, source: Path) -> None:
    """Raise SnapshotFailed for a copy that is damaged.

    Tables with a collation, a function or a module of the application's own cannot be checked
    without it. They were copied page by page like all others: that is said, and no reason to fail.
    """
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        try:
            damage = _damage(connection, "")
        except sqlite3.OperationalError as error:
            if not CANNOT_ASK.search(str(error)):
                raise
            log.warning("%s: not all of it can be checked here: %s", source, error)
            damage = _damage_by_table(connection)
    if damage:
        raise SnapshotFailed(f"{source} is damaged: {damage}. Nothing was changed.")


def _damage(connection: sqlite3.Connection, table: str) -> str | None:
    """The first thing that is wrong with the pages of a table, or of all.

    Rows that a constraint forbids are no damage: it may be younger than they are.
    """
    which = table and '"' + table.replace('"', '""') + '"'
    pragma = f"PRAGMA integrity_check({which or MOST})"
    verdicts = (verdict for (verdict,) in connection.execute(pragma))
    return next((one for one in verdicts if one != "ok" and not FORBIDDEN.match(one)), None)


def _damage_by_table(connection: sqlite3.Connection) -> str | None:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    for (table,) in [("sqlite_master",), *connection.execute(query).fetchall()]:
        try:
            if damage := _damage(connection, table):
                return damage
        except sqlite3.OperationalError as error:
            if not CANNOT_ASK.search(str(error)):
                raise
    return None


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(draft: Path) -> None:
    for name in (draft, *(Path(f"{draft}{ending}") for ending in BESIDE)):
        name.unlink(missing_ok=True)
