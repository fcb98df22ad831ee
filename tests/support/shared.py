"""What all processes of a run of the tests use together."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

ROOM = 4_000_000_000
"""Bytes; what passed is removed at once, and far less is in use at any time."""


class Shared:
    """Made by the process that asks first, taken down by the last one that ends.

    The processes meet at files in a folder. That one of them uses it is a lock of its own, which
    goes with it however it ends.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.made = folder / f"{name}.made"
        self.lock = folder / f"{name}.lock"
        self.users = (folder / f"{name}.users").open("a")

    def use(self, make: Callable[[], str]) -> str:
        """What `make` gave to the process that called it."""
        with self._locked():
            fcntl.flock(self.users, fcntl.LOCK_SH)
            if not self.made.exists():
                given = make()
                self.made.write_text(given)
            return self.made.read_text()

    def end(self, unmake: Callable[[], object]) -> None:
        """Use it no more; `unmake` is called where nobody else does."""
        with self._locked(), self.users, contextlib.suppress(BlockingIOError):
            fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.made.unlink()
            unmake()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self.lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def folder_of_run(base: Path) -> Path:
    """The folder that the processes of a run share, from the base of one's temporary folders."""
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def memory() -> str | None:
    """A folder in memory with room for what tests write, from which programs may be run.

    SQLite waits for the disk at each commit; here it does not.
    """
    folder = Path("/dev/shm")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return None
    found = os.statvfs(folder)
    may_run = not found.f_flag & os.ST_NOEXEC
    return str(folder) if may_run and found.f_bavail * found.f_frsize >= ROOM else None
