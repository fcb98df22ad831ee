"""The URL of a database as one value: parsed once, it knows what it means and how it is shown.

The one place that decides it. A URL that says one thing where people see it, and another in an
option, is refused: who reads it, locks it or drops it would mean another database than the
driver opens.
"""

import hashlib
import ipaddress
import os
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import quote

from sqlalchemy import URL

from headway.dialects import url_parsing
from headway.dialects.search_path import Session, option_for, session_of
from headway.dialects.url_parsing import DRIVERS, KIND_OF, KINDS
from headway.errors import AddressInvalid

__all__ = ["DRIVERS", "KINDS", "DatabaseURL", "display_url"]

PORTS = {"postgresql": 5432, "mysql": 3306}
HARMLESS = {
    *("application_name", "channel_binding", "charset", "client_encoding", "collation"),
    *("connect_timeout", "gssencmode", "host", "keepalives", "keepalives_count"),
    *("keepalives_idle", "keepalives_interval", "read_timeout", "sslmode", "ssl_disabled"),
    *("target_session_attrs", "tcp_user_timeout", "timeout", "unix_socket", "write_timeout"),
}
"""Options of URLs whose values people may see. Any other might be a secret."""

LOCAL = ("127.0.0.1", "::1", "0.0.0.0", "::")  # noqa: S104  # compared with, and not bound


class DatabaseURL(URL):
    """A URL of a database. A `sqlalchemy.URL`, so that whatever takes one takes it.

    Its text for people, in f-strings and tracebacks too, is `display`: no password, no option
    that may be a secret.
    """

    @classmethod
    def parse(cls, url: str | URL | Path) -> Self:
        """A URL as typed, or a path to a SQLite file, in the plainest spelling.

        A driver for asyncio is replaced by the one we use, a `file:` URI by its path, and what
        an option says is moved to its own part of the URL. On PostgreSQL `schema=acme` is
        another spelling of `options=-csearch_path=acme`. Raises AddressInvalid, also for options
        that lead to another database or schema than the URL says.
        """
        parsed = cls.of(url_parsing.parse(url))
        parsed.session  # noqa: B018  # raises AddressInvalid where it is not understood
        return parsed

    @classmethod
    def of(cls, url: URL) -> Self:
        """The same URL as it is, of an engine for example: nothing is checked or replaced."""
        return url if isinstance(url, cls) else cls._make(url)

    def at(self, database: str | None) -> Self:
        """Another database of the same server; None for the server itself."""
        return self._replace(database=database)

    def in_schema(self, name: str) -> Self:
        """A tenant's schema in this database. Raises AddressInvalid where this names one."""
        return self.parse(self.update_query_dict({"schema": name}))

    def text(self) -> str:
        """The URL with its password, to be kept as a secret and parsed again."""
        return self.render_as_string(hide_password=False)

    def __repr__(self) -> str:
        return self.display

    def __hash__(self) -> int:
        return hash(self.render_as_string())  # as that of a `sqlalchemy.URL`, which it may equal

    @property
    def dialect(self) -> str:
        """One of KINDS."""
        backend = self.get_backend_name()
        return KIND_OF.get(backend, backend)

    @cached_property
    def display(self) -> str:
        """For people: the password, and any option that might be a secret, as `***`."""
        backend = self.get_backend_name()
        plain = self if self.drivername != DRIVERS.get(backend) else self.set(drivername=backend)
        shown = plain.set(query={}).render_as_string(hide_password=True)
        text = [pair for name in sorted(self.query) for pair in _shown(self, name)]
        return f"{shown}?{'&'.join(text)}" if text else shown

    @cached_property
    def identity(self) -> str:
        """A digest that is the same for two URLs of one database, or of one schema in it.

        Raises AddressInvalid where the options of PostgreSQL are not understood.
        """
        schema = self.schema
        # Without a schema of its own a session is in `public`.
        return self.digest("" if schema in (None, "public") else f"{schema}")

    def is_same(self, other: URL) -> bool:
        """True for two URLs of one database, whatever their schemas in it."""
        return self.digest("") == DatabaseURL.of(other).digest("")

    def digest(self, schema: str) -> str:
        """What is the same for all URLs of this schema of this database."""
        if self.dialect == "sqlite":
            text = f"sqlite {self.real_file}"
        else:
            host, port = self.place
            text = f"{self.dialect} {host} {port} {self.database} {schema}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    @property
    def place(self) -> tuple[str, int]:
        """A server's host and port, in one spelling; of a unix socket its path."""
        text = self.host or self.query.get("host") or self.query.get("unix_socket") or "localhost"
        host = (text if isinstance(text, str) else ",".join(text)).lower().rstrip(".")
        return _plain_host(host), self.port or PORTS.get(self.dialect, 0)

    @property
    def server(self) -> str | None:
        """What it shares with other databases of its server; None for a file."""
        if self.dialect == "sqlite":
            return None
        host, port = self.place
        return f"{self.dialect}://{host}:{port}"

    @cached_property
    def session(self) -> Session:
        """What the `options` of a PostgreSQL URL ask of a session.

        Raises AddressInvalid where they are not understood.
        """
        return session_of(self)

    @property
    def schema(self) -> str | None:
        """The schema that is a tenant's own, where many share one PostgreSQL database.

        Raises AddressInvalid where the options are not understood.
        """
        return self.session.schema

    @property
    def file(self) -> Path | None:
        """The file that SQLite opens, absolute; None for one in memory, and for a server's."""
        name = self.database
        if self.dialect != "sqlite" or name in (None, "", ":memory:"):
            return None
        if str(name).startswith("file:") and url_parsing.says_uri(self):
            path, options = url_parsing.uri(self)
            if path in ("", ":memory:") or options.get("mode") == "memory":
                return None
            name = path
        return Path(str(name)).absolute()

    @property
    def real_file(self) -> Path | None:
        """The same with all links followed, as SQLite does; there need not be a file yet."""
        path = self.file
        return path and Path(os.path.realpath(path))

    @property
    def name(self) -> str:
        """The name of the database that is made, dropped or looked for. Raises AddressInvalid."""
        if not self.database:
            raise AddressInvalid(
                "This URL names no database. Example: postgresql://user:password@host/name"
            )
        return self.database


def display_url(url: URL) -> str:
    """Any URL for people: see `DatabaseURL.display`."""
    return DatabaseURL.of(url).display


def _plain_host(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    found = str(getattr(address, "ipv4_mapped", None) or address)
    return "localhost" if found in LOCAL else found


def _shown(url: DatabaseURL, name: str) -> list[str]:
    if name == "options":
        return _shown_options(url)
    text = url.query[name] if name in HARMLESS else "***"
    return [f"{_text(name)}={_text(one)}" for one in ((text,) if isinstance(text, str) else text)]


def _shown_options(url: DatabaseURL) -> list[str]:
    """A tenant's schema by its name, other settings without their values."""
    try:
        session = url.session
    except AddressInvalid:
        return ["options=***"]
    is_one = len(session.path) == 1 and session.schema is not None
    path = () if is_one or not session.path else (option_for(session.path),)
    settings = [*path, *(f"-c{setting}=***" for setting in session.settings)]
    text = [f"options={_text(' '.join(settings))}"] if settings else []
    return text + ([f"schema={_text(session.path[0])}"] if is_one else [])


def _text(value: str) -> str:
    return quote(value, safe="*/,:")
