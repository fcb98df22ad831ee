"""The plainest spelling of a database's URL; one that says two things is refused."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from headway.dialects.search_path import option_for, session_of
from headway.errors import AddressInvalid

DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The driver that we use where a URL names none, or one for asyncio, by the URL's scheme."""
KINDS = ("sqlite", "postgresql", "mysql")
"""The kinds of database."""
KIND_OF = {"mariadb": "mysql"}
"""Schemes that are another kind's."""
LARGEST_PORT = 65535
VISIBLE = {
    "postgresql": {"host": "host", "port": "port", "user": "username", "password": "password"}
    | {"username": "username", "dbname": "database", "database": "database"},
    "mysql": {"host": "host", "port": "port", "user": "username", "username": "username"}
    | {"password": "password", "passwd": "password", "db": "database", "database": "database"},
}
"""Options that say what a URL says itself, and which part of it."""
LEADING = {
    "postgresql": {"conninfo", "dsn", "hostaddr", "service", "servicefile"},
    "mysql": set[str](),
}
"""Options that lead to another place than the URL says."""

HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?::([0-9]{1,5}))?")
ONE_SET = re.compile(r"\s*set\s+(?!statement\b)[^;]*;?\s*", re.IGNORECASE)


ASYNCPGS_OWN = {
    *("prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size"),
    *("command_timeout", "async_fallback", "max_cached_statement_lifetime"),
}
"""Options of asyncpg's URLs that are about its caches."""


