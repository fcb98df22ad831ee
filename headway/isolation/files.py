"""Files that a result was made from: it is valid while they are unchanged."""

import hashlib
import io
import os
from dataclasses import dataclass, field
from stat import S_ISREG

Stamp = tuple[int, int, int, int]


@dataclass
class Files:
    """Digests of files. Files are read again only if their size or time changed."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)

    def add(self, path: str) -> bool:
        """Record a file's content; False if it is no regular file."""
        if path in self.stamps:
            return True
        try:
            stamp = _stamp(path)
            if stamp is None:
                return False
            self.digests[path] = _digest(path)
            self.stamps[path] = stamp
        except OSError:
            return False
        return True

    def hold(self) -> bool:
        """True if all files are unchanged."""
        return all(self._holds(path) for path in self.stamps)

    def _holds(self, path: str) -> bool:
        try:
            stamp = _stamp(path)
            if stamp == self.stamps[path]:
                return True
            if stamp is None or _digest(path) != self.digests[path]:
                return False
        except OSError:
            return False
        self.stamps[path] = stamp
        return True


def _stamp(path: str) -> Stamp | None:
    there = os.stat(path)  # noqa: PTH116  # before each replay
    if not S_ISREG(there.st_mode):
        return None
    return there.st_mtime_ns, there.st_ctime_ns, there.st_size, there.st_ino


def _digest(path: str) -> bytes:
    with io.FileIO(path) as file:  # `open` may be watched just now
        return hashlib.sha256(file.readall()).digest()
