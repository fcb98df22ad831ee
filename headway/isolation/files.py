"""Files that something was made from: it is good for as long as they are what they were."""

import hashlib
import io
import os
from dataclasses import dataclass, field
from stat import S_ISREG

Stamp = tuple[int, int, int, int]


@dataclass
class Files:
    """What these files held. Cheap to look at again: they are read only if they were touched."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)

    def add(self, path: str) -> bool:
        """Note what a file holds now. False for what is no plain file."""
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
        """True if each of them holds what it held."""
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
