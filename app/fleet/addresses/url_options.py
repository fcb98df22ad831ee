"""The options that the URL of a member may have, by driver, each with its exact form.

What is not here is refused: an option that nobody knows may lead to another place than the URL
says, to another schema, to this machine's files or to its secrets.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid

CERTIFICATES = Path("/etc/ssl")
SIDES = re.compile(
    r"(-journal|-wal|-shm|\.lock|\.snapshot|\.partial|\.restoring|\.replaced)$", re.IGNORECASE
)
"""What lies beside a SQLite file and is none."""


@dataclass(frozen=True)
class Form:
    """What the value of an option looks like."""

    words: str
    """In words: "a whole number from 1 to 9". Folders that are allowed stand for `{folders}`."""
    fits: Callable[[str, Iterable[Path]], bool]
    """True for a value of this form, given the folders that files may be in."""


def _number(least: int, most: int) -> Form:
    def fits(value: str, _: Iterable[Path]) -> bool:
        return bool(re.fullmatch("[0-9]{1,9}", value)) and least <= int(value) <= most

    return Form(f"a whole number from {least} to {most}", fits)


def _one_of(*values: str) -> Form:
    return Form(f"one of {', '.join(values)}", lambda value, _: value in values)


def _some_of(*values: str) -> Form:
    def fits(value: str, _: Iterable[Path]) -> bool:
        return all(word in values for word in value.split(","))

    return Form(f"some of {', '.join(values)}, separated by commas", fits)


def _matching(words: str, pattern: str) -> Form:
    expression = re.compile(pattern)
    return Form(words, lambda value, _: bool(expression.fullmatch(value)))


def _is_file(value: str, folders: Iterable[Path]) -> bool:
    real = Path(os.path.realpath(value))
    allowed = [Path(os.path.realpath(folder)) for folder in (CERTIFICATES, *folders)]
    is_inside = any(real.is_relative_to(folder) for folder in allowed)
    # A pipe or a device would hold whoever reads it.
    return value.startswith("/") and is_inside and (real.is_file() or not real.exists())


ANY = Form("any text", lambda *_: True)
FILE = Form("a file in one of the folders {folders}", _is_file)
ROOT = Form(
    "`system`, or a file in one of the folders {folders}",
    lambda value, folders: value == "system" or _is_file(value, folders),
)
SECONDS = _number(1, 86_400)
YES = _one_of("true", "yes", "1")
"""A driver takes any other text for yes too."""
YES_NO = _one_of("true", "yes", "1", "false", "no", "0")
TLS = _one_of("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
METHODS = ("password", "md5", "scram-sha-256", "none")
"""Not those that would take tickets of this machine."""

LIBPQ: dict[str, Form] = {
    "application_name": ANY,
    "channel_binding": _one_of("disable", "prefer", "require"),
    "client_encoding": _matching(
        "utf8, or latin1 to latin10, or win1250 to win1258", r"(?i)utf-?8|latin([1-9]|10)|win125\d"
    ),
    "connect_timeout": SECONDS,
    "gssencmode": _one_of("disable"),
    "keepalives": _one_of("0", "1"),
    "keepalives_count": _number(1, 127),
    "keepalives_idle": _number(1, 32_767),
    "keepalives_interval": _number(1, 32_767),
    "options": ANY,  # read word by word: see SETTINGS
    "require_auth": _some_of(*METHODS, "!password", "!md5", "!scram-sha-256", "!none"),
    "ssl_max_protocol_version": TLS,
    "ssl_min_protocol_version": TLS,
    "sslcert": FILE,
    "sslcrl": FILE,
    "sslkey": FILE,
    "sslmode": _one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslpassword": ANY,
    "sslrootcert": ROOT,
    "target_session_attrs": _one_of(
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
    ),
    "tcp_user_timeout": _number(0, 86_400_000),
}
MYSQL: dict[str, Form] = {
    "charset": _one_of(
        *("utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "latin2", "latin5", "latin7"),
        *("cp1250", "cp1251", "cp1256", "cp1257", "greek", "hebrew", "koi8r", "koi8u"),
        *("big5", "euckr", "gb2312", "gbk", "sjis", "cp932"),
    ),
    "collation": _matching("a name of letters, digits and _", "[A-Za-z0-9_]{1,64}"),
    "connect_timeout": SECONDS,
    "read_timeout": SECONDS,
    "sql_mode": _matching("modes, separated by commas", "[A-Za-z_]{1,64}(,[A-Za-z_]{1,64}){0,31}"),
    "ssl_ca": FILE,
    "ssl_cert": FILE,
    "ssl_check_hostname": YES_NO,
    "ssl_key": FILE,
    "write_timeout": SECONDS,
}
ALLOWED: Mapping[str, Mapping[str, Form]] = {
    "psycopg": LIBPQ,
    "psycopg2": LIBPQ,
    "pymysql": MYSQL
    | {
        "program_name": _matching("letters, digits and . _ -", "[A-Za-z0-9_.-]{1,64}"),
        "ssl_disabled": YES,
        "ssl_key_password": ANY,
        "ssl_verify_cert": YES_NO,
        "ssl_verify_identity": YES,
    },
    "mysqldb": MYSQL
    | {"ssl_mode": _one_of(*("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"))},
    "pysqlite": {"timeout": _matching("seconds", r"[0-9]{1,5}(\.[0-9]{1,6})?")},
}
"""By what SQLAlchemy calls a driver. Any other driver takes none."""

SETTINGS = {
    *(
        "application_name",
        "client_min_messages",
        "datestyle",
        "default_tablespace",
        "intervalstyle",
    ),
    *("idle_in_transaction_session_timeout", "idle_session_timeout", "jit", "lock_timeout"),
    *("maintenance_work_mem", "max_parallel_maintenance_workers"),
    *("max_parallel_workers_per_gather", "statement_timeout", "synchronous_commit"),
    *("tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "temp_buffers"),
    *("timezone", "transaction_timeout", "work_mem"),
}
"""What PostgreSQL's `options` may set beside `search_path`, and beside names with a dot, which
are an application's own. None of them makes a name mean another table, or a role another."""


