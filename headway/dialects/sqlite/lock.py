"""SQLite's migration lock: on the file itself, whatever its path or links are."""

import contextlib
import errno
import json
import os
import platform
import socket
import stat
import struct
from datetime import datetime
from pathlib import Path
from weakref import WeakSet

from headway.dialects.types import Lock
from headway.errors import DatabaseReadOnly
from headway.types import Holder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

QUEUE = 128
"""How many waiting processes may ask who holds the lock; further ones get no name."""


class FileLock(Lock):
    """Operating system locks, which are released when their process dies.

    One is a file beside the database, with all links followed (SQLite follows them too, so its
    journal is there as well): `flock`, on Windows a byte range. It is what other releases, other
    containers and other machines on a shared folder take. It goes with its holder's release.

    The other is on the inode, for names that no path tells: hard links, and a single file that is
    mounted elsewhere. On Linux that is a name in the kernel's own table of sockets, `(device,
    inode)`: no file, no rights, no folder to agree upon. A lock on the database file itself would
    be none: SQLite's locks are POSIX's, and *any* close of a file takes all of a process's away,
    those of the application's own connections too. Where there is no such table, a file with
    several hard links is refused. Two hard links in two containers are not seen.
    """

    def __init__(self, database: Path | None, name: str) -> None:
        self.database = database  # None: in memory, which nobody else can reach
        self.path = Path(f"{database}.{name}.lock") if database else None
        self.file: int | None = None
        self.inode = _Inode(name)

    def try_acquire(self, me: Holder) -> bool:
        if self.database is None or self.path is None:
            return True
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DatabaseReadOnly(
                f"{self.path.parent} cannot be written ({error.strerror}), but Headway has to "
                "write there to open a database in it. Mount it writable, or give the database "
                "another place."
            ) from error
        if not (_lock_file(file) and self._is_still(file)):
            os.close(file)
            return False
        self.file = file
        try:
            if not self.inode.try_acquire(self.database):
                self._let_go()
                return False
        except BaseException:
            self._let_go()
            raise
        note = json.dumps(me.as_json()).encode()
        os.pwrite(file, note, 0)
        # Cut only what a killed holder left, and never to nothing: ext4 writes a file that was
        # emptied to the disk when it is closed, and the release would wait for that.
        if os.fstat(file).st_size > len(note):
            os.ftruncate(file, len(note))
        return True

    def _is_still(self, file: int) -> bool:
        """False if the last holder removed the file between our open and our lock."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))  # type: ignore[arg-type]  # noqa: PTH116
        except FileNotFoundError:
            return False

    def holder(self) -> Holder | None:
        try:
            stored = json.loads(self.path.read_text() if self.path else "")
        except (OSError, ValueError):
            return self.inode.holder(self.database) if self.database else None
        return Holder(**stored | {"since": datetime.fromisoformat(stored["since"])})

    def release(self) -> None:
        self.inode.release()
        self._let_go()

    def _let_go(self) -> None:
        if self.file is None or self.path is None:
            return
        if fcntl:
            self.path.unlink(missing_ok=True)  # while we hold it, so nobody locks a dead name
        os.close(self.file)
        self.file = None


class _Inode:
    """A name in Linux's table of abstract sockets: bound by one process, free when it ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket: socket.socket | None = None
        self.known: Holder | None = None

    def try_acquire(self, database: Path) -> bool:
        found = _status(database)
        if found is None:  # no file yet, so nothing has another name
            return True
        mine = _socket()
        if mine is not None:
            try:
                mine.bind(self._address(found))
                mine.listen(QUEUE)
            except OSError as error:
                mine.close()
                if error.errno == errno.EADDRINUSE:
                    return False
                mine = None  # this machine lets us have no such name
        if mine is None and found.st_nlink > 1:
            raise DatabaseReadOnly(
                f"{database} has {found.st_nlink} names (hard links), and this system cannot lock "
                "it under all of them. Nothing was changed. Make copies of it instead of links."
            )
        self.socket = mine
        if mine is not None:
            _bound.add(mine)
        return True

    def holder(self, database: Path) -> Holder | None:
        """The process that has it by another of its names, as the kernel knows it."""
        found, asking = _status(database), _socket()
        if found is None or asking is None:
            return None
        with asking, contextlib.suppress(OSError):
            asking.setblocking(False)
            asking.connect(self._address(found))
            credentials = asking.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
            )
            self.known = Holder(
                host=platform.node(), pid=struct.unpack("3i", credentials)[0] or None
            )
        return self.known

    def release(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _address(self, found: os.stat_result) -> str:
        return f"\0headway:{self.name}:{found.st_dev}:{found.st_ino}"


_bound: "WeakSet[socket.socket]" = WeakSet()


def _forget() -> None:
    """In a forked child: its copy would keep a lock that its parent gives back."""
    for one in list(_bound):
        one.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _socket() -> socket.socket | None:
    if platform.system() != "Linux":
        return None
    try:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:  # a sandbox without them
        return None


def _status(database: Path) -> os.stat_result | None:
    try:
        found = database.stat()
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _lock_file(file: int) -> bool:
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt  # noqa: PLC0415  # of Windows alone

            # Far behind the text, so that others can still read who holds it.
            os.lseek(file, 1 << 30, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True