def parse(url: str | URL | Path) -> URL:
    """What `DatabaseURL.parse` promises."""
    if isinstance(url, Path):
        return URL.create("sqlite", database=str(url))
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise AddressInvalid(
            "This is not a database URL. Examples: sqlite:///data/customer.db, "
            "postgresql://user:password@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend not in DRIVERS:
        raise AddressInvalid(
            f"Headway knows {', '.join(KINDS)} (and mariadb), but this URL names {backend}."
        )
    if backend == "postgres":  # which SQLAlchemy does not know any more
        parsed = parsed.set(drivername=parsed.drivername.replace("postgres", "postgresql", 1))
        backend = parsed.get_backend_name()
    if parsed.drivername == backend or _is_async(parsed):
        if parsed.drivername.endswith("+asyncpg"):
            parsed = parsed.set(query=_of_psycopg(parsed.query))
        parsed = parsed.set(drivername=DRIVERS[backend])
    kind = KIND_OF.get(backend, backend)
    parsed = _by_path(parsed) if kind == "sqlite" else _plain(parsed, kind)
    if any("\0" in part for part in _parts(parsed)):
        raise AddressInvalid("This URL holds a NUL, which no name and no password can hold.")
    if parsed.port is not None and not 0 < parsed.port <= LARGEST_PORT:
        raise AddressInvalid(f"A port is a number from 1 to {LARGEST_PORT}.")
    return parsed


def _parts(url: URL) -> list[str]:
    """All texts of a URL, percent-decoded."""
    options = [one for many in url.normalized_query.values() for one in many]
    parts = (url.username, url.password, url.host, url.database, *url.query, *options)
    return [str(part) for part in parts if part is not None]


def _of_psycopg(query: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a URL for asyncpg as psycopg calls them, without its caches'."""
    names = {"ssl": "sslmode", "timeout": "connect_timeout"}
    kept = {name: value for name, value in query.items() if name not in ASYNCPGS_OWN}
    return {names.get(name, name): value for name, value in kept.items()}


def _is_async(url: URL) -> bool:
    try:
        return bool(url.get_dialect().is_async)
    except (NoSuchModuleError, ImportError):
        return False


def _plain(url: URL, kind: str) -> URL:
    """A server's, with nothing said twice and nothing that leads elsewhere."""
    if leading := sorted(set(url.query) & LEADING[kind]):
        raise AddressInvalid(
            f"The option {leading[0]} leads to another place than the URL says. Write the host, "
            "port, user and database in the URL itself."
        )
    url = _with_host(url)
    for option, part in VISIBLE[kind].items():
        if option in url.query:
            url = _moved(url, option, part)
    if kind == "postgresql":
        return _with_schema(url)
    if "schema" in url.query:
        raise AddressInvalid(
            "A database of MySQL or MariaDB has no schemas in it: each is a database of its own, "
            "whose name is the URL's path."
        )
    if not _only_sets(url.query.get("init_command", "")):
        raise AddressInvalid(
            "The option init_command may hold one SET statement and nothing else: any other could "
            "lead to another database than the URL says."
        )
    return url


def _with_schema(url: URL) -> URL:
    """With the schema that an option names among the options for the server."""
    if (said := url.query.get("schema")) is None:
        return url
    if not isinstance(said, str) or not said or session_of(url).path:
        raise AddressInvalid("Name one schema, and name it once: ?schema=acme")
    if said == "$user":
        raise AddressInvalid(
            "PostgreSQL takes $user for the user's own schema, so one of that name cannot be "
            "reached: rename it."
        )
    options = f"{option_for((said,))} {url.query.get('options', '')}".strip()
    return url.difference_update_query(["schema"]).update_query_dict({"options": options})


def _with_host(url: URL) -> URL:
    """With the host that an option names; a folder of sockets, or a list, stays an option."""
    said = url.query.get("host")
    found = HOST.fullmatch(said) if isinstance(said, str) and not url.host else None
    if not found or (found[2] and (url.port or "port" in url.query)):
        return url
    port = int(found[2]) if found[2] else url.port
    return url.difference_update_query(["host"]).set(host=found[1], port=port)


def _moved(url: URL, option: str, part: str) -> URL:
    """With what an option says in its own part of the URL."""
    said = url.query[option]
    if getattr(url, part) not in (None, "") or (part == "database" and not isinstance(said, str)):
        raise AddressInvalid(
            f"The option {option} repeats what the URL itself says, and the driver would use the "
            f"option. Say it only once: {option} in the URL itself."
        )
    if not isinstance(said, str) or option == "host":
        return url  # several hosts of one cluster, which libpq tries one after the other
    if option == "port" and "host" in url.query:
        return url  # theirs
    if option == "port" and not said.isdecimal():
        raise AddressInvalid(f"A port is a number from 1 to {LARGEST_PORT}.")
    value = int(said) if option == "port" else said
    return url.difference_update_query([option]).set(**{part: value})  # type: ignore[arg-type]


def _only_sets(command: object) -> bool:
    return command == "" or bool(ONE_SET.fullmatch(str(command)))


# --- SQLite ------------------------------------------------------------------------------------


def says_uri(url: URL) -> bool:
    said = str(url.query.get("uri", "")).strip().lower()
    return said in ("true", "yes", "on", "y", "t", "1")


def _by_path(url: URL) -> URL:
    """With the path in the place of a `file:` URI; what else that asks for is not known to us."""
    is_file = str(url.database or "").startswith("file:")
    if not is_file and not says_uri(url):
        return url
    plain = "Give the path of the file: sqlite:////data/customer.db"
    if not says_uri(url):
        raise AddressInvalid(f"A file: URI needs the option uri=true. {plain}")
    path, options = uri(url)
    if asked := sorted(
        name for name, value in options.items() if not is_file or (name, value) != ("mode", "rwc")
    ):
        raise AddressInvalid(
            f"This URI asks SQLite for {', '.join(asked)} too. Headway does not support that: it "
            f"opens files only by their path, with the usual locks, and not in memory. {plain}"
        )
    if path not in ("", ":memory:"):
        path = str(Path(path).absolute())
    return url.difference_update_query(["uri", "mode"]).set(database=path)


DRIVERS_OWN = {
    *("uri", "timeout", "isolation_level", "detect_types", "check_same_thread"),
    "cached_statements",
}
"""Options of the Python driver's, which are no part of a URI."""


def uri(url: URL) -> tuple[str, dict[str, object]]:
    """The path and the options of a `file:` URI, as SQLite reads it."""
    options: dict[str, object] = {k: v for k, v in url.query.items() if k not in DRIVERS_OWN}
    text = str(url.database or "")
    if not text.startswith("file:"):
        return text, options
    place, question, query = text.removeprefix("file:").partition("#")[0].partition("?")
    if place.startswith("//"):
        host, slash, place = place[2:].partition("/")
        if host not in ("", "localhost"):
            raise AddressInvalid(f"SQLite cannot open a file on another host ({host}).")
        place = slash + place
    if question:
        options |= dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    from urllib.request import url2pathname  # noqa: PLC0415  # it imports http and email

    return url2pathname(place), options
