"""Databases that are made once a run and copied for each test."""

import contextlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from sqlalchemy.engine import URL

from headway.dialects import dialect_of
from tests.support.shared import Shared


class Templates:
    """Templates that all processes of a run share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "templates"
        self.folder.mkdir(exist_ok=True)
        self.used: dict[str, tuple[Shared, URL]] = {}

    def get(self, server: URL, key: str, make: Callable[[URL], None]) -> URL:
        """The template of this key on a server (`sqlite://` for a file), made if it is not there.

        `make` is given the URL of an empty database, and must leave no connection to it.
        """
        run = sha256(f"{self.folder}{server}".encode()).hexdigest()[:12]
        name = f"headway_pytest_{run}_{key}"
        if name in self.used:
            return self.used[name][1]
        is_file = server.get_backend_name() == "sqlite"
        url = server.set(database=str(self.folder / f"{name}.sqlite") if is_file else name)

        def fresh() -> str:
            dialect_of(url).drop(url)  # half of one, of a process that was killed
            dialect_of(url).make(url)
            make(url)
            return name

        shared = Shared(self.folder, name)
        shared.use(fresh)
        self.used[name] = (shared, url)
        return url

    def end(self) -> None:
        """Drop what no other process uses."""
        for shared, url in self.used.values():
            # A server of our own may have ended already, and its databases with it.
            with contextlib.suppress(Exception):
                shared.end(lambda url=url: dialect_of(url).drop(url))  # type: ignore[misc]
        self.used.clear()
