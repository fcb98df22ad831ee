"""SQLite's migration lock: a file beside the database."""

import json
import os
from datetime import datetime
from pathlib import Path

from app.errors import DatabaseReadOnly
from app.migrator.dialects.base import Lock
from app.migrator.values import Holder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class FileLock(Lock):
    """A file beside the database, locked by the operating system, which knows who died.

    `flock` (on Windows a byte range) rather than the file's existence: nothing to clean up
    after a crash. The file goes with its holder's release.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path  # None: a database in memory, which nobody else can reach
        self.file: int | None = None

    def try_acquire(self, me: Holder) -> bool:
        if self.path is None:
            return True
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DatabaseReadOnly(
                f"{self.path.parent} cannot be written ({error.strerror}), and it has to "
                "be for a database in it. Mount it writable, or give the database another place."
            ) from error
        if not (_lock_file(file) and self._is_still(file)):
            os.close(file)
            return False
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(me.as_json()).encode(), 0)
        self.file = file
        return True

    def _is_still(self, file: int) -> bool:
        """False if the last holder removed the file between our open and our lock."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))  # type: ignore[arg-type]  # noqa: PTH116
        except FileNotFoundError:
            return False

    def holder(self) -> Holder | None:
        try:
            said = json.loads(self.path.read_text() if self.path else "")
        except (OSError, ValueError):
            return None
        return Holder(**said | {"since": datetime.fromisoformat(said["since"])})

    def release(self) -> None:
        if self.file is None or self.path is None:
            return
        if fcntl:
            self.path.unlink(missing_ok=True)  # while we hold it, so nobody locks a dead name
        os.close(self.file)
        self.file = None


def _lock_file(file: int) -> bool:
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            # Far behind the text, so that others can still read who holds it.
            os.lseek(file, 1 << 30, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True
