"""Everything that can be configured: one frozen object, read once, refused early.

`docs/settings.md` is the same table for people; a test compares the two.
"""

import os
import secrets
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import SettingInvalid

ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "migrations"


def _release() -> str:
    """The version of this source tree, else of the installed package."""
    with suppress(OSError, KeyError):
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    return version("headway")


RELEASE = _release()
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be configured, with its default and its meaning.

    Each field is read from `HEADWAY_<NAME>`.
    """

    database_url: URL = field(
        default_factory=lambda: URL.create(
            "sqlite", database=str(ROOT / "instance" / "catalog.sqlite")
        )
    )
    """Our own catalog. Also read from `DATABASE_URL`. Default: a SQLite file in `instance/`."""
    secret_key: str = field(default="", repr=False)
    """Signs what browsers keep. An embedded (SQLite) catalog writes its own beside the file."""
    migrate_on_boot: bool = True
    """Bring the catalog to head before serving. Off: only look, and refuse one that is behind."""
    boot_wait_seconds: float = 60.0
    """How long a start waits for a database server that is not up yet."""
    boot_lock_seconds: float = 600.0
    """How long a start waits for another process that is migrating."""
    on_newer_catalog: str = "serve"
    """`serve` (degraded) or `refuse` a catalog that a newer release has migrated."""
    trusted_proxies: int = 0
    """How many proxies in front of us set `X-Forwarded-For`; 0 believes none."""
    log_format: str = "text"
    """`text` for people, `json` for machines."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment.

        Raises SettingInvalid, in one line that names the variable, for a value that cannot be
        used. A value never appears in the message where it could hold a password.
        """
        read = _Reader(env)
        given = {
            "database_url": read.url("HEADWAY_DATABASE_URL", "DATABASE_URL"),
            "secret_key": env.get("HEADWAY_SECRET_KEY") or None,
            "migrate_on_boot": read.flag("HEADWAY_MIGRATE_ON_BOOT"),
            "boot_wait_seconds": read.number("HEADWAY_BOOT_WAIT_SECONDS"),
            "boot_lock_seconds": read.number("HEADWAY_BOOT_LOCK_SECONDS"),
            "on_newer_catalog": read.choice("HEADWAY_ON_NEWER_CATALOG", "serve", "refuse"),
            "trusted_proxies": read.count("HEADWAY_TRUSTED_PROXIES"),
            "log_format": read.choice("HEADWAY_LOG_FORMAT", "text", "json"),
            "log_level": read.choice("HEADWAY_LOG_LEVEL", "debug", "info", "warning", "error"),
        }
        return cls(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    @property
    def sqlite_path(self) -> Path | None:
        """The catalog's file, or None where a server keeps it (or it lives in memory)."""
        name = self.database_url.database
        if self.database_url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
            return None
        return Path(str(name)).resolve()

    def for_flask(self) -> dict[str, object]:
        """The configuration that Flask and its extensions read."""
        return {
            "SECRET_KEY": self.secret_key or self._own_secret_key(),
            "SQLALCHEMY_DATABASE_URI": self.database_url,
            "MAX_CONTENT_LENGTH": 1024 * 1024,
        }

    def _own_secret_key(self) -> str:
        """The key beside an embedded catalog, written on first use, readable by its owner only."""
        path = self.sqlite_path
        if self.database_url.get_backend_name() != "sqlite":
            raise SettingInvalid(
                "HEADWAY_SECRET_KEY is not set. Every replica needs the same one: "
                "set it to the output of `openssl rand -hex 32`."
            )
        if path is None:
            return secrets.token_hex(32)
        file = path.with_name("secret_key")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_once(file, secrets.token_hex(32))
            return file.read_text().strip()
        except OSError as error:
            raise SettingInvalid(
                f"HEADWAY_SECRET_KEY is not set and {file} cannot be used ({error.strerror}). "
                "Set it, or give the catalog a folder that can be written."
            ) from error


def _write_once(file: Path, text: str) -> None:
    """Write the file whole, or leave the one that another process wrote first."""
    if file.exists():
        return
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:  # noqa: PTH123
            out.write(text)
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


class _Reader:
    """Reads one variable at a time; None where it is not set."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env

    def url(self, *names: str) -> URL | None:
        name = next((name for name in names if self.env.get(name)), None)
        if name is None:
            return None
        try:
            url = make_url(self.env[name])
        except ArgumentError:
            raise SettingInvalid(
                f"{name} is not a database URL. Example: postgresql://user:password@host/name"
            ) from None
        if driver := DRIVERS.get(url.drivername):
            url = url.set(drivername=driver)
        backend = url.get_backend_name()
        if backend not in ("sqlite", "postgresql", "mysql", "mariadb"):
            raise SettingInvalid(
                f"{name} names {backend}. The catalog lives in SQLite, PostgreSQL or MariaDB/MySQL."
            )
        if backend == "sqlite" and url.database in (None, "", ":memory:"):
            raise SettingInvalid(
                f"{name} names a database in memory, which each worker would have to itself. "
                "Name a file: sqlite:////data/catalog.sqlite"
            )
        return url

    def flag(self, name: str) -> bool | None:
        value = self.env.get(name, "").strip().lower()
        if value and value not in TRUE | FALSE:
            raise SettingInvalid(f"{name} is {value!r}. Use true or false.")
        return value in TRUE if value else None

    def number(self, name: str) -> float | None:
        value = self.env.get(name, "").strip()
        if not value:
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not 0 <= number < float("inf"):
            raise SettingInvalid(f"{name} is {value!r}. Use a number of seconds, 0 or more.")
        return number

    def count(self, name: str) -> int | None:
        value = self.env.get(name, "").strip()
        if value and not value.isdecimal():
            raise SettingInvalid(f"{name} is {value!r}. Use a whole number, 0 or more.")
        return int(value) if value else None

    def choice(self, name: str, *choices: str) -> str | None:
        value = self.env.get(name, "").strip().lower()
        if value and value not in choices:
            raise SettingInvalid(f"{name} is {value!r}. Use {' or '.join(choices)}.")
        return value or None
