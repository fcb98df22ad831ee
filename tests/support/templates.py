"""Databases that are made once a run and copied for each test."""

import contextlib
import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from sqlalchemy.engine import URL

from headway.dialects import dialect_of

_numbers = itertools.count(1)


class Templates:
    """Templates that all processes of a run share; each is made by the process that asks first.

    A folder that they share says which there are and who uses them: the last one drops them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "templates"
        self.folder.mkdir(exist_ok=True)
        self.used: dict[str, URL] = {}

    def get(self, server: URL, key: str, make: Callable[[URL], None]) -> URL:
        """The template of this key on a server (`sqlite://` for a file), made if it is not there.

        `make` is given the URL of an empty database, and must leave no connection to it.
        """
        run = sha256(f"{self.folder}{server}".encode()).hexdigest()[:12]
        name = f"headway_template_{run}_{key}"
        if name in self.used:
            return self.used[name]
        is_file = server.get_backend_name() == "sqlite"
        url = server.set(database=str(self.folder / f"{name}.sqlite") if is_file else name)
        with self._locked(name):
            made = self.folder / f"{name}.made"
            if not made.exists():
                dialect = dialect_of(url)
                dialect.drop(url)  # half of one, of a process that was killed
                dialect.make(url)
                make(url)
                made.touch()
            (self.folder / f"{name}.user.{os.getpid()}").touch()
        self.used[name] = url
        return url

    def end(self) -> None:
        """Drop what no other process uses."""
        for name, url in self.used.items():
            with self._locked(name):
                (self.folder / f"{name}.user.{os.getpid()}").unlink()
                if not list(self.folder.glob(f"{name}.user.*")):
                    (self.folder / f"{name}.made").unlink()
                    dialect_of(url).drop(url)
        self.used.clear()

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Template:
    """A database that is copied for each test."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = dialect_of(url)

    @contextlib.contextmanager
    def copy(self, url: URL | None = None) -> Iterator[URL]:
        """A database of its own, at this address or some other, dropped at the end."""
        mine = url or self._place()
        self.dialect.make(mine, self.url)
        try:
            yield mine
        finally:
            self.dialect.drop(mine)

    def _place(self) -> URL:
        name = f"headway_copy_{os.getpid()}_{next(_numbers)}"
        if self.dialect.name == "sqlite":
            return self.url.set(database=str(Path(str(self.url.database)).with_name(name)))
        return self.url.set(database=name)
