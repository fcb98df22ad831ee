"""Everything that can be configured: one frozen object, read once, refused early.

`docs/settings.md` is the same table for people; a test compares the two.
"""

import base64
import os
import secrets
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import headway
from app.settings_reader import KEY_BYTES, Reader, is_key
from headway.dialects.urls import DatabaseURL
from headway.errors import SettingInvalid

ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "migrations"
CODE = (ROOT / "app", MIGRATIONS, Path(headway.__file__).parent)
KEYS = ("encryption_key", "secret_key")
"""Files beside an embedded catalog."""


def _release() -> str:
    """The version of this source tree, else of the installed package."""
    with suppress(OSError, KeyError):
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    return version("headway")


RELEASE = _release()
LOOPBACK = "127.0.0.1"
SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be configured, with its default and its meaning.

    Each field is read from `HEADWAY_<NAME>`.
    """

    database_url: DatabaseURL = field(
        default_factory=lambda: DatabaseURL.parse(ROOT / "instance" / "catalog.sqlite")
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
    broker_url: str | None = field(default=None, repr=False)
    """Redis or RabbitMQ, which carries runs to workers on any machine. Unset: embedded workers."""
    workers: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))
    """Embedded workers beside the web server; 0 for none. Without meaning if there is a broker."""
    project_roots: tuple[Path, ...] = field(default_factory=lambda: (Path.cwd() / "projects",))
    """The folders that script directories may live in, separated by `:`."""
    data_roots: tuple[Path, ...] = field(default_factory=lambda: (Path.cwd() / "data",))
    """The folders that SQLite files may live in, separated by `:`."""
    database_hosts: tuple[str, ...] = ()
    """The hosts that databases of the fleet may be on, separated by commas: `db.example.org`,
    `*.example.org`, `10.0.0.7:5432`. Unset: any. A folder of unix sockets, or a socket, only if it
    is named: `/run/postgresql`."""
    webhook_hosts: tuple[str, ...] = ()
    """The hosts that webhooks may be sent to though their address is not public, separated by
    commas: `chat.internal`, `*.internal`, `10.0.0.7:8065`."""
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    """Fernet keys, separated by commas: the first encrypts, any decrypts."""
    oidc_issuer: str | None = None
    """The provider of sign-ins: its issuer, as its tokens name it. Unset: tokens and passwords."""
    oidc_client_id: str | None = None
    """Who we are to the provider."""
    oidc_client_secret: str | None = field(default=None, repr=False)
    """Proves that to the provider. Unset for a client that is public there."""
    public_url: str | None = None
    """Where browsers find us: `https://headway.example.org`. Links to us begin with it, cookies are
    Secure if it is https, and pages are refused under another host."""
    token_days: int = 0
    """The longest life of a token of a program, in days; 0 for no limit."""
    trusted_proxies: int = 0
    """How many proxies in front of us set `X-Forwarded-For`; 0 believes none."""
    log_format: str = "text"
    """`text` for people, `json` for machines."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "database_url", DatabaseURL.of(self.database_url))

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the environment.

        Raises SettingInvalid, in one line that names the variable, for a value that cannot be
        used. A value never appears in the message where it could hold a password.
        """
        read = Reader(env)
        given = {
            "database_url": read.url("HEADWAY_DATABASE_URL", "DATABASE_URL"),
            "secret_key": env.get("HEADWAY_SECRET_KEY") or None,
            "migrate_on_boot": read.flag("HEADWAY_MIGRATE_ON_BOOT"),
            "boot_wait_seconds": read.number("HEADWAY_BOOT_WAIT_SECONDS"),
            "boot_lock_seconds": read.number("HEADWAY_BOOT_LOCK_SECONDS"),
            "on_newer_catalog": read.choice("HEADWAY_ON_NEWER_CATALOG", "serve", "refuse"),
            "broker_url": read.broker("HEADWAY_BROKER_URL"),
            "workers": read.count("HEADWAY_WORKERS"),
            "project_roots": read.folders("HEADWAY_PROJECT_ROOTS"),
            "data_roots": read.folders("HEADWAY_DATA_ROOTS"),
            "database_hosts": read.hosts("HEADWAY_DATABASE_HOSTS"),
            "webhook_hosts": read.hosts("HEADWAY_WEBHOOK_HOSTS"),
            "encryption_keys": read.keys("HEADWAY_ENCRYPTION_KEYS"),
            "oidc_issuer": read.issuer("HEADWAY_OIDC_ISSUER"),
            "oidc_client_id": env.get("HEADWAY_OIDC_CLIENT_ID", "").strip() or None,
            "oidc_client_secret": env.get("HEADWAY_OIDC_CLIENT_SECRET", "").strip() or None,
            "public_url": read.place("HEADWAY_PUBLIC_URL"),
            "token_days": read.count("HEADWAY_TOKEN_DAYS"),
            "trusted_proxies": read.count("HEADWAY_TRUSTED_PROXIES"),
            "log_format": read.choice("HEADWAY_LOG_FORMAT", "text", "json"),
            "log_level": read.choice("HEADWAY_LOG_LEVEL", "debug", "info", "warning", "error"),
        }
        if bool(given["oidc_issuer"]) != bool(given["oidc_client_id"]):
            raise SettingInvalid(
                "HEADWAY_OIDC_ISSUER and HEADWAY_OIDC_CLIENT_ID go together: set both or neither."
            )
        if given["oidc_issuer"] and not given["public_url"]:
            raise SettingInvalid(
                "HEADWAY_OIDC_ISSUER is set, so HEADWAY_PUBLIC_URL is needed too: the provider "
                "sends people back to it. Example: https://headway.example.org"
            )
        if given["oidc_issuer"] and find_spec("authlib") is None:
            raise SettingInvalid(
                "HEADWAY_OIDC_ISSUER is set, and what it needs is not installed: "
                "`pip install 'headway[oidc]'`."
            )
        settings = cls(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        _check_roots(settings)
        return settings

    @property
    def sqlite_path(self) -> Path | None:
        """The catalog's file, or None where a server keeps it (or it lives in memory)."""
        name = self.database_url.database
        if self.database_url.dialect != "sqlite" or name in (None, "", ":memory:"):
            return None
        return Path(str(name)).resolve()

    @property
    def address(self) -> str | None:
        """Where people find the service, as a server of this process knows it; None without one."""
        if self.public_url or "PORT" not in os.environ:
            return self.public_url
        host = os.environ.get("HOST", LOOPBACK)
        host = LOOPBACK if host in ("", "0.0.0.0", "::") else host  # noqa: S104  # any of its own
        return f"http://{f'[{host}]' if ':' in host else host}:{os.environ['PORT']}"

    def for_flask(self) -> dict[str, object]:
        """The configuration that Flask and its extensions read."""
        return {
            "SECRET_KEY": self._long_enough(self.secret_key or self._own_secret_key()),
            "SQLALCHEMY_DATABASE_URI": self.database_url,
            "MAX_CONTENT_LENGTH": 1024 * 1024,
        }

    @property
    def embedded(self) -> int:
        """How many workers belong beside the web server."""
        return 0 if self.broker_url else self.workers

    def fernet_keys(self) -> tuple[str, ...]:
        """The keys for secrets at rest; () where a server keeps the catalog and none was given."""
        if self.encryption_keys or self.database_url.dialect != "sqlite":
            return self.encryption_keys
        fresh = base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        key = self._beside("encryption_key", "HEADWAY_ENCRYPTION_KEYS", fresh)
        if not is_key(key):
            raise SettingInvalid(
                f"The file encryption_key beside {self.sqlite_path} holds no key. Restore the file "
                "from a copy: without the key, the stored secrets cannot be read."
            )
        return (key,)

    def _long_enough(self, key: str) -> str:
        if len(key.encode()) < SECRET_BYTES:
            where = "HEADWAY_SECRET_KEY" if self.secret_key else "The file secret_key"
            raise SettingInvalid(
                f"{where} is shorter than {SECRET_BYTES} bytes, so it could be guessed. Set it to "
                "the output of `openssl rand -hex 32`."
            )
        return key

    def _own_secret_key(self) -> str:
        if self.database_url.dialect != "sqlite":
            raise SettingInvalid(
                "HEADWAY_SECRET_KEY is not set. Every replica needs the same one: "
                "set it to the output of `openssl rand -hex 32`."
            )
        return self._beside("secret_key", "HEADWAY_SECRET_KEY", secrets.token_hex(32))

    def _beside(self, name: str, variable: str, fresh: str) -> str:
        """A key beside an embedded catalog, written on first use, readable by its owner only."""
        path = self.sqlite_path
        if path is None:
            return fresh
        file = path.with_name(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_once(file, fresh)
            return file.read_text().strip()
        except OSError as error:
            raise SettingInvalid(
                f"{variable} is not set and {file} cannot be used ({error.strerror}). "
                "Set it, or give the catalog a folder that can be written."
            ) from error


def _check_roots(settings: Settings) -> None:
    """Raise SettingInvalid if a member could be written where Headway's code is run from."""
    projects, data = "HEADWAY_PROJECT_ROOTS", "HEADWAY_DATA_ROOTS"
    for name, roots in ((data, settings.data_roots), (projects, settings.project_roots)):
        for root in roots:
            if any(_overlap(root, code) for code in CODE):
                raise SettingInvalid(
                    f"{name} ({root}) holds Headway's own code, or lies in it. Give it folders of "
                    f"its own, such as {Path.cwd() / ('data' if name == data else 'projects')}."
                )


def _overlap(one: Path, other: Path) -> bool:
    a, b = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    return a.is_relative_to(b) or b.is_relative_to(a)


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
