"""Snapshots of SQLite files: whole, checked, written aside and renamed; and the way back."""

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from app.errors import SnapshotFailed, SnapshotNotFound

KEPT = 3
BESIDE = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file, and what belongs to nothing else."""


def take(source: sqlite3.Connection, path: Path, label: str, *, keep: int = KEPT) -> Path:
    """Copy a database, WAL included, beside itself; check the copy; keep the newest few.

    The caller holds the migration lock. Raises SnapshotFailed; nothing is left then.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    final = _free(path.with_name(f"{path.name}.{stamp}.{label}.snapshot"))
    draft = final.with_name(final.name + ".partial")
    for leftover in path.parent.glob(f"{_literally(path.name)}.*.snapshot.partial*"):
        leftover.unlink()  # we hold the lock: whoever wrote it is gone
    try:
        with contextlib.closing(sqlite3.connect(draft)) as copy:
            source.backup(copy)
        _check(draft, path)
        _flush(draft)
        draft.rename(final)
    except (sqlite3.Error, OSError) as error:
        raise SnapshotFailed(
            f"No snapshot of {path} could be taken ({error}), so nothing was changed. "
            "Make room beside it and start again."
        ) from error
    finally:
        _remove(draft)
    for old in taken(path)[:-keep]:
        old.unlink()
    return final


def taken(path: Path) -> list[Path]:
    """The snapshots of this database, oldest first."""
    return sorted(path.parent.glob(f"{_literally(path.name)}.*.snapshot"))


def restore(snapshot: Path, path: Path) -> None:
    """Put a snapshot in the place of a database. The caller holds the migration lock.

    What the database held until now stays beside it as `<name>.replaced`, so a restore of the
    wrong one can be taken back too. A `-wal` of before would be played into the restored file:
    it is checkpointed first. Raises SnapshotNotFound, or SnapshotFailed with nothing changed.
    """
    if not snapshot.is_file():
        there = ", ".join(one.name for one in taken(path)) or "none"
        raise SnapshotNotFound(f"There is no snapshot {snapshot}. Beside {path.name} are: {there}.")
    draft = path.with_name(f"{path.name}.restoring")
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{snapshot.absolute().as_uri()}?mode=ro", uri=True)
            ) as source,
            contextlib.closing(sqlite3.connect(draft)) as copy,
        ):
            source.backup(copy)
        _check(draft, snapshot)
        _flush(draft)
        if path.exists():
            _set_aside(path)
        draft.rename(path)
    except (sqlite3.Error, OSError) as error:
        raise SnapshotFailed(
            f"{snapshot} could not be restored ({error}). {path} is as it was."
        ) from error
    finally:
        _remove(draft)


def _set_aside(path: Path) -> None:
    """Keep the present database whole beside its place, with all its WAL in it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as present:
        # Closing the journal mode empties and removes the WAL; it fails while someone else has
        # the file open, and then a restore would pull it from under them.
        (mode,) = present.execute("PRAGMA journal_mode=DELETE").fetchone()
    if mode != "delete":
        raise sqlite3.OperationalError("another program has it open; close that first")
    aside = path.with_name(f"{path.name}.replaced")
    path.replace(aside)
    for ending in BESIDE:
        Path(f"{path}{ending}").unlink(missing_ok=True)


def _free(path: Path) -> Path:
    """The same name, or with a number where two snapshots fall into one second."""
    names = (path.with_name(path.name.replace("Z.", f"Z{n:02}.", 1)) for n in range(1, 100))
    return path if not path.exists() else next(name for name in names if not name.exists())


def _literally(name: str) -> str:
    """A file's name for glob: people's files are called `data [old].db`."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _check(copy: Path, source: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise SnapshotFailed(f"{source} is damaged: {verdict}. Nothing was changed.")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(draft: Path) -> None:
    for name in (draft, *(Path(f"{draft}{ending}") for ending in BESIDE)):
        name.unlink(missing_ok=True)
