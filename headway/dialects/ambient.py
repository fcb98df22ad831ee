"""What drivers take from the machine beside the URL, and connections that take none of it.

A password in PGPASSWORD or ~/.pgpass, the user in PGUSER, a service file, a client certificate, a
ticket: they are the machine's. A program that opens the databases of others must send none of them
to a server that somebody named. A program may say so, once for its process: `refuse()`.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

try:
    import pwd
except ImportError:  # Windows
    pwd = None  # type: ignore[assignment]

from sqlalchemy import URL
from sqlalchemy.engine.interfaces import Dialect

from headway.dialects.urls import PORTS, DatabaseURL

NO_FILE = "/dev/null/none"
"""Where there can be no file: libpq would take an empty path for its default, and warn of a
device."""
LIBPQ: dict[str, Any] = {
    "gssencmode": "disable",
    "hostaddr": "",
    "options": "",
    "passfile": NO_FILE,
    "password": "",
    "port": PORTS["postgresql"],
    "requirepeer": "",
    "sslcert": NO_FILE,
    "sslkey": NO_FILE,
}
"""Said for what the URL does not say: where it leads, whose schema, and by what it signs in."""
NO_TICKETS = {"require_auth": "!gss,!sspi"}
NO_TICKETS_SINCE = 16_00_00
"""The release of libpq that knows it."""

_is_allowed: Callable[[URL], bool] = lambda _url: True  # noqa: E731  # replaced by `refuse`


def refuse(*, but: URL | None = None) -> None:
    """From here on, connections of this process that Headway opens take nothing ambient.

    `but`: a database that is the program's own, and goes on taking it.
    """
    global _is_allowed  # noqa: PLW0603  # a matter of the process, as its environment is
    # libpq reads a service file for whatever is still unsaid, and no option would stop that.
    os.environ.pop("PGSERVICE", None)
    own = None if but is None else DatabaseURL.of(but)
    _is_allowed = lambda url: own is not None and own.is_same(url)  # noqa: E731


def arguments(url: URL, dialect: Dialect, given: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's arguments as the URL gives them, and more in place of what it would take."""
    if dialect.name == "sqlite" or _is_allowed(url):
        return dict(given)
    if dialect.driver in ("psycopg", "psycopg2"):
        tickets = NO_TICKETS if _libpq_version(dialect) >= NO_TICKETS_SINCE else {}
        return {**LIBPQ, **tickets, "user": _own_name(), **given}
    if dialect.driver == "mysqldb" and given.get("host") == "localhost":
        # Its library would take the socket, and the server there this process for its user.
        return {"port": PORTS["mysql"], **given, "host": "127.0.0.1"}
    return dict(given)


def _own_name() -> str:
    """Who this process is to its system: libpq's user where neither URL nor PGUSER names one."""
    if pwd is None:
        return ""
    try:
        return str(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:  # a number without a name, as in a container
        return ""


def _libpq_version(dialect: Dialect) -> int:
    module: Any = dialect.loaded_dbapi
    return int(module.pq.version() if dialect.driver == "psycopg" else module.__libpq_version__)