def check(url: DatabaseURL, folders: Iterable[Path]) -> None:
    """Raise AddressInvalid for an option that is not known, or whose value has another form.

    `folders`: where files that options name may be, beside those of the system's certificates.
    """
    allowed = ALLOWED.get(url.get_driver_name(), {})
    if unknown := sorted(set(url.query) - set(allowed)):
        raise AddressInvalid(
            f"The option {_printable(unknown[0])} is not allowed in the URL of a database: it "
            "could lead to another place than the URL says. Allowed options: "
            f"{', '.join(sorted(allowed)) or 'none'}."
        )
    folders = tuple(folders)
    for name, value in url.query.items():
        form = allowed[name]
        if not isinstance(value, str) or not form.fits(value, folders):
            where = ", ".join(map(str, (CERTIFICATES, *folders)))
            raise AddressInvalid(
                f"Give the option {name} of this URL once, as {form.words.format(folders=where)}."
            )
    for setting in url.session.settings:
        if setting not in SETTINGS and "." not in setting:
            raise AddressInvalid(
                f"The options of this URL set {_printable(setting)}, which could make a name mean "
                f"another table. Allowed settings: search_path, {', '.join(sorted(SETTINGS))}, and "
                "names with a dot. Set all other settings on the server, with ALTER ROLE."
            )


def with_timeouts(url: DatabaseURL, seconds: int) -> DatabaseURL:
    """The URL with the driver's own options for timeouts: longer ones of its own do not count."""
    if url.dialect == "sqlite":
        return url
    names = ("connect_timeout", "read_timeout", "write_timeout")
    limits = dict.fromkeys(names if url.dialect == "mysql" else names[:1], seconds)
    if url.dialect == "postgresql":
        limits |= {"tcp_user_timeout": seconds * 1000, "keepalives": 1, "keepalives_idle": 10}
        limits |= {"keepalives_interval": 5, "keepalives_count": 3}
    return DatabaseURL.of(
        url.update_query_dict({k: str(_shorter(url.query.get(k), v)) for k, v in limits.items()})
    )


def _shorter(value: object, limit: int) -> int:
    """The smaller one; 0 means no limit to a driver."""
    return min(int(str(value or 0)) or limit, limit)


def _printable(name: str) -> str:
    return name[:64] if name.isprintable() else "of that name"
